"""bufscan says of every tensor in a PyTorch artefact what `register_buffer` would have made of it.

    import bufscan

    report = bufscan.inspect("model.pt")         # or a module, a state_dict, an open file
    report["encoder.pe"].role                    # "persistent_buffer"
    bufscan.check("package.models:Encoder")      # findings of the rules, on a model that is built
    bufscan.lint("src/package")                  # findings in source, which is only read
    bufscan.diff("before.pt", "after.safetensors")

`print(report)` gives what the command prints, a notebook shows a table, `report.to_json()` is for machines, and
`report.to_records()` for data frames. Failures are `BufscanError`s. What is exported here is imported when it is
first asked for: `import bufscan` loads neither torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bufscan import checking, inspecting
    from bufscan.checking import linting
    from bufscan.comparing import diffing
    from bufscan.errors import BufscanError, TargetError, UnknownNameError, UnreadableError, UsageError
    from bufscan.library import CheckReport, DiffReport, InspectReport, shown_as

    inspect = shown_as(InspectReport.of, inspecting.inspect)
    check = shown_as(CheckReport.of, checking.check)
    lint = shown_as(CheckReport.of, linting.lint)
    diff = shown_as(DiffReport.of, diffing.diff)

__all__ = [
    "BufscanError",
    "CheckReport",
    "DiffReport",
    "InspectReport",
    "TargetError",
    "UnknownNameError",
    "UnreadableError",
    "UsageError",
    "__version__",
    "check",
    "diff",
    "inspect",
    "lint",
]

_FUNCTIONS = {
    "inspect": ("bufscan.inspecting", "InspectReport"),
    "check": ("bufscan.checking", "CheckReport"),
    "lint": ("bufscan.checking.linting", "CheckReport"),
    "diff": ("bufscan.comparing.diffing", "DiffReport"),
}
"""The module that has the function, and what its result becomes."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = _found(name)
    return found


def _found(name: str) -> Any:
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("bufscan")
    if name.endswith("Error"):
        return getattr(import_module("bufscan.errors"), name)
    library = import_module("bufscan.library")
    if name not in _FUNCTIONS:
        return getattr(library, name)
    module, report = _FUNCTIONS[name]
    return library.shown_as(getattr(library, report).of, getattr(import_module(module), name))


def __dir__() -> list[str]:
    return sorted(__all__)
