"""What is said of the names in pickles: which are torch's own, a library's, or anybody's."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bufscan.findings import Finding, Subject
from bufscan.formats.pickle.known_globals import library_of
from bufscan.formats.pickle.pickle_values import Global
from bufscan.inspecting import inspect
from bufscan.rules.off_list_global import RULE

HOSTILE = Path(__file__).parent.parent / "hostile"
sys.path.insert(0, str(HOSTILE))

from crafted_pickles import called, mapping, name, pickled, tensor, text  # noqa: E402
from crafted_zip import checkpoint  # noqa: E402


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, activation=nn.functional.gelu)


class Settings:
    def __init__(self) -> None:
        self.dim = 64


class Custom(torch.Tensor):
    pass


def said(path: Path) -> list[tuple[str, str]]:
    """Severity and message of each finding about the file."""
    found = RULE.check(RULE, Subject(inventory=inspect(path)))
    return [(each.severity, each.message) for each in found if isinstance(each, Finding)]


def saved(value: object, folder: Path, **options: object) -> Path:
    path = folder / "model.pt"
    torch.save(value, path, **options)
    return path


def optimizer_and_scheduler() -> dict[str, object]:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(path=Path("runs")),
    }


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(nn.Linear(2, 2).state_dict(), id="state_dict"),
        pytest.param(optimizer_and_scheduler(), id="training checkpoint"),
        pytest.param(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), id="a module of torch's own"),
        pytest.param(torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1), id="an optimizer"),
        pytest.param(torch.ones(4).to_sparse(), id="sparse"),
    ],
)
def test_what_torch_and_python_write_is_nothing_to_tell(value: object, tmp_path: Path) -> None:
    assert [] == said(saved(value, tmp_path))


def test_what_a_known_library_writes_is_a_note_that_names_it(tmp_path: Path) -> None:
    ((severity, message),) = said(saved({"w": torch.zeros(1), "best": np.float64(0.5)}, tmp_path))
    assert "note" == severity
    assert "loading it needs NumPy" in message
    assert "`numpy.dtype`" in message


def test_the_class_of_a_whole_module_is_a_warning(tmp_path: Path) -> None:
    ((severity, message),) = said(saved(Net(), tmp_path))
    assert "warning" == severity
    assert f"`{__name__}.Net`" in message


@pytest.mark.parametrize("value", [Settings(), torch.zeros(2).as_subclass(Custom)], ids=["object", "subclass"])
def test_any_other_class_is_an_error(value: object, tmp_path: Path) -> None:
    assert ["error"] == [severity for severity, _ in said(saved({"w": torch.zeros(1), "x": value}, tmp_path))]


def crafted(tmp_path: Path, *parts: bytes) -> list[tuple[str, str]]:
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint(pickled(mapping(text("w"), tensor(), text("x"), b"".join(parts)))))
    return said(path)


def test_a_call_is_told_with_its_arguments_and_its_place(tmp_path: Path) -> None:
    ((severity, message),) = crafted(tmp_path, called(name("os", "system"), text("echo pwned")))
    assert "error" == severity
    assert "loading it calls `os.system('echo pwned')`, which torch does not write (byte " in message
    assert "of `a/data.pkl`)" in message


def test_long_arguments_are_cut(tmp_path: Path) -> None:
    ((_, message),) = crafted(tmp_path, called(name("builtins", "exec"), text("x" * 100_000), *[b"N"] * 9))
    assert "exec('xxx" in message
    assert 300 > len(message)


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("torch.hub", "load"),
        ("torch.jit", "load"),
        ("torch", "load"),
        ("torch.nn.functional", "handle_torch_function"),
        ("torch.fx.graph_module", "reduce_graph_module"),
        ("numpy", "load"),
        ("numpy", "interp"),
        ("numpy.testing._private.utils", "runstring"),
        ("transformers.utils", "import_utils.eval"),
        ("transformers.training_args", "TrainingArguments"),
        ("timm.models.helpers", "LoadCheckpoint"),
        ("builtins", "getattr"),
        ("functools", "reduce"),
        ("Torch", "Size"),
        ("torch ", "Size"),
    ],
)
def test_a_call_of_what_a_library_has_but_does_not_write_is_an_error(
    module: str, attribute: str, tmp_path: Path
) -> None:
    assert ["error"] == [
        severity for severity, _ in crafted(tmp_path, called(name(module, attribute), text("payload")))
    ]


@pytest.mark.parametrize(
    ("library", "module", "attribute", "use"),
    [
        ("transformers", "transformers.training_args", "TrainingArguments", "made"),
        ("transformers", "transformers.trainer_utils", "IntervalStrategy", "called"),
        ("accelerate", "accelerate.utils.dataclasses", "DistributedType", "called"),
        ("deepspeed", "deepspeed.runtime.zero.config", "ZeroStageEnum", "called"),
        ("deepspeed", "deepspeed.runtime.fp16.loss_scaler", "LossScaler", "made"),
        ("Lightning", "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", "named"),
        ("OmegaConf", "omegaconf.dictconfig", "DictConfig", "made"),
        ("NumPy", "numpy.core.multiarray", "_reconstruct", "called"),
        ("ultralytics", "ultralytics.nn.tasks", "DetectionModel", "made"),
    ],
)
def test_names_of_known_libraries(library: str, module: str, attribute: str, use: str) -> None:
    assert library == library_of(Global(module, attribute), use)  # type: ignore[arg-type]


def test_many_names_are_told_shortly(tmp_path: Path) -> None:
    found = crafted(tmp_path, b"".join(name("m", f"f{number}") + b"0" for number in range(1000)), b"N")
    assert 51 == len(found)
    assert "950 further names" in found[-1][1]
