"""Pickles and raw numbers one after the other in a byte source, which is never read as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.formats.pickle.pickle_machine import BrokenPickleError, run_pickle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.bytesource import ByteSource
    from bufscan.formats.pickle.pickle_machine import Pickled
    from bufscan.formats.pickle.pickle_values import Global

_FIRST_WINDOW = 1 << 16
_LARGEST_WINDOW = 1 << 30
_MOST_GLOBALS = 10_000  # in all pickles together


class PickleStream:
    """A position in a byte source. `end` bounds what is read: a member of an archive ends before the file does."""

    def __init__(self, source: ByteSource, position: int = 0, end: int | None = None) -> None:
        self.position = position
        self.end = source.size if end is None else end
        self._source = source
        self._window = b""
        self._window_start = position
        self._globals: dict[tuple[str | None, str], Global] = {}

    @property
    def globals(self) -> Iterable[Global]:
        """Every name that any of the pickles so far refers to: torch would have resolved them all."""
        return self._globals.values()

    def next_pickle(self) -> Pickled:
        """Run the pickle at the position and move behind it.

        A pickle does not say how long it is: the window grows until the pickle ends within it.

        Raises:
            BrokenPickleError: it does not run to its end.
        """
        size = _FIRST_WINDOW
        self._look_at(1)
        while True:
            try:
                start = self.position - self._window_start
                pickled = run_pickle(self._window, start, origin=self._window_start, file_bytes=self._source.size)
            except BrokenPickleError as error:
                window_end = self._window_start + len(self._window)
                if not error.truncated or window_end >= self.end or size > _LARGEST_WINDOW:
                    self._note_globals(error.globals)
                    raise
                self._look_at(size)
                size *= 8
            else:
                self.position = self._window_start + pickled.end
                self._note_globals(pickled.globals)
                return pickled

    def _look_at(self, length: int) -> None:
        """Have at least `length` bytes from the position on in the window, or all that are left."""
        if self.position + min(length, self.end - self.position) > self._window_start + len(self._window):
            length = min(max(length, _FIRST_WINDOW), self.end - self.position)
            self._window = self._source.read(self.position, length)
            self._window_start = self.position

    def _note_globals(self, names: Iterable[Global]) -> None:
        for name in names:
            known = self._globals.setdefault((name.module, name.name), name)
            # What it is called with counts wherever that is.
            known.called, known.made = known.called or name.called, known.made or name.made
        if len(self._globals) > _MOST_GLOBALS:
            raise UnreadableError(f"its pickles refer to more than {_MOST_GLOBALS} names")

    def next_integer(self, width: int = 8) -> int:
        """The little-endian signed integer at the position; it must be a count."""
        self._look_at(width)
        start = self.position
        self.skip(width)
        offset = start - self._window_start
        value = int.from_bytes(self._window[offset : offset + width], "little", signed=True)
        if value < 0:
            raise UnreadableError(f"a negative count at byte {start}")
        return value

    def skip(self, length: int) -> None:
        """Move on by `length` bytes without reading them."""
        if length > self.end - self.position:
            raise UnreadableError(
                f"it announces {length} bytes at byte {self.position}, where {self.end - self.position} are left",
                hint="the file looks truncated: copy or download it again",
            )
        self.position += length
