"""What one rehearsal has seen so far: the tags, the clashes, and what the forward pass carries over by hand."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from bufscan.rehearsal import Clash
from bufscan.rehearsing.lines import call_on, device_in, line_now, names_device, with_device
from bufscan.rehearsing.tags import NOWHERE, Origin, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType
    from typing import Any

    import torch

    from bufscan.inventory import Location
    from bufscan.rehearsing.operators import Fault
    from bufscan.rehearsing.tags import Tag

_LONGEST_MAKER = 60  # characters, in the middle of a sentence


class Course:
    """The state that both modes of one rehearsal share.

    Attributes:
        tags: of all storages.
        target: where what is made now is to lie; None where no call says.
        origin: of what is made now.
        depth: how many calls of torch's are running, one inside the other.
        scripts: whether TorchScript may be among the callers, which nobody sees.
        carried: paths of what the forward pass carried over, with the line.
        dtype: what the model is cast to as it moves; None where its types stay.
        undecided: why nothing can be said, whatever else was seen; None while all was followed.
    """

    def __init__(self, outermost: CodeType, *, scripts: bool, chooses_device: Callable[[], bool]) -> None:
        """`chooses_device` tells whether the model's code asks whether there is a GPU."""
        self.tags = Tags()
        self.target: Tag | None = None
        self.origin = NOWHERE
        self.depth = 0
        self.scripts = scripts
        self.dtype: torch.dtype | None = None
        self.carried: dict[str, Location | None] = {}
        self.undecided: str | None = None
        self._outermost = outermost
        self._chooses_device = chooses_device
        self._clashes: dict[tuple[object, ...], Clash] = {}

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """One for each tensor to blame, in the order met."""
        return tuple(self._clashes.values())

    def report(self, operator: str, fault: Fault, dtype: torch.dtype | None = None) -> None:
        """An operator that would fail; `dtype` is what the tensors kept, where that is why."""
        line = self.location_now()
        for tensor in fault.culprits:
            origin = self.tags.origin_of(tensor)
            if origin.chosen and self._chooses_device():
                self.undecided = (
                    f"`{origin.maker}` takes the device that the model chose when it was built, with no GPU there"
                )
                continue
            clash = Clash(
                operator=operator,
                complaint=fault.complaint,
                line=line,
                tensor=origin.path,
                input=origin.input,
                made=origin.line,
                maker=origin.maker,
                fix=origin.fix if dtype is None else None,
                shape=tuple(tensor.shape),
                dtype=None if dtype is None else str(dtype).removeprefix("torch."),
            )
            if origin.path is not None:
                key: tuple[object, ...] = (origin.path, dtype)
            elif origin.line is not None:
                key = (origin.line.file, origin.line.line, origin.maker, dtype)
            else:
                key = (origin.input, operator, line and (line.file, line.line))
            self._clashes.setdefault(key, clash)

    def carry(self, tensor: torch.Tensor) -> None:
        """The forward pass takes over to the other device what stayed behind."""
        path = self.tags.origin_of(tensor).path
        if path is not None:
            self.carried.setdefault(path, self.location_now())

    def location_now(self) -> Location | None:
        """The user's line that runs."""
        line = line_now(self._outermost)
        return None if line is None else line.location

    def origin_now(self) -> Origin:
        """The user's line as that which makes a tensor on the CPU."""
        line = line_now(self._outermost)
        if line is None:
            return NOWHERE
        call = call_on(line)
        device = None if call is None else device_in(line.frame, self._has_moved)
        return Origin(
            line=line.location,
            maker=None if call is None else _shown(call),
            fix=with_device(call, device) if call is not None and device is not None else None,
            chosen=call is not None and names_device(call),
        )

    def is_wide(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor has another floating-point type than the model was cast to."""
        return self.dtype is not None and tensor.is_floating_point() and tensor.dtype is not self.dtype

    def origin_of_wide(self, tensor: torch.Tensor, among: Sequence[torch.Tensor]) -> Origin:
        """Of a result with another type: what it was computed from that has this type too."""
        origins = (self.tags.origin_of(each) for each in among if each.dtype is tensor.dtype)
        return next((origin for origin in origins if origin != NOWHERE), self.origin if not among else NOWHERE)

    def _has_moved(self, value: Any) -> bool:
        import torch

        return isinstance(value, torch.Tensor) and self.tags.of(value) == "moved"

    def origin_of_result(self, tensors: Sequence[torch.Tensor]) -> Origin:
        """Of what was computed from tensors on the CPU: the first of them that has one."""
        origins = (self.tags.origin_of(tensor) for tensor in tensors if self.tags.of(tensor) != "moved")
        return next((origin for origin in origins if origin != NOWHERE), self.origin)


def _shown(call: ast.Call) -> str:
    """The call as written; what it calls alone where that is long."""
    text = ast.unparse(call)
    return text if len(text) <= _LONGEST_MAKER else ast.unparse(call.func)
