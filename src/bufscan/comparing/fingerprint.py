"""One target as lines that differ wherever its tensors do: for tools that compare text, such as git."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import BufscanError, UnreadableError
from bufscan.opening.artefact import BuildOptions, open_target
from bufscan.values.digest import Digester
from bufscan.values.workers import stretches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.bytesource import FileSource, OpenFiles
    from bufscan.inventory import Skipped, Tensor
    from bufscan.values.workers import Meter, Workers

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


def fingerprint(target: str, files: OpenFiles, workers: Workers) -> Fingerprints | Unread:
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
    if not side.has_values:
        unwritten = (Fingerprint(tensor, None, "its values were never written") for tensor in tensors)
        return Fingerprints(tuple(unwritten), side.inventory.skipped)

    def work(jobs: Iterator[Tensor], meter: Meter) -> Iterator[bytes | str]:
        digester = Digester(side.inventory.storages, side.reader, meter.advance)
        for tensor in jobs:
            try:
                yield digester.digest(tensor)
            except UnreadableError as error:
                yield error.message

    found = workers.map(tensors, work, lambda tensor: tensor.nbytes or 0, bytes | str)
    prints = (
        Fingerprint(tensor, None, each) if isinstance(each, str) else Fingerprint(tensor, each.hex())
        for tensor, each in zip(tensors, found, strict=True)
    )
    return Fingerprints(tuple(prints), side.inventory.skipped)


def _digest_of(file: FileSource) -> str:
    digest = hashlib.sha256()
    for start, length in stretches(file.size, _CHUNK_BYTES):
        digest.update(file.read(start, length))
    return digest.hexdigest()
