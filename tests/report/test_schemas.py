"""The schemas hold for what is really written, and nothing that they do not know gets past them."""

from __future__ import annotations

import copy
import json
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from check_samples import sample as check_sample
from diff_samples import sample as diff_sample
from report_samples import blocks, sample, sharded

from bufscan.config import KEYS, load_config
from bufscan.report import CHECK_REPORTS, DIFF_REPORTS, INSPECT_REPORTS
from bufscan.report.check.view import CheckView
from bufscan.report.diff.view import DiffView
from bufscan.report.inspect.selecting import Selection
from bufscan.report.inspect.view import View
from bufscan.report.reference.schemas import SCHEMAS, render
from command_line import bufscan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ANY_NAMES = ("metadata", "installed", "kwargs")
"""Objects whose keys are names from outside."""


def errors(name: str, document: Any) -> list[str]:
    schema = json.loads(render(name))
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


COMMANDS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "a file": ("inspect", 0, ("inspect", "model.pt")),
    "a selection": ("inspect", 0, ("inspect", "model.pt", "--role", "parameter", "--match", "*.weight")),
    "a join": ("inspect", 0, ("inspect", "weights.safetensors", "--model", "model.py:TinyTransformer")),
    "several": ("inspect", 2, ("inspect", "model.pt", "no-such-file", "weights.safetensors")),
    "a model": ("inspect", 0, ("inspect", "model.py:TinyTransformer")),
    "a check": ("check", 1, ("check", "model.py", "model.pt")),
    "a failure": ("check", 2, ("check", "no-such-file")),
    "source": ("check", 1, ("lint", "model.py")),
    "settings": ("settings", 0, ("config",)),
    "equal files": ("diff", 0, ("diff", "model.pt", "model.pt", "--rtol", "0.1")),
    "other values": ("diff", 1, ("diff", "weights.safetensors", "model.py:TinyTransformer")),
}


@pytest.mark.parametrize(("name", "code", "arguments"), COMMANDS.values(), ids=COMMANDS)
def test_what_a_command_writes_is_valid(
    name: str, code: int, arguments: tuple[str, ...], demo_files: Path
) -> None:
    done = bufscan(*arguments, "--format", "json", cwd=demo_files)
    assert code == done.returncode, done.stderr
    assert [] == errors(name, json.loads(done.stdout))


def test_what_a_watched_program_shows_is_valid(demo_files: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import model\nmodel.TinyTransformer()\n")
    done = bufscan("run", "--format", "json", "program.py", cwd=tmp_path, PYTHONPATH=str(demo_files))
    document = json.loads(done.stderr)
    assert document["watched"]["models"]
    assert [] == errors("check", document)


def test_a_baseline_is_valid(demo_files: Path, tmp_path: Path) -> None:
    bufscan("check", str(demo_files / "model.py"), "--write-baseline", "known.json", cwd=tmp_path)
    document = json.loads((tmp_path / "known.json").read_bytes())
    assert document["findings"]
    assert [] == errors("baseline", document)


SAMPLES: dict[str, tuple[str, Callable[[], str]]] = {
    "inspect": (
        "inspect",
        lambda: INSPECT_REPORTS["json"](sample(), View(findings=tuple(check_sample().findings))),
    ),
    "blocks": ("inspect", lambda: INSPECT_REPORTS["json"](blocks(), View())),
    "sharded": ("inspect", lambda: INSPECT_REPORTS["json"](sharded(), View(selection=Selection(patterns=("*",))))),
    "check": ("check", lambda: CHECK_REPORTS["json"](check_sample(), CheckView())),
    "diff": ("diff", lambda: DIFF_REPORTS["json"](diff_sample(), DiffView())),
}


def objects(value: Any, key: str = "") -> Iterator[dict[str, Any]]:
    """Every object whose keys are the schema's."""
    if isinstance(value, dict):
        if key not in ANY_NAMES:
            yield value
        for name, inner in value.items():
            yield from objects(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner, key)


@pytest.mark.parametrize(("name", "written"), SAMPLES.values(), ids=SAMPLES)
def test_a_field_that_the_schema_does_not_know_is_found_wherever_it_stands(
    name: str, written: Callable[[], str]
) -> None:
    document = json.loads(written())
    assert [] == errors(name, document)
    for position in range(len(list(objects(document)))):
        changed = copy.deepcopy(document)
        list(objects(changed))[position]["unknown"] = 1
        assert errors(name, changed), list(objects(document))[position]


CONFIG = """
targets = ["package.models"]
select = ["BUF0"]
fail-on = "warning"
exclude = ["tests"]
baseline = "known.json"
format = "concise"
build-with = "config-defaults"
ignore = [{ code = "BUF001", tensor = "*.pe", reason = "made anew" }]
build = [
    { target = "package.models:A", kwargs = { dim = 64 }, rehearse = "randn(2, 64)", train = true },
    { target = "package.models:B", skip = "needs a file" },
]
"""


def test_a_configuration_is_valid_where_bufscan_takes_it(tmp_path: Path) -> None:
    (tmp_path / "bufscan.toml").write_text(CONFIG)
    assert ("package.models",) == load_config(tmp_path).targets
    assert [] == errors("config", tomllib.loads(CONFIG))


@pytest.mark.parametrize(
    "text", ['target = ["x"]', 'fail-on = "fatal"', 'ignore = [{ code = "BUF001" }]', "deselect = []"]
)
def test_what_bufscan_refuses_is_not_valid(text: str) -> None:
    assert errors("config", tomllib.loads(text))


def test_every_key_of_the_configuration_is_described() -> None:
    keys = json.loads(render("config"))["$defs"]["Config"]["properties"]
    assert set(KEYS) == {key for key, schema in keys.items() if schema["description"]}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one_and_can_be_asked_for(name: str) -> None:
    done = bufscan("schema", name)
    assert 0 == done.returncode
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))
    assert f"\n{name}" in f"\n{bufscan('schema').stdout.decode()}"


def test_no_record_is_written_that_takes_unknown_fields() -> None:
    for name in SCHEMAS:
        for title, definition in json.loads(render(name))["$defs"].items():
            assert definition["additionalProperties"] is False, title
