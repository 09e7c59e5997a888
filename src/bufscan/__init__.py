"""bufscan says of every tensor in a PyTorch artefact what `register_buffer` would have made of it."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    # The version is read when asked for: importlib.metadata costs more than the rest of the package's start.
    if name == "__version__":
        from importlib import metadata

        return metadata.version("bufscan")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
