"""What torch.load makes of the same bytes, for the tests that compare."""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch


def loads(data: bytes, *, weights_only: bool = True) -> bool:
    """Whether torch.load returns at all; what it returns may be garbage."""
    return loaded(data, weights_only=weights_only) is not None


def loaded(data: bytes, *, weights_only: bool = True) -> Any:
    """What torch.load returns, or None when it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(io.BytesIO(data), weights_only=weights_only)
        except Exception:  # noqa: BLE001 - whatever it raises, it does not load
            return None
