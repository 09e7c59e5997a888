"""`python -m bufscan`."""

from __future__ import annotations

from bufscan.cli import run

run()
