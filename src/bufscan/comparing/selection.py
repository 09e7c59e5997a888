"""Which of the matched tensors are compared: shell patterns of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.sections import key_of
from bufscan.errors import UsageError
from bufscan.tensor_names import matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.comparing.matching import Group, Matching
    from bufscan.inventory import Tensor


class Selection(NamedTuple):
    """Names to compare, all when `match` is empty, and names to leave out."""

    match: Sequence[str]
    ignore: Sequence[str]

    def admits(self, *tensors: Tensor) -> bool:
        """Whether a tensor is compared; it may have a name on either side."""
        return self._admits(_names_of(tensors))

    def admits_path(self, path: str) -> bool:
        """Whether a value beside the tensors is compared."""
        return self._admits({path})

    def _admits(self, names: set[str]) -> bool:
        wanted = not self.match or any(_fits(names, glob) for glob in self.match)
        return wanted and not any(_fits(names, glob) for glob in self.ignore)

    def apply(self, matching: Matching) -> None:
        """Keep what is admitted, and note the patterns that no name has.

        Raises:
            UsageError: nothing is left, and nothing would look like no difference.
        """
        if not (self.match or self.ignore):
            return
        names = {name for group in matching.groups for name in _names_of(_tensors_of(group))}
        matching.notes += [f"no name matches `{glob}`" for glob in self._globs() if not _fits(names, glob)]
        for group in matching.groups:
            group.matches = [match for match in group.matches if self.admits(match.old, match.new)]
            group.removed = {name: tensor for name, tensor in group.removed.items() if self.admits(tensor)}
            group.added = {name: tensor for name, tensor in group.added.items() if self.admits(tensor)}
        if names and not any(True for group in matching.groups for _ in _tensors_of(group)):
            raise UsageError(
                "the patterns of names leave no tensor to compare",
                hint="`bufscan inspect` lists the names; quote the patterns, or the shell expands them",
            )

    def _globs(self) -> Sequence[str]:
        return (*self.match, *self.ignore)


def _tensors_of(group: Group) -> Iterator[Tensor]:
    for match in group.matches:
        yield match.old
        yield match.new
    yield from group.removed.values()
    yield from group.added.values()


def _names_of(tensors: Iterator[Tensor] | Sequence[Tensor]) -> set[str]:
    return {name for tensor in tensors for name in (tensor.name, tensor.path, key_of(tensor))}


def _fits(names: set[str], glob: str) -> bool:
    return any(matches(glob, name) for name in names)
