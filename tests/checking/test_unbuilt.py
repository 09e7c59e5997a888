"""Classes that need arguments: given the defaults of a configuration, or read, with the entry that builds them."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest
import torch  # noqa: F401 - once for all, whatever a test does to `sys.modules`

from bufscan.checking import check
from bufscan.config import Config, load_config
from bufscan.report import CHECK_REPORTS
from bufscan.report.check.view import CheckView

SOURCE = '''
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn


@dataclass
class Settings:
    width: int = 3


@dataclass
class Incomplete:
    width: int


class RopeConfig:
    """Known by its name alone."""

    def __init__(self, width=3):
        self.width = width


class Broken(RopeConfig):
    def __init__(self):
        raise RuntimeError("no default is possible")


class ByDataclass(nn.Module):
    def __init__(self, settings: Settings):
        super().__init__()
        self.t = torch.ones(settings.width)


class ByName(nn.Module):
    def __init__(self, config: RopeConfig | None, *, scale: float = 1.0):
        super().__init__()
        self.t = torch.ones(config.width)


class ByBoth(nn.Module):
    def __init__(self, config: "RopeConfig", settings: Settings):
        super().__init__()
        self.t = torch.ones(config.width + settings.width)


class NeedsMore(nn.Module):
    def __init__(self, config: RopeConfig, depth: int, name, rate: float):
        super().__init__()
        self.t = torch.ones(depth)


class NoDefault(nn.Module):
    def __init__(self, settings: Incomplete):
        super().__init__()
        self.t = torch.ones(settings.width)


class BreaksIt(nn.Module):
    def __init__(self, config: Broken):
        super().__init__()
        self.t = torch.ones(3)


class NoConfig(nn.Module):
    def __init__(self, path: dict):
        super().__init__()
        self.t = torch.ones(3)


def make(config: RopeConfig) -> ByName:
    return ByName(config)
'''
WITH = Config(build_with="config-defaults")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    Path("models.py").write_text(SOURCE)


def test_default_configurations_are_given_where_that_is_asked_for() -> None:
    built = {target.target for target in check("models.py", config=WITH).targets}
    assert built == {"models.py", *(f"models.py:{name}" for name in ("ByDataclass", "ByName", "ByBoth", "make"))}
    assert {"models.py"} == {target.target for target in check("models.py").targets}


def test_what_is_read_instead_is_named_with_why() -> None:
    (read,) = [target for target in check("models.py", config=WITH).targets if target.unbuilt]
    assert {
        "models.py:NeedsMore": "it cannot be built without depth, name, rate",
        "models.py:NoDefault": "it cannot be built without settings",
        "models.py:NoConfig": "it cannot be built without path",
    }.items() <= {each.what: each.reason for each in read.unbuilt}.items()
    broken = next(each.reason for each in read.unbuilt if each.what == "models.py:BreaksIt")
    assert "no default is possible" in broken
    assert read.is_complete


def test_an_entry_may_give_what_is_no_configuration(tmp_path: Path) -> None:
    entry = 'build-with = "config-defaults"\n[[build]]\ntarget = "models.py:NeedsMore"\n'
    (tmp_path / "bufscan.toml").write_text(f'{entry}kwargs = {{ depth = 2, name = "a", rate = 1.0 }}\n')
    result = check("models.py:NeedsMore", "models.py", config=load_config(Path()))
    assert "models.py:NeedsMore(depth=2, name='a', rate=1.0)" in {target.target for target in result.targets}
    assert result.exit_code == 1


def test_an_entry_that_fails_is_a_failure(tmp_path: Path) -> None:
    entry = 'build-with = "config-defaults"\n[[build]]\ntarget = "models.py:NeedsMore"\nkwargs = { depth = 2 }\n'
    (tmp_path / "bufscan.toml").write_text(entry)
    assert check("models.py", config=load_config(Path())).exit_code == 2


def test_the_entries_to_fill_in_are_valid_and_at_the_end_of_the_text() -> None:
    result = check("models.py")
    found = json.loads(CHECK_REPORTS["json"](result, CheckView()))
    (target,) = found["targets"]
    stanzas = {each["what"]: each["stanza"] for each in target["unbuilt"]}
    assert tomllib.loads(stanzas["models.py:NoConfig"]) == {
        "tool": {"bufscan": {"build": [{"target": "models.py:NoConfig", "kwargs": {"path": {}}}]}}
    }
    assert 'kwargs = { config = "...", depth = 0, name = "...", rate = 0.0 }' in stanzas["models.py:NeedsMore"]
    assert stanzas["models.py:ByBoth"] == '[tool.bufscan]\nbuild-with = "config-defaults"'
    Path("bufscan.toml").write_text(stanzas["models.py:NeedsMore"])
    assert "models.py:NeedsMore" == load_config(Path()).build[0].target
    text = CHECK_REPORTS["text"](result, CheckView())
    assert 1 == text.count("with values filled in (3 of 4):")
    assert text.count("[[tool.bufscan.build]]") == 2
    assert text.index("[tool.bufscan]") < text.rindex("read from source")


def test_what_can_neither_be_built_nor_read_is_skipped_with_its_entry() -> None:
    Path("models.py").write_text(
        "from torch import nn\n"
        "class Base(nn.Module):\n    def __init__(self, width: int):\n        super().__init__()\n"
        "Made = type('Made', (Base,), {'__module__': __name__})\n"
    )
    (target,) = check("models.py").targets
    (skipped,) = target.skipped
    assert ("models.py:Made", False) == (skipped.what, skipped.failed)
    assert skipped.stanza == '[[tool.bufscan.build]]\ntarget = "models.py:Made"\nkwargs = { width = 0 }'
