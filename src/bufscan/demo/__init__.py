"""The checkpoint that `bufscan demo` shows. What lies in `files/` is data: it is read, never imported."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bufscan.bytesource import FileSource
from bufscan.dtypes import DTYPES
from bufscan.inspecting import inspect

if TYPE_CHECKING:
    from bufscan.inventory import Inventory, Tensor

INTRODUCTION: Final = (
    "A small transformer, saved whole, in which somebody forgot `register_buffer` in every classic way."
)

NEXT: Final = """\
Try next:
  bufscan demo --write demo         the model's source and its files
  bufscan inspect demo/model.pt --role unregistered
  bufscan inspect demo/model.pt --by-module
  bufscan inspect demo/weights.safetensors
  bufscan inspect demo/model.py:TinyTransformer  the model: for this, pip install 'bufscan[torch]'"""

_FILES: Final = Path(__file__).parent / "files"
_CHECKPOINT: Final = _FILES / "model.pt"


def inventory() -> Inventory:
    """The checkpoint as bufscan sees it, under the name that it gets where it is written."""
    return msgspec.structs.replace(inspect(str(_CHECKPOINT)), target=_CHECKPOINT.name)


def files() -> dict[str, bytes]:
    """The files by name: the source, the checkpoint, and what a state_dict keeps of it."""
    return {
        "model.py": (_FILES / "model.py").read_bytes(),
        "model.pt": _CHECKPOINT.read_bytes(),
        "weights.safetensors": _weights(),
    }


def _weights() -> bytes:
    """The model's state_dict as a safetensors file, from the checkpoint's own bytes: nothing in it is unpickled.

    A tied entry is left out, as the format asks, and the metadata says which entry it equals, as
    `safetensors.torch.save_model` does.
    """
    from safetensors import TensorSpec, serialize

    found = inventory()
    saved = [tensor for tensor in found.tensors if tensor.saved]
    ties = {tensor.name: tensor.alias_of for tensor in saved if tensor.alias_of is not None}
    specs, kept_alive = {}, []
    with FileSource(_CHECKPOINT) as source:
        for tensor in saved:
            if tensor.alias_of is None:
                data = ctypes.create_string_buffer(_elements(tensor, found, source), tensor.nbytes)
                kept_alive.append(data)  # the writer takes addresses
                specs[tensor.name] = TensorSpec(
                    dtype=str(tensor.dtype),
                    shape=tensor.shape or (),
                    data_ptr=ctypes.addressof(data),
                    data_len=len(data),
                )
    # One entry alone: the writer puts several in an order that changes from run to run.
    return bytes(serialize(specs, metadata=ties))


def _elements(tensor: Tensor, found: Inventory, source: FileSource) -> bytes:
    """The bytes of a contiguous little-endian tensor; the shipped checkpoint has no other."""
    storage = found.storages[str(tensor.storage)]
    skipped = DTYPES[str(tensor.dtype)].nbytes(tensor.storage_offset)
    return source.read((storage.offset or 0) + skipped, tensor.nbytes or 0)
