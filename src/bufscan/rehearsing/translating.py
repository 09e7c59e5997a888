"""What the user's code says of devices, in terms of tags: `.to`, `.cuda`, `.device`, factories, `numpy()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.rehearsing.dispatching import tensors_in
from bufscan.rehearsing.operators import ONE_DEVICE, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from bufscan.rehearsing.course import Course
    from bufscan.rehearsing.tags import Tag

MOVED_TO = "cuda:0"
"""The device that is pretended."""
_NOBODY_KNOWS = "cpu:127"  # the device of a tensor that may lie on either: made on it, another may too

# Made on the CPU unless a device is given, whatever tensors give the sizes.
_FACTORIES = frozenset(
    (
        *("arange", "linspace", "logspace", "range", "zeros", "ones", "empty", "full", "eye", "rand", "randn"),
        *("randint", "randperm", "tril_indices", "triu_indices", "scalar_tensor", "empty_strided"),
        *("hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window"),
    )
)
_FROM_DATA = frozenset(("tensor", "as_tensor", "asarray"))
_LIKE_SELF = frozenset(("new_tensor", "new"))
_TO_NUMPY = frozenset(("numpy", "__array__"))


class Translator:
    """Answers the calls of one rehearsal that the user's code makes."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._tags = course.tags

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What a function mode hands over."""
        import torch

        name = getattr(function, "__name__", "")
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if first is not None:
            if name == "__get__":
                which = getattr(getattr(function, "__self__", None), "__name__", "")
                if which in ("device", "is_cuda", "is_cpu"):
                    return self._flag(which, first, lambda: function(*args, **kwargs))
            elif name == "get_device":
                return 0 if self._tags.of(first) == "moved" else -1
            elif name in ("to", "cuda", "cpu", "type_as", "type"):
                return self._convert(name, function, args, dict(kwargs))
            elif name in ("pin_memory", "record_stream"):
                return first if name == "pin_memory" else None
            self._check_call(name, args, kwargs)
        return self._make(name, function, args, dict(kwargs))

    def _flag(self, which: str, tensor: torch.Tensor, real: Callable[[], Any]) -> Any:
        import torch

        tag = self._tags.of(tensor)
        if which == "is_cuda":
            return tag == "moved"
        if which == "is_cpu":
            return tag != "moved"
        known: dict[Tag, str] = {"moved": MOVED_TO, "unknown": _NOBODY_KNOWS}
        return torch.device(known[tag]) if tag in known else real()

    def _check_call(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """What torch refuses before any operator runs."""
        import torch

        tags, course = self._tags, self._course
        first = args[0]
        second = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else None
        has_moved = tags.of(first) == "moved"
        if name in _TO_NUMPY and has_moved:
            course.report("numpy", Fault([first], "takes tensors on the CPU only"))
        elif (
            name in ("quantile", "nanquantile")
            and second is not None
            and has_moved
            and tags.of(second) == "stayed"
        ):
            course.report(name, Fault([second], ONE_DEVICE))
        elif name == "tensor_split" and second is not None and tags.of(second) == "moved":
            course.report(name, Fault([second], "takes its indices on the CPU"))
        if isinstance(kwargs.get("generator"), torch.Generator) and has_moved:
            course.report(name, Fault([first], "takes a generator of the tensor's own device"))

    def _make(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Any other call: one that makes tensors is told to make them on the CPU, and what it makes is tagged."""
        import torch

        course = self._course
        tensors = tensors_in((args, kwargs))
        if name == "as_tensor" and len(args) > 2:  # noqa: PLR2004  # data, dtype, device
            args, kwargs = args[:2], {**kwargs, "device": args[2]}
        before = course.target, course.origin
        course.target = target = self._target(name, args, kwargs, tensors)
        if kwargs.get("device") is not None:
            if _side(kwargs["device"]) is None:  # the meta device: nothing lies there
                course.target = None
                return function(*args, **kwargs)
            kwargs["device"] = torch.device("cpu")
        if name in _FROM_DATA and tensors and args and args[0] is tensors[0] and target is not None:
            args = (self._across(tensors[0], target), *args[1:])
        if target == "stayed" or (target is not None and course.dtype is not None):
            course.origin = course.origin_now()
        if isinstance(kwargs.get("generator"), torch.Generator) and target == "moved":
            course.report(name, Fault([], "takes a generator of the device that it makes tensors on"))
        course.depth += 1
        try:
            out = function(*args, **kwargs)
            if target is not None:
                known = {self._tags.key_of(tensor) for tensor in (*tensors, *tensors_in(args))}
                for made in tensors_in(out):
                    if self._tags.key_of(made) not in known:
                        self._tags.set(made, target, course.origin)
            return out
        finally:
            course.depth -= 1
            course.target, course.origin = before

    def _target(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: list[torch.Tensor]
    ) -> Tag | None:
        """Where the call's results are to lie, whatever its arguments lie on; None to go by these."""
        import torch

        if kwargs.get("device") is not None:
            return _side(kwargs["device"])
        if args and isinstance(args[0], torch.Tensor) and name in (_FROM_DATA | _LIKE_SELF):
            return self._tags.of(args[0])
        if not tensors or name in _FACTORIES or name in _FROM_DATA:
            return "stayed"
        return None

    def _convert(
        self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """`.to()` and its like, which on the CPU is a copy with another tag."""
        import torch

        first = args[0]
        if name == "type":
            if len(args) + len(kwargs) == 1:
                return self._type_name(first)
            asked = args[1] if len(args) > 1 else kwargs.get("dtype")
            args = (first, *_as_device_and_dtype(asked))
            kwargs = {}
        want: Tag | None = {"cuda": "moved", "cpu": "stayed"}.get(name)  # type: ignore[assignment]
        dtype = None
        asked_for = () if name in ("cuda", "cpu") else (*args[1:], *map(kwargs.get, ("device", "dtype", "other")))
        for each in asked_for:
            if isinstance(each, torch.Tensor):
                want, dtype = self._tags.of(each), each.dtype
            elif isinstance(each, torch.dtype):
                dtype = each
            elif isinstance(each, str | torch.device) or type(each) is int:
                want = _side(each)
                if want is None:
                    return function(*args, **kwargs)
        copy = bool(kwargs.get("copy")) or (len(args) > 4 and args[4] is True)  # noqa: PLR2004  # device, dtype, non_blocking
        memory_format = kwargs.get("memory_format", torch.preserve_format)
        moved = self._across(first, want or self._tags.of(first), dtype, memory_format)
        return moved.clone() if copy and moved is first else moved

    def _across(
        self, tensor: torch.Tensor, want: Tag, dtype: torch.dtype | None = None, memory_format: Any = None
    ) -> torch.Tensor:
        """The tensor on the other side: itself where it lies there and nothing else is asked for."""
        import torch

        course = self._course
        have = self._tags.of(tensor)
        crosses = have not in (want, "unknown")
        if crosses and want == "moved":
            course.carry(tensor)
        before, course.target = course.target, want if crosses else have
        before_origin, course.origin = course.origin, self._tags.origin_of(tensor)
        course.depth += 1
        try:
            return torch.Tensor.to(
                tensor,
                dtype or tensor.dtype,
                copy=crosses,
                memory_format=memory_format or torch.preserve_format,
            )
        finally:
            course.depth -= 1
            course.target, course.origin = before, before_origin

    def _type_name(self, tensor: torch.Tensor) -> str:
        name = str(tensor.type())
        return name.replace("torch.", "torch.cuda.", 1) if self._tags.of(tensor) == "moved" else name


def _side(device: Any) -> Tag | None:
    """Where a device lies; None for the meta device, where nothing does."""
    import torch

    if type(device) is int:
        return "moved"
    found = torch.device(device)
    if found.type == "meta":
        return None
    if found == torch.device(_NOBODY_KNOWS):
        return "unknown"
    return "stayed" if found.type == "cpu" else "moved"


def _as_device_and_dtype(asked: Any) -> tuple[Any, ...]:
    """`torch.cuda.FloatTensor`, the class or its name, as arguments of `.to`; a dtype as it is."""
    import torch

    if isinstance(asked, torch.dtype):
        return (asked,)
    name = asked if isinstance(asked, str) else f"{asked.__module__}.{asked.__name__}"
    dtype = getattr(torch, name.rpartition(".")[2]).dtype
    return MOVED_TO if ".cuda." in name else "cpu", dtype
