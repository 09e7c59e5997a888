"""Dicts of tensors beside a model: which of them are models too, and which are a metric's or a sampler's.

A state_dict that was copied into a plain dict has lost its `_metadata`; what is left to tell are its names.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.pickle.pickle_values import Pairs
    from bufscan.formats.tensors.rebuilding import Rebuilder

# Children of a ModuleDict may have hyphens in their names. What is in a path or a title is in no module's name.
_NAME = r"[\w-]+(?:\.[\w-]+)*"
_OF_A_MODULE = r"\.|(?:^|_)(?:weight|bias)(?:_|$)"
_MOST_LOOKED_AT = 1000  # entries of one dict
_LONGEST_NAME = 500


class PlainDicts:
    """Tells models among plain dicts of tensors: by their names, and by what is a model for sure."""

    def __init__(self, rebuilder: Rebuilder, allowance: Allowance) -> None:
        self._rebuilder = rebuilder
        self._allowance = allowance

    def models(self, found: Sequence[Pairs], stated: Sequence[Pairs], *, beside_module: bool) -> list[bool]:
        """For each dict that was found whether it is a model's.

        A dict whose names are those of modules is one, and so is one that has mostly the names and shapes of
        such a dict: the moving average of a model without submodules. Where nothing in the file is one by its
        names, every dict with a tensor of any dimensions is taken for one, and as a last resort every dict.

        Args:
            found: the dicts.
            stated: state_dicts that have their `_metadata`, or that the artefact names.
            beside_module: whether there is a whole module in the file.
        """
        if len(found) == 1 and not stated and not beside_module:
            return [True]
        named = [self.has_names_of_modules(each) for each in found]
        if not (any(named) or stated or beside_module):
            shaped = [self._has_dimensions(each) for each in found]
            return shaped if any(shaped) else [True] * len(found)
        models = [*stated, *(each for each, is_model in zip(found, named, strict=True) if is_model)]
        if all(named) or not models:
            return named
        known = {entry for model in models for entry in self._names_and_shapes(model)}
        return [
            is_model or self._is_mostly_among(known, each) for each, is_model in zip(found, named, strict=True)
        ]

    def has_names_of_modules(self, pairs: Pairs) -> bool:
        """Whether its keys are such as only a module gives: `fc.weight`."""
        keys = pairs[: 2 * _MOST_LOOKED_AT : 2]
        self._allowance.look_at(len(keys))
        return (
            all(type(key) is str and len(key) <= _LONGEST_NAME and re.fullmatch(_NAME, key) for key in keys)
            and any(re.search(_OF_A_MODULE, key) for key in keys)
            and self._has_dimensions(pairs)
        )

    def _has_dimensions(self, pairs: Pairs) -> bool:
        """Whether it holds more than scalars: a dict of these is a log."""
        return any(shape != "()" for _, shape in self._names_and_shapes(pairs, _MOST_LOOKED_AT))

    def _names_and_shapes(self, pairs: Pairs, most: int | None = None) -> Iterable[tuple[str, str]]:
        """Of its tensors. Shapes as text, whose hash is salted."""
        for name, value in islice(pairs.entries(), most):
            self._allowance.look_at(1)
            if type(name) is str and self._rebuilder.has_elements(value):
                yield name, str(self._rebuilder.shape_of(value))

    def _is_mostly_among(self, known: set[tuple[str, str]], pairs: Pairs) -> bool:
        entries = list(self._names_and_shapes(pairs, _MOST_LOOKED_AT))
        return 0 < len(entries) <= 2 * sum(entry in known for entry in entries)
