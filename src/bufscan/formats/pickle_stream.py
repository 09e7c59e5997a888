"""Pickles and raw numbers one after the other in a byte source, which is never read as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.formats.pickle_machine import BrokenPickleError, run_pickle

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.formats.pickle_machine import Pickled

_FIRST_WINDOW = 1 << 16
_LARGEST_WINDOW = 1 << 30


class PickleStream:
    """A position in a byte source. `end` bounds what is read: a member of an archive ends before the file does."""

    def __init__(self, source: ByteSource, position: int = 0, end: int | None = None) -> None:
        self.position = position
        self.end = source.size if end is None else end
        self._source = source

    def next_pickle(self) -> Pickled:
        """Run the pickle at the position and move behind it.

        A pickle does not say how long it is: the window grows until the pickle ends within it.

        Raises:
            BrokenPickleError: it does not run to its end.
        """
        window = _FIRST_WINDOW
        while True:
            length = min(window, self.end - self.position)
            try:
                pickled = run_pickle(self._source.read(self.position, length))
            except BrokenPickleError as error:
                if not error.truncated or length < window or window >= _LARGEST_WINDOW:
                    raise
                window *= 8
            else:
                self.position += pickled.end
                return pickled

    def next_integer(self, width: int = 8) -> int:
        """The little-endian signed integer at the position; it must be a count."""
        value = int.from_bytes(self.take(width), "little", signed=True)
        if value < 0:
            raise UnreadableError(f"a negative count at byte {self.position - width}")
        return value

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        start = self.position
        self.skip(length)
        return self._source.read(start, length)

    def skip(self, length: int) -> None:
        """Move on by `length` bytes without reading them."""
        if length > self.end - self.position:
            raise UnreadableError(
                f"it announces {length} bytes at byte {self.position}, where {self.end - self.position} are left",
                hint="the file looks truncated: copy or download it again",
            )
        self.position += length
