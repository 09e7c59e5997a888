"""Whose code a fault lies in: the user's own, wherever it stands in the project, or an installed package's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bufscan.live.reach.anatomy import module_dict, module_of
from bufscan.source.files import is_installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.inventory import Location

_INSTALLED = ("site-packages", "dist-packages")


class Ownership:
    """Decides by files; with `sources`, only code of these packages is the user's own."""

    def __init__(self, sources: Sequence[str] = ()) -> None:
        self._sources = tuple(sources)
        self._places: dict[str, Path | None] = {}

    def package_of(self, location: Location | None, owner: type) -> str | None:
        """The installed package that a fault lies in; None where it is the user's own.

        Args:
            location: where the source assigns the tensor, where that is known.
            owner: the class of the module that holds it.
        """
        module = module_of(owner)
        file = location.file if location is not None else _file_of(module)
        if self._sources:
            own = any(self._is_of(source, module, file) for source in self._sources)
        else:
            own = file is None or not is_installed(str(Path(file).absolute()))
        return None if own else _package_of_file(file) or module.partition(".")[0]

    def _is_of(self, source: str, module: str, file: str | None) -> bool:
        if file is None:
            return module == source or module.startswith(f"{source}.")
        if source not in self._places or self._places[source] is None:
            self._places[source] = _place_of(source)
        place = self._places[source]
        return place is not None and Path(file).absolute().is_relative_to(place)


def _file_of(module: str) -> str | None:
    found = sys.modules.get(module)
    file = None if found is None else module_dict(found).get("__file__")
    return file if isinstance(file, str) else None


def _place_of(source: str) -> Path | None:
    """The folder of a package, or the file of a module; None while it is not imported."""
    file = _file_of(source)
    if file is None:
        return None
    path = Path(file).absolute()
    return path.parent if path.name == "__init__.py" else path


def _package_of_file(file: str | None) -> str | None:
    parts = Path(file).absolute().parts if file is not None else ()
    for position, part in enumerate(parts[:-1]):
        if part in _INSTALLED:
            return parts[position + 1].removesuffix(".py")
    return None
