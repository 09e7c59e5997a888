"""A target as plain lines, one a tensor, that differ wherever its tensors do. No width, no colour, no totals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.comparing.fingerprint import Unread
from bufscan.report.shared.escaping import show
from bufscan.report.shared.wording import UNKNOWN, shape_of

if TYPE_CHECKING:
    from bufscan.comparing.fingerprint import Fingerprint, Fingerprints

# 64 bits: what differs by accident never agrees in so many.
_DIGITS = 16


def render(found: Fingerprints | Unread) -> str:
    """Path, type, shape and hash of each tensor in the target's own order."""
    if isinstance(found, Unread):
        return f"not read: {show(found.reason)} ({found.digest[:_DIGITS]})\n"
    lines = [_line(each) for each in found.tensors]
    lines += [f"skipped {show(each.what)}: {show(each.reason)}" for each in found.skipped]
    return "".join(f"{each}\n" for each in lines)


def _line(found: Fingerprint) -> str:
    tensor = found.tensor
    content = f"({show(found.reason or '')})" if found.digest is None else found.digest[:_DIGITS]
    tie = "" if tensor.alias_of is None else f" = {show(tensor.alias_of)}"
    return f"{show(tensor.path)} {tensor.dtype or UNKNOWN} {shape_of(tensor)} {content}{tie}"
