"""What is fuzzed: for each reader its seeds, each with the way in which changed bytes of it reach bufscan.

A file with checksums and lengths, or a folder, is put together anew around the part that is changed: otherwise
hardly any changed file would get further than its container.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import sys
import warnings
import zipfile
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("", "formats"))

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from test_compiled_programs import INPUT
from test_compiled_programs import Model as Program
from test_gguf import gguf
from torch import nn
from torch._export.serde.serialize import serialize
from torch.distributed.checkpoint.state_dict import get_state_dict
from two_ranks import Model

import sharded_files
from bufscan.checking.linting import lint
from bufscan.errors import BufscanError
from bufscan.inspecting import inspect
from safetensors_files import file_of, header_of, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHECKING = Path(__file__).parents[1] / "checking"
_UNREAD = re.compile(r"/(?:data|constants|weights)/(?:\d+|weight_\d+|tensor_\d+)$|\.debug_pkl$")
MOST_SECONDS = 2.0  # of the processor, for one input
MOST_BYTES = 200_000_000  # of memory, beyond what the seeds took


class Seed(NamedTuple):
    """Bytes to change, and what shows them to bufscan."""

    data: bytes
    show: Callable[[bytes], object]


def show(seeds: list[Seed], data: bytes) -> None:
    """Show what was made of a seed, whose number the first byte is. What bufscan refuses in words is fine."""
    if data:
        with suppress(BufscanError):
            seeds[data[0] % len(seeds)].show(data[1:])


def corpus(seeds: list[Seed]) -> Iterator[bytes]:
    """The inputs to begin with."""
    return (bytes([number]) + seed.data for number, seed in enumerate(seeds))


def _inspect_bytes(data: bytes) -> None:
    inspect(io.BytesIO(data))


def _file(data: bytes) -> Seed:
    return Seed(data, _inspect_bytes)


def _members(data: bytes) -> Iterator[Seed]:
    """The archive as it is, and each member whose bytes are more than counted, in a sound archive."""
    yield _file(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, member in members.items():
        if not _UNREAD.search(name):
            yield Seed(member, partial(_in_archive, members, name))


def _in_archive(members: dict[str, bytes], name: str, data: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for other, member in (members | {name: data}).items():
            archive.writestr(other, member)
    inspect(file)


def _in_folder(folder: Path, names: tuple[str, ...]) -> list[Seed]:
    return [Seed((folder / name).read_bytes(), partial(_written, folder / name, folder)) for name in names]


def _written(path: Path, folder: Path, data: bytes) -> None:
    before = path.read_bytes()
    try:
        path.write_bytes(data)
        inspect(folder)
    finally:
        path.write_bytes(before)


def _saved(value: object, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def _values() -> list[object]:
    """What people save: a training checkpoint, a whole module, and tensors that are rebuilt in other ways."""
    model, optimizer = _trained()
    indices = torch.tensor([[0, 1], [1, 2]])
    odd = {
        "view": torch.arange(12.0).reshape(3, 4)[1:, ::2],
        "coo": torch.sparse_coo_tensor(indices, torch.ones(2), (3, 4), check_invariants=False),
        "codes": torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8),
        "parameter": nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        "array": np.arange(3),
    }
    training = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "tags": ["a", {1}]}
    return [training, nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), odd]


def _torch_zip(_: Path) -> list[Seed]:
    return [seed for value in _values() for seed in _members(_saved(value))]


def _legacy(_: Path) -> list[Seed]:
    return [_file(_saved(value, zipped=False)) for value in _values()]


def _pickle(_: Path) -> list[Seed]:
    arrays = {
        "w": np.eye(2, dtype=">f4"),
        "f": np.asfortranarray(np.ones((2, 3))),
        "n": np.int64(3),
        "s": {1, "a"},
    }
    return [_file(pickle.dumps({"model": arrays, "arrays": [np.zeros(2)]}, protocol)) for protocol in range(6)]


def _safetensors(_: Path) -> list[Seed]:
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.arange(2), "c": torch.ones(2).half()}
    whole = save(tensors, {"format": "pt", "note": "é"})
    header = header_of(whole)
    data = len(whole) - len(header) - 8
    return [_file(whole), Seed(header, lambda changed: _inspect_bytes(file_of(changed, data)))]


def _gguf(_: Path) -> list[Seed]:
    def padded(header: bytes) -> None:
        _inspect_bytes(b"GGUF" + header + bytes(1000))

    return [_file(gguf()), Seed(gguf()[4:], padded)]


def _npy(_: Path) -> list[Seed]:
    file = io.BytesIO()
    np.save(file, np.asfortranarray(np.ones((2, 3), ">f4")))
    whole = file.getvalue()
    header, elements = whole[10:-24], whole[-24:]

    def measured(changed: bytes) -> None:
        _inspect_bytes(whole[:8] + (len(changed) & 0xFFFF).to_bytes(2, "little") + changed + elements)

    return [_file(whole), Seed(header, measured)]


def _npz(_: Path) -> list[Seed]:
    stored, packed = io.BytesIO(), io.BytesIO()
    np.savez(stored, w=np.eye(2), b=np.arange(3))
    np.savez_compressed(packed, w=np.eye(9))
    return [*_members(stored.getvalue()), _file(packed.getvalue())]


def _dcp(folder: Path) -> list[Seed]:
    """A checkpoint of one rank, and its metadata as it would be with a weight in two parts."""
    model, of_optimizer = get_state_dict(*_trained())
    dcp.save({"model": model, "optim": of_optimizer, "epoch": 3}, checkpoint_id=folder / "dcp")
    seeds = _in_folder(folder / "dcp", (".metadata", "__0_0.distcp"))
    metadata = pickle.loads(seeds[0].data)
    chunks = metadata.state_dict_metadata["model.first.weight"].chunks
    chunks.append(deepcopy(chunks[0]))
    chunks[0].sizes, chunks[1].sizes, chunks[1].offsets = (
        torch.Size([4, 4]),
        torch.Size([3, 4]),
        torch.Size([4, 0]),
    )
    return [*seeds, seeds[0]._replace(data=pickle.dumps(metadata, 4))]


def _torchscript(folder: Path) -> list[Seed]:
    model = Program().eval()
    torch.jit.save(torch.jit.script(model), folder / "script.pt")
    torch.jit.save(torch.jit.trace(model, INPUT), folder / "trace.pt")
    torch.jit.script(model)._save_for_lite_interpreter(str(folder / "mobile.ptl"))
    names = ("script.pt", "trace.pt", "mobile.ptl")
    return [seed for name in names for seed in _members((folder / name).read_bytes())]


def _export(folder: Path) -> list[Seed]:
    exported = torch.export.export(Program().eval(), (INPUT,))
    torch.export.save(exported, folder / "export.pt2")
    parts = serialize(exported)
    older = io.BytesIO()
    with zipfile.ZipFile(older, "w") as archive:
        archive.writestr("serialized_exported_program.json", parts.exported_program)
        archive.writestr("serialized_state_dict.pt", parts.state_dict)
        archive.writestr("serialized_constants.pt", parts.constants)
        archive.writestr("version", "8.20")
    return [*_members((folder / "export.pt2").read_bytes()), *_members(older.getvalue())]


def _folder(folder: Path) -> list[Seed]:
    """The JSON files of a folder, and the header of a shard."""
    texts: dict[str, dict[str, object]] = {
        "config.json": {
            "architectures": ["Model"],
            "model_type": "llama",
            "tie_word_embeddings": True,
            "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128},
        },
        "adapter_config.json": {
            "peft_type": "LORA",
            "r": 8,
            "lora_alpha": 16.5,
            "target_modules": ["q_proj"],
            "base_model_name_or_path": "org/base",
        },
        "trainer_state.json": {"global_step": 10, "epoch": 1.0, "log_history": [{"learning_rate": 0.1}]},
    }
    model = sharded_files.write(folder / "model", sharded_files.weights(), total_size=56)
    for name, content in texts.items():
        (model / name).write_text(json.dumps(content))
    pipeline = folder / "pipeline"
    shutil.copytree(model, pipeline / "unet")
    (pipeline / "model_index.json").write_text(json.dumps({"_class_name": "P", "unet": ["diffusers", "U"]}))
    parts = _in_folder(model, (*texts, sharded_files.INDEX, sharded_files.FIRST))
    return [*parts, *_in_folder(pipeline, ("model_index.json",))]


def _source(folder: Path) -> list[Seed]:
    path = folder / "model.py"
    sources = [*(_CHECKING / "faults").glob("*.py"), *(_CHECKING / "mended").glob("*.py")]

    def show(data: bytes) -> None:
        path.write_bytes(data)
        lint(str(path))

    return [Seed(source.read_bytes(), show) for source in sorted(sources)]


READERS: dict[str, Callable[[Path], list[Seed]]] = {
    "torch-zip": _torch_zip,
    "legacy": _legacy,
    "pickle": _pickle,
    "safetensors": _safetensors,
    "gguf": _gguf,
    "npy": _npy,
    "npz": _npz,
    "dcp": _dcp,
    "torchscript": _torchscript,
    "export": _export,
    "folder": _folder,
    "source": _source,
}
"""What writes the seeds of each reader into an empty folder."""


def seeds_of(reader: str, folder: Path) -> list[Seed]:
    """The seeds; what torch warns of while it writes them is not our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return READERS[reader](folder)[:256]
