"""Evidence to role: sharpens what a reader could only assume."""

from __future__ import annotations

from bufscan.roles.deciding import decide

__all__ = ["decide"]
