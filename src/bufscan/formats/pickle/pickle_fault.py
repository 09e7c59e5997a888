"""How an opcode says that the pickle is broken."""

from __future__ import annotations


class Fault(Exception):  # noqa: N818 - not an error of ours, and `run_pickle` turns it into one
    """The pickle does something that no sound pickle does."""

    def __init__(self, what: str, *, truncated: bool = False) -> None:
        super().__init__(what)
        self.truncated = truncated
