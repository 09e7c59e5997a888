"""One target as lines that differ wherever its tensors do: for tools that compare text, such as git."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.workers import Meter, run_jobs, stretches
from bufscan.errors import BufscanError, UnreadableError
from bufscan.opening.artefact import BuildOptions, open_target
from bufscan.values.digest import Digester

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.bytesource import FileSource, OpenFiles
    from bufscan.comparing.workers import Progress
    from bufscan.inventory import Skipped, Tensor


_CHUNK_BYTES = 1 << 18


class Fingerprint(NamedTuple):
    """A tensor and the hash of its elements in hexadecimal; None where they cannot be read, for `reason`."""

    tensor: Tensor
    digest: str | None
    reason: str | None = None


class Fingerprints(NamedTuple):
    """All tensors of a target in its own order, and what of it was not examined."""

    tensors: tuple[Fingerprint, ...]
    skipped: tuple[Skipped, ...]


class Unread(NamedTuple):
    """A file that is no checkpoint that can be read: why, and the hash of all its bytes in hexadecimal."""

    reason: str
    digest: str


def fingerprint(target: str, files: OpenFiles, progress: Progress | None = None) -> Fingerprints | Unread:
    """Hash every tensor of the target, or the file as a whole where it cannot be read.

    git gives up everything that it was to show when one version of one file fails.

    Raises:
        UsageError, UnreadableError: there is no such file, or a model cannot be built.
    """
    try:
        side = open_target(target, files, BuildOptions())
    except BufscanError as error:
        with suppress(UnreadableError):
            return Unread(error.message, _digest_of(files.open(Path(target))))
        raise
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


def _digest_of(file: FileSource) -> str:
    digest = hashlib.sha256()
    for start, length in stretches(file.size, _CHUNK_BYTES):
        digest.update(file.read(start, length))
    return digest.hexdigest()


def _fingerprint(tensor: Tensor, digester: Digester) -> Fingerprint:
    try:
        return Fingerprint(tensor, digester.digest(tensor).hex())
    except UnreadableError as error:
        return Fingerprint(tensor, None, error.message)
