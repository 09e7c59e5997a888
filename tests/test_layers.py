"""The layers, enforced by reading the imports: what is lower knows nothing of what is higher."""

from __future__ import annotations

from pathlib import Path

import pytest

import bufscan
from imports import imports_of, sources_below

SOURCES = sources_below(Path(bufscan.__file__).parent)

ROWS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("dtypes", "bytesource", "atomicfile", "tensor_names", "ranks"),
    ("inventory",),
    ("rehearsal",),
    ("findings", "remote", "ties"),
    ("target", "source"),
    ("config",),
    ("formats", "live", "roles", "rules", "values"),
    ("joining", "rehearsing"),
    ("opening",),
    ("inspecting", "judging"),
    ("checking", "comparing"),
    ("watching",),
    ("report", "demo", "help"),
    ("testing", "library"),
    ("",),  # the package itself, the door to the library
    ("commands",),
    ("cli", "pytest_plugin"),
    ("__main__",),
)
"""From the lowest to the highest. A module may use the rows below its own, and what is inside its own package."""

BUFSCAN = {name.split(".")[1] if "." in name else "" for name in SOURCES}

WITH_TORCH = ("bufscan.live", "bufscan.values.storages", "bufscan.watching", "bufscan.rehearsing", "bufscan.ranks")
"""What may import torch, in functions: it is for live models, and for several processes. Everything else works on
files and records."""


WITH_NUMPY = {"values", "comparing"}
"""Packages whose functions may import numpy."""


def row_of(part: str) -> int:
    return next(number for number, row in enumerate(ROWS) if part in row)


def part_of(module: str) -> str | None:
    """The part of bufscan that `module` belongs to; None for other packages."""
    package, _, rest = module.partition(".")
    if package != "bufscan":
        return None
    part = rest.partition(".")[0]
    return part if part in BUFSCAN else ""


def breaches(module: str, source: str) -> list[str]:
    """What `source` imports as `module` that it must not."""
    return [
        f"{module}:{line} {breach}"
        for imported, when, line in imports_of(source)
        if (breach := _breach(module, imported, when)) is not None
    ]


def _breach(module: str, imported: str, when: str) -> str | None:
    own = part_of(module)
    other = part_of(imported)
    assert own is not None
    if other is not None:
        return _layer_breach(own, other)
    package = imported.partition(".")[0]
    forbidden = {
        "torch": when == "start" or (when == "call" and not module.startswith(WITH_TORCH)),
        "numpy": when == "start" or (when == "call" and own not in WITH_NUMPY),
        "rich": module not in ("bufscan.report.shared.layout", "bufscan.report.reference.pages"),
        "jinja2": not module.startswith("bufscan.report.html"),
        "typer": own not in ("cli", "commands"),
        "None": True,  # a relative import: the whole name is what readers can search for
    }
    return f"imports {imported}" if forbidden.get(package, False) else None


def _layer_breach(own: str, other: str) -> str | None:
    if row_of(other) > row_of(own):
        return f"imports {other}, which is higher"
    if row_of(other) == row_of(own) and other != own:
        return f"imports {other}, which stands beside it"
    return None


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    assert [] == breaches(module, SOURCES[module])


def test_every_part_of_the_package_has_a_row() -> None:
    assert set() == BUFSCAN - {part for row in ROWS for part in row}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("bufscan.inventory", "from bufscan.formats import reading", id="higher"),
        pytest.param("bufscan.inventory", "import bufscan.cli", id="higher by its whole name"),
        pytest.param("bufscan.inventory", "from bufscan import cli", id="higher, from the package"),
        pytest.param("bufscan.formats.a", "from bufscan.roles.deciding import decide", id="beside"),
        pytest.param("bufscan.formats.a", "def f():\n    import bufscan.live", id="beside, in a call"),
        pytest.param(
            "bufscan.formats.a",
            "if TYPE_CHECKING:\n    from bufscan.live import scanning",
            id="beside, for types",
        ),
        pytest.param("bufscan.errors", "from bufscan import __version__", id="the package from within"),
        pytest.param("bufscan.live.a", "import torch", id="torch at the start"),
        pytest.param("bufscan.live.a", "if True:\n    from torch import nn", id="torch at the start, nested"),
        pytest.param("bufscan.live.a", "class A:\n    import torch", id="torch in a class"),
        pytest.param("bufscan.formats.a", "def f():\n    import torch", id="torch in a reader"),
        pytest.param("bufscan.report.inspect.json", "def f():\n    import torch", id="torch in a report"),
        pytest.param("bufscan.comparing.a", "def f():\n    import torch", id="torch for values of files"),
        pytest.param("bufscan.live.a", "def f():\n    import numpy", id="numpy"),
        pytest.param("bufscan.report.inspect.json", "from rich.text import Text", id="rich elsewhere"),
        pytest.param("bufscan.report.inspect.json", "def f():\n    import jinja2", id="jinja2 elsewhere"),
        pytest.param("bufscan.report.a", "import typer", id="typer elsewhere"),
        pytest.param("bufscan.formats.a", "from . import reading", id="relative"),
    ],
)
def test_the_checker_finds(module: str, source: str) -> None:
    assert 1 == len(breaches(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bufscan.live.a", "def f():\n    import torch"),
        ("bufscan.values.storages", "def f():\n    import torch"),
        ("bufscan.comparing.a", "def f():\n    import numpy"),
        ("bufscan.inspecting", "if TYPE_CHECKING:\n    from torch import nn"),
        ("bufscan.formats.a", "from bufscan.formats.b import c"),
        ("bufscan.formats.a", "from bufscan.inventory import Tensor"),
        ("bufscan.report.shared.layout", "from rich.style import Style"),
        ("bufscan.cli", "from bufscan import demo"),
        ("bufscan.roles.a", "import torchvision_like, re"),
    ],
)
def test_the_checker_allows(module: str, source: str) -> None:
    assert [] == breaches(module, source)
