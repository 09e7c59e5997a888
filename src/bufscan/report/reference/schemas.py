"""JSON Schema of what bufscan writes and reads, made from the records themselves: it cannot fall behind."""

from __future__ import annotations

import json
import re
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "#/$defs/{name}"

Definitions = dict[str, dict[str, Any]]


class Described(NamedTuple):
    """One format.

    Attributes:
        what: what is written so, for people.
        define: gives the schema, and the definitions that it refers to.
    """

    what: str
    define: Callable[[], tuple[dict[str, Any], Definitions]]


def _inspect() -> tuple[dict[str, Any], Definitions]:
    from bufscan.report.inspect.json import InspectRecord, NotInspectedRecord

    (one, failed), definitions = _of(InspectRecord, NotInspectedRecord)
    return {"anyOf": [one, {"type": "array", "items": {"anyOf": [one, failed]}}]}, definitions


def _check() -> tuple[dict[str, Any], Definitions]:
    from bufscan.report.check.json import CheckRecord

    (schema,), definitions = _of(CheckRecord)
    return schema, definitions


def _diff() -> tuple[dict[str, Any], Definitions]:
    from bufscan.report.diff.json import DiffRecord

    (schema,), definitions = _of(DiffRecord)
    return schema, definitions


def _baseline() -> tuple[dict[str, Any], Definitions]:
    from bufscan.checking.baseline import BaselineFile

    (schema,), definitions = _of(BaselineFile)
    return schema, definitions


def _config() -> tuple[dict[str, Any], Definitions]:
    from bufscan.config import KEYS, Config

    (schema,), definitions = _of(Config)
    settings = definitions["Config"]
    settings["properties"] = {key: settings["properties"][key] for key in KEYS}
    return schema, definitions


def _settings() -> tuple[dict[str, Any], Definitions]:
    from bufscan.report.reference.settings import SettingsRecord

    (schema,), definitions = _of(SettingsRecord)
    return schema, definitions


SCHEMAS: Final[dict[str, Described]] = {
    "inspect": Described("`inspect --format json`: an object, or a list of several targets", _inspect),
    "check": Described("`check`, `lint` and `run` with `--format json`", _check),
    "diff": Described("`diff --format json`", _diff),
    "baseline": Described("what `--write-baseline` writes", _baseline),
    "config": Described("`[tool.bufscan]` of pyproject.toml, or bufscan.toml", _config),
    "settings": Described("`config --format json`", _settings),
}
"""By the name that `bufscan schema` takes."""


def render(name: str) -> str:
    """One of `SCHEMAS` as text."""
    described = SCHEMAS[name]
    schema, definitions = described.define()
    document = {"$schema": _DIALECT, "title": f"bufscan {name}", "description": described.what} | schema
    return json.dumps(document | {"$defs": dict(sorted(definitions.items()))}, indent=1) + "\n"


_ATTRIBUTE: Final = re.compile(r"^    (\w[\w, ]*): (.+(?:\n        .+)*)", re.MULTILINE)


def _of(*kinds: type[msgspec.Struct]) -> tuple[tuple[dict[str, Any], ...], Definitions]:
    """The schemas of records. No object has more than the fields that are declared, whoever reads it."""
    schemas, definitions = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    for definition in definitions.values():
        if "properties" in definition:
            about, _, attributes = cleandoc(definition.get("description", "")).partition("Attributes:\n")
            definition |= {"description": about.partition("\n\n")[0], "additionalProperties": False}
            for names, words in _ATTRIBUTE.findall(attributes):
                for name in names.replace("_", "-").split(", "):
                    definition["properties"].get(name, {})["description"] = " ".join(words.split())
    return schemas, definitions
