"""`python -m bufscan`."""

from __future__ import annotations

import sys

from bufscan.cli import main

sys.exit(main())
