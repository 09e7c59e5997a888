"""One target as lines that differ wherever its tensors do: for tools that compare text, such as git."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.opening import open_side
from bufscan.comparing.workers import Meter, run_jobs
from bufscan.errors import UnreadableError
from bufscan.values.digest import Digester

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.comparing.workers import Progress
    from bufscan.inventory import Skipped, Tensor


class Fingerprint(NamedTuple):
    """A tensor and the hash of its elements in hexadecimal; None where they cannot be read, for `reason`."""

    tensor: Tensor
    digest: str | None
    reason: str | None = None


class Fingerprints(NamedTuple):
    """All tensors of a target in its own order, and what of it was not examined."""

    tensors: tuple[Fingerprint, ...]
    skipped: tuple[Skipped, ...]


def fingerprint(target: str, progress: Progress | None = None) -> Fingerprints:
    """Hash every tensor of the target.

    Raises:
        UnreadableError: the target cannot be read or built.
    """
    with ExitStack() as files:
        side = open_side(target, files)
        tensors = side.inventory.tensors
        nbytes = sum(tensor.nbytes or 0 for tensor in tensors)
        meter = Meter(nbytes, progress)
        found = [Fingerprint(tensor, None, "its values were never written") for tensor in tensors]

        def work(jobs: Iterator[tuple[int, Tensor]]) -> None:
            digester = Digester(side.inventory.storages, side.reader, meter.advance)
            for position, tensor in jobs:
                found[position] = _fingerprint(tensor, digester)

        if side.has_values:
            run_jobs(enumerate(tensors), work, meter, nbytes)
        return Fingerprints(tuple(found), side.inventory.skipped)


def _fingerprint(tensor: Tensor, digester: Digester) -> Fingerprint:
    try:
        return Fingerprint(tensor, digester.digest(tensor).hex())
    except UnreadableError as error:
        return Fingerprint(tensor, None, error.message)
