"""The inputs of a rehearsal: read from a few words, from a function, or from the model; never evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from bufscan.errors import UnreadableError, UsageError
from bufscan.rehearsing.inputs import inputs_for

if TYPE_CHECKING:
    from pathlib import Path


def looks(value: object) -> object:
    """Shape and dtype of a tensor, in whatever it lies."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), str(value.dtype).removeprefix("torch.")
    if isinstance(value, dict):
        return {name: looks(each) for name, each in value.items()}
    return type(value)(map(looks, value)) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("text", "args", "kwargs"),
    [
        ("randn(2, 16)", [((2, 16), "float32")], {}),
        ("torch.randn((2, 16))", [((2, 16), "float32")], {}),
        ("randint(0, 100, (1, 8))", [((1, 8), "int64")], {}),
        ("zeros(2, dtype=bfloat16)", [((2,), "bfloat16")], {}),
        ("zeros(2, dtype=torch.bool)", [((2,), "bool")], {}),
        ("zeros(2, dtype='int32')", [((2,), "int32")], {}),
        ("ones(2), arange(4)", [((2,), "float32"), ((4,), "int64")], {}),
        ("full((2,), 0.5)", [((2,), "float32")], {}),
        ("tensor([5, 3])", [((2,), "int64")], {}),
        ("rand(1), mask=ones(2, dtype=bool)", [((1,), "float32")], {"mask": ((2,), "bool")}),
        ("[rand(1), (rand(2), 3)], None", [[((1,), "float32"), (((2,), "float32"), 3)], None], {}),
        ("{'x': rand(1), 'n': -1}", [{"x": ((1,), "float32"), "n": -1}], {}),
        ("", [], {}),
    ],
)
def test_words_are_tensors(text: str, args: list[object], kwargs: dict[str, object]) -> None:
    found = inputs_for(nn.Linear(1, 1), text)
    assert (args, kwargs) == ([looks(each) for each in found.args], looks(found.kwargs))


def test_the_same_words_are_the_same_values_and_leave_the_random_state_alone() -> None:
    model = nn.Linear(1, 1)
    state = torch.get_rng_state()
    first, second = (inputs_for(model, "randn(8)").args[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("open('x')", "`open` makes no input"),
        ("randn(f())", "`f()` is neither a literal nor one of the tensors"),
        ("__import__('os').system('false')", "`__import__('os').system` makes no input"),
        ("randn(2, device='cuda')", "`randn` takes no `device` here"),
        ("randn(-1)", "`randn(-1)` makes no tensor"),
        ("zeros(2, dtype=floaty)", "torch has no dtype `floaty`"),
        ("x + 1", "`x + 1` is neither a literal nor one of the tensors"),
        ("**{}", "`**` cannot be unpacked"),
        ("randn(2", "these are no inputs"),
        ("auto", "the model has no inputs of its own"),
    ],
)
def test_other_words_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match="^" + says.translate({ord(each): f"\\{each}" for each in "()*+."})):
        inputs_for(nn.Linear(1, 1), text)


def test_a_function_gives_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batches.py").write_text(
        "import torch\n"
        "def one(): return (torch.ones(2),)\n"
        "def named(n=1): return {'x': torch.ones(n)}\n"
        "def wrong(): return 3\n"
        "def broken(): raise OSError('no data')\n"
    )
    model = nn.Linear(1, 1)
    assert [((2,), "float32")] == [looks(each) for each in inputs_for(model, "batches.py:one").args]
    assert {"x": ((3,), "float32")} == looks(inputs_for(model, "batches:named(n=3)").kwargs)
    with pytest.raises(UnreadableError, match="gives int, no inputs"):
        inputs_for(model, "batches:wrong")
    with pytest.raises(UnreadableError, match="OSError: no data"):
        inputs_for(model, "batches:broken")


def test_auto_means_the_models_own() -> None:
    class Own(nn.Linear):
        @property
        def dummy_inputs(self) -> dict[str, torch.Tensor]:
            return {"input": torch.ones(3, 1)}

    class Lightning(nn.Linear):
        example_input_array = torch.ones(4, 1)

    assert {"input": ((3, 1), "float32")} == looks(inputs_for(Own(1, 1), "auto").kwargs)
    assert [((4, 1), "float32")] == [looks(each) for each in inputs_for(Lightning(1, 1), "auto").args]
