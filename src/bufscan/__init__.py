"""bufscan says of every tensor in a PyTorch artefact what `register_buffer` would have made of it.

    import bufscan

    inventory = bufscan.inspect("model.pt")
    result = bufscan.check("package.models:Encoder")
    difference = bufscan.diff("before.pt", "after.safetensors")

What is exported here is imported when it is first asked for: `import bufscan` loads neither torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bufscan.checking import check
    from bufscan.comparing.diffing import diff
    from bufscan.inspecting import inspect

__all__ = ["__version__", "check", "diff", "inspect"]

_EXPORTS = {"check": "bufscan.checking", "diff": "bufscan.comparing.diffing", "inspect": "bufscan.inspecting"}


def __getattr__(name: str) -> Any:
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("bufscan")
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
