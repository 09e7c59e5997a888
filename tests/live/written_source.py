"""Source files that tests write and import; the line a test looks for ends in `# here`."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from bufscan.inventory import Location

if TYPE_CHECKING:
    from pathlib import Path


def load(folder: Path, text: str, name: str = "made_model") -> Any:
    """Write a source file and import it; the test puts `sys.modules` back."""
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(text))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def line_marked(text: str) -> int:
    lines = [number for number, line in enumerate(textwrap.dedent(text).splitlines(), 1) if "# here" in line]
    assert len(lines) == 1, "mark exactly one line"
    return lines[0]


def expected(folder: Path, text: str, name: str = "made_model") -> Location:
    return Location(file=str(folder / f"{name}.py"), line=line_marked(text))
