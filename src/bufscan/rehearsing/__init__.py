"""Rehearse a model's move to another device without having one.

The forward pass really runs, on the CPU and with real values. Every storage carries a tag that says on which side
of the pretended move it lies; torch's two modes keep the tags right and check every operator by what CUDA accepts.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import linecache
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.errors import UsageError
from bufscan.live.building.user_code import summary_of, where_raised
from bufscan.live.reach import anatomy
from bufscan.live.reach.describing import is_uninitialised, is_wrapper
from bufscan.live.reach.registry import is_script, registered_modules, registered_tensors
from bufscan.live.reach.walking import walk
from bufscan.rehearsal import Rehearsal
from bufscan.rehearsing.course import Course
from bufscan.rehearsing.dispatching import Dispatcher, tensors_returned
from bufscan.rehearsing.keeping import Keeper, TooManyObjectsError, torch_kept
from bufscan.rehearsing.modes import rehearsing
from bufscan.rehearsing.tags import Origin
from bufscan.rehearsing.translating import MOVED_TO, Translator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from torch import nn

    from bufscan.live.reach.registry import RegisteredModule

_NO_DRIVER = ("not compiled with CUDA", "CUDA driver", "No CUDA GPUs", "libcuda", "_cuda_")


def rehearse(  # noqa: PLR0913 - all but what is called have names and defaults
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    method: str = "forward",
    train: bool | None = False,
    dtype: str | None = None,
) -> Rehearsal:
    """Move a model and its inputs to a device that is only pretended, and run it there once.

    The model, its inputs, everything they lead to and the random states are afterwards what they were, whatever
    happens. What the user's code prints is dropped. An error of the user's code is a reason in the result.

    Args:
        model: on the CPU.
        args: of the method, on the CPU; the tensors in them are moved too.
        kwargs: its keyword arguments, the same.
        method: what to call; `forward` is called through the model itself, hooks included.
        train: in training mode with a backward pass; in evaluation mode where False; as the model is, and without
            a backward pass, where None.
        dtype: torch's name of the floating-point type that model and inputs are cast to as they move.

    Raises:
        UsageError: torch has no such type.
    """
    result = Rehearsal(method=method, train=bool(train), dtype=dtype)
    floating = None if dtype is None else dtype_named(dtype)
    modules, _ = registered_modules(model)
    reason = _why_not(modules)
    if reason is not None:
        return _not(result, reason)
    kwargs = dict(kwargs or {})
    try:
        keeper = Keeper((model, tuple(args), kwargs))
    except TooManyObjectsError:
        return _not(result, "the model leads to too many objects to put all of them back")
    course = Course(_perform.__code__, scripts=keeper.scripts, chooses_device=lambda: _asks_for_gpu(modules))
    course.dtype = floating
    _name_tensors(course, modules)
    with torch_kept():
        try:
            with _quietly(), rehearsing(Translator(course), Dispatcher(course, keeper.before_write)):
                reason = _perform(course, _Call(model, tuple(args), kwargs, method), train)
        finally:
            keeper.restore()
    blamed = {clash.tensor for clash in course.clashes}
    return Rehearsal(
        method=method,
        train=bool(train),
        dtype=dtype,
        clashes=course.clashes,
        carried={path: line for path, line in course.carried.items() if path not in blamed},
        reason=reason or course.undecided,
    )


def dtype_named(name: str) -> torch.dtype:
    """The floating-point type of that name.

    Raises:
        UsageError: torch has none.
    """
    import torch

    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError(f"torch has no floating-point type `{name}`", hint="name one as torch does: bfloat16")
    return found


def _not(result: Rehearsal, reason: str) -> Rehearsal:
    return Rehearsal(method=result.method, train=result.train, dtype=result.dtype, reason=reason)


def _why_not(modules: Sequence[RegisteredModule]) -> str | None:
    """Why a model of this kind cannot be followed."""
    for module in modules:
        if is_script(module.module):
            name = module.path or type(module.module).__name__
            return f"`{name}` lives in TorchScript, where nothing can be followed"
        for entry in registered_tensors(module):
            tensor = entry.tensor
            if tensor is None:
                continue
            if is_uninitialised(tensor):
                return f"`{entry.name}` has no shape until the first forward pass"
            if is_wrapper(tensor):
                return f"`{entry.name}` is a {type(tensor).__name__}, which is made of other tensors"
            if tensor.device.type != "cpu":
                return f"`{entry.name}` lies on {tensor.device}, and a rehearsal begins on the CPU"
    return None


def _name_tensors(course: Course, modules: list[RegisteredModule]) -> None:
    """What an inventory calls the tensors; unregistered ones first, for they are what stays behind."""
    for place, tensor in walk(modules).reached:
        if not is_uninitialised(tensor):
            course.tags.name(tensor, place.path)
    for module in modules:
        for entry in registered_tensors(module):
            if entry.tensor is not None:
                course.tags.name(entry.tensor, entry.name)


def _asks_for_gpu(modules: Sequence[RegisteredModule]) -> bool:
    """Whether a file that defines the model's classes asks if there is a GPU: the answer was no."""
    names = {anatomy.module_of(base) for module in modules for base in anatomy.mro_of(type(module.module))}
    loaded = [sys.modules.get(name) for name in names if not name.startswith("torch.")]
    files = {file for module in loaded if isinstance(file := getattr(module, "__file__", None), str)}
    return any("is_available(" in line for file in files for line in linecache.getlines(file))


class _Call(NamedTuple):
    """What to call, and with what."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    method: str

    def run(self) -> Any:
        """`forward` through the model itself, so that hooks run."""
        call = self.model if self.method == "forward" else getattr(self.model, self.method)
        return call(*self.args, **self.kwargs)


def _perform(course: Course, call: _Call, train: bool | None) -> str | None:
    """Move, call and perhaps go back; the result is why it did not come to its end."""
    step = "`.to()`"
    try:
        if train is not None:
            call.model.train(train)
        call.model.to(MOVED_TO, course.dtype)
        course.carried.clear()  # that was the move itself
        step = f"`{call.method}()`"
        out = _moved(course, call).run()
        if train:
            step = "the backward pass"
            losses = [each.float().sum() for each in tensors_returned(out) if each.requires_grad]
            if not losses:
                return "no output requires grad: there is no backward pass"
            _run_backward(course, sum(losses[1:], losses[0]))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's code may raise anything
        text = f"{step} raised {summary_of(error)}{where_raised(error)}"
        asks_driver = any(words in str(error) for words in _NO_DRIVER)
        return f"{text}: it asks for a real GPU" if asks_driver else text
    return None


def _run_backward(course: Course, loss: torch.Tensor) -> None:
    """By the engine itself: `loss.backward()` is a call of torch's, in which the user's hooks are not followed."""
    import torch

    course.depth += 1  # what the engine itself makes lies wherever it needs it
    engine = torch.autograd.Variable._execution_engine  # noqa: SLF001
    engine.run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


def _moved(course: Course, call: _Call) -> _Call:
    """The call with its inputs moved."""
    names = _argument_names(call)
    args = tuple(_moved_input(course, name, value) for name, value in zip(names, call.args, strict=True))
    kwargs = {name: _moved_input(course, name, value) for name, value in call.kwargs.items()}
    return call._replace(args=args, kwargs=kwargs)


def _moved_input(course: Course, name: str, value: Any) -> Any:
    import torch
    from torch.utils._pytree import tree_map

    def move(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            with torch._C.DisableTorchFunction():  # noqa: SLF001  # it is no call of the user's
                copy = leaf.detach().clone()
                if course.is_wide(copy):
                    copy = copy.to(course.dtype)
                copy.requires_grad_(leaf.requires_grad)
            course.tags.set(copy, "moved", Origin(input=name))
            return copy
        # A batch of a class of its own (`BatchEncoding`, a graph) knows how to move.
        return leaf.to(MOVED_TO) if callable(getattr(type(leaf), "to", None)) else leaf

    return tree_map(move, value)


def _argument_names(call: _Call) -> list[str]:
    try:
        parameters = list(inspect.signature(getattr(call.model, call.method)).parameters.values())
    except (ValueError, TypeError, AttributeError):
        parameters = []
    names = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return [
        names[position] if position < len(names) else f"argument {position + 1}"
        for position in range(len(call.args))
    ]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the user's code prints and warns of: it will do both again when it really runs."""
    import torch

    # Since torch 2.6. A model that was compiled has imported dynamo, which takes seconds.
    set_stance = getattr(torch.compiler, "set_stance", None) if "torch._dynamo" in sys.modules else None
    eager: Any = contextlib.nullcontext() if set_stance is None else set_stance("force_eager")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), eager:
        warnings.simplefilter("ignore")
        yield
