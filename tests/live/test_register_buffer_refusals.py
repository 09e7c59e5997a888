"""What torch refuses to register, raised by torch itself and explained in one sentence with a way out."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from written_source import line_marked, load

from bufscan.live.building.refusals import explain_refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONES = torch.ones(2)


class Net(nn.Module):
    limit = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.inner = nn.Linear(1, 1)
        self.register_buffer("mean", torch.ones(2))

    def attend(self) -> None: ...

    @property
    def size(self) -> int:
        return 1


class Unready(nn.Module):
    def __init__(self, name: str, value: Any) -> None:
        setattr(self, name, value)
        super().__init__()


class UnreadyBuffer(nn.Module):
    def __init__(self) -> None:
        self.register_buffer("x", ONES)
        super().__init__()


def raised_by(act: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the test is about
        act()
    return caught.value


TAKEN = "no buffer, parameter or module can be called"
REFUSED: dict[str, tuple[Callable[[], object], str, str]] = {
    "method of torch": (
        lambda: Net().register_buffer("half", ONES),
        f"{TAKEN} `half`: it is a method of nn.Module",
        "choose another name, such as `half_buffer`",
    ),
    "what every module has": (
        lambda: nn.Module().register_buffer("training", ONES),
        f"{TAKEN} `training`: it is an attribute of every nn.Module",
        "choose another name, such as `training_buffer`",
    ),
    "forward": (
        lambda: nn.Module().register_buffer("forward", ONES),
        f"{TAKEN} `forward`: it is a method of nn.Module",
        "choose another name, such as `forward_buffer`",
    ),
    "flag of torch": (
        lambda: Net().register_buffer("dump_patches", ONES),
        f"{TAKEN} `dump_patches`: it is a class attribute of nn.Module",
        "choose another name, such as `dump_patches_buffer`",
    ),
    "method of the class": (
        lambda: Net().register_buffer("attend", ONES),
        f"{TAKEN} `attend`: it is a method of Net",
        "choose another name, such as `attend_buffer`",
    ),
    "property": (
        lambda: Net().register_buffer("size", ONES),
        f"{TAKEN} `size`: it is a property of Net",
        "choose another name, such as `size_buffer`",
    ),
    "class attribute": (
        lambda: Net().register_buffer("limit", ONES),
        f"{TAKEN} `limit`: it is a class attribute of Net",
        "remove the value from the class body (`limit: torch.Tensor` may stay)",
    ),
    "parameter of that name": (
        lambda: Net().register_buffer("weight", ONES),
        f"{TAKEN} `weight`: it is a parameter already",
        "choose another name",
    ),
    "child module of that name": (
        lambda: Net().register_buffer("inner", ONES),
        f"{TAKEN} `inner`: it is a child module already",
        "choose another name",
    ),
    "buffer of that name": (
        lambda: Net().register_parameter("mean", nn.Parameter(ONES)),
        f"{TAKEN} `mean`: it is a buffer already",
        "choose another name",
    ),
    "dot": (
        lambda: Net().register_buffer("a.b", ONES),
        "the name of a buffer cannot contain a dot: dots separate modules in a state_dict",
        'write an underscore instead, as in `name.replace(".", "_")`',
    ),
    "dot in a module's name": (
        lambda: Net().add_module("a.b", nn.Linear(1, 1)),
        "the name of a module cannot contain a dot: dots separate modules in a state_dict",
        'write an underscore instead, as in `name.replace(".", "_")`',
    ),
    "empty name": (
        lambda: Net().register_buffer("", ONES),
        "the name of a buffer cannot be empty",
        "give it a name",
    ),
    "empty name of a parameter": (
        lambda: Net().register_parameter("", None),
        "the name of a parameter cannot be empty",
        "give it a name",
    ),
    "number for a name": (
        lambda: Net().register_buffer(3, ONES),  # type: ignore[arg-type]  # the mistake to be explained
        "the name of a buffer must be a string, not an int",
        'number several as in `f"mask_{i}"`',
    ),
    "number for a value": (
        lambda: Net().register_buffer("x", 3),  # type: ignore[arg-type]  # the mistake to be explained
        "buffer `x` must be a tensor or None, not an int",
        "wrap it in `torch.tensor(...)`; a plain number that no tensor needs can stay an attribute",
    ),
    "list assigned to a buffer": (
        lambda: setattr(Net(), "mean", [1.0]),
        "buffer `mean` must be a tensor or None, not a list",
        "wrap it in `torch.tensor(...)`; a plain number that no tensor needs can stay an attribute",
    ),
    "tensor assigned to a parameter": (
        lambda: setattr(Net(), "weight", ONES),
        "parameter `weight` must be an nn.Parameter or None, not a torch.FloatTensor",
        "wrap it: `self.weight = nn.Parameter(...)`; a tensor that is not trained is a buffer",
    ),
    "tensor registered as a parameter": (
        lambda: Net().register_parameter("x", ONES),  # type: ignore[arg-type]  # the mistake to be explained
        "parameter `x` must be an nn.Parameter or None, not a torch.FloatTensor",
        "wrap it: `self.x = nn.Parameter(...)`; a tensor that is not trained is a buffer",
    ),
    "number assigned to a child module": (
        lambda: setattr(Net(), "inner", 3),
        "child module `inner` must be an nn.Module or None, not an int",
        "choose another name for what is no module",
    ),
    "tensor added as a module": (
        lambda: Net().add_module("x", ONES),  # type: ignore[arg-type]  # the mistake to be explained
        "a child module must be an nn.Module or None, not a torch.FloatTensor",
        "add_module takes modules; a tensor is registered with register_buffer or as an nn.Parameter",
    ),
    "computed parameter": (
        lambda: Net().register_parameter("x", _computed_parameter()),
        "parameter `x` was computed from other tensors, and only leaves can be trained",
        "compute it in forward, or detach it first",
    ),
    "buffer before Module.__init__": (
        UnreadyBuffer,
        "a buffer was assigned before `super().__init__()` had run",
        "call `super().__init__()` first in `__init__`",
    ),
    "parameter before Module.__init__": (
        lambda: Unready("x", nn.Parameter(ONES)),
        "a parameter was assigned before `super().__init__()` had run",
        "call `super().__init__()` first in `__init__`",
    ),
    "module before Module.__init__": (
        lambda: Unready("x", nn.Linear(1, 1)),
        "a module was assigned before `super().__init__()` had run",
        "call `super().__init__()` first in `__init__`",
    ),
}


def _computed_parameter() -> nn.Parameter:
    leaf = nn.Parameter(torch.ones(2))
    computed: Any = leaf * 2
    computed.__class__ = nn.Parameter
    made: nn.Parameter = computed
    return made


@pytest.mark.parametrize(("act", "message", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_torch_refuses_is_explained(act: Callable[[], object], message: str, hint: str) -> None:
    refusal = explain_refusal(raised_by(act))
    assert refusal is not None
    assert (message, hint) == (refusal.message, refusal.hint)


@pytest.mark.parametrize("way", ['self.register_buffer("x", t)', "self.x = nn.Buffer(t)"])
def test_an_attribute_that_was_assigned_before_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    text = f"""
        import torch
        from torch import nn
        class Model(nn.Module):
            def __init__(self, t=torch.ones(2)):
                super().__init__()
                self.x = None  # here
                {way}
    """
    module = load(tmp_path, text)
    refusal = explain_refusal(raised_by(module.Model))
    place = f"{tmp_path}/made_model.py:{line_marked(textwrap.dedent(text))}"
    assert refusal is not None
    assert f"{TAKEN} `x`: it was assigned as a plain attribute before ({place})" == refusal.message
    assert "remove that assignment: registering makes the attribute" == refusal.hint


def test_without_a_traceback_the_text_alone_is_explained() -> None:
    refusal = explain_refusal(KeyError("attribute 'x' already exists"))
    assert refusal is not None
    assert f"{TAKEN} `x`: the module already has that attribute" == refusal.message


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # scripting is deprecated as a whole
def test_a_script_module_takes_no_transient_buffer() -> None:
    scripted = torch.jit.script(nn.Linear(1, 1))
    refusal = explain_refusal(raised_by(lambda: scripted.register_buffer("x", ONES, persistent=False)))
    assert refusal is not None
    assert "a ScriptModule has no non-persistent buffers" == refusal.message


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(KeyError("attribute 'x' already exists"), id="the same words from somewhere else"),
        pytest.param(KeyError(3), id="no text"),
        pytest.param(KeyError(), id="no argument"),
        pytest.param(ZeroDivisionError("attribute 'x' already exists"), id="another type"),
        pytest.param(RuntimeError("shape mismatch"), id="another error"),
    ],
)
def test_any_other_error_is_left_alone(error: BaseException) -> None:
    assert explain_refusal(raised_by(lambda: _raise(error))) is None
