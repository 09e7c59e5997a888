"""The configuration file: what it may say, and that it never says something else than what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from bufscan.config import BuildEntry, Config, IgnoreEntry, load_config
from bufscan.errors import UsageError

WHOLE = """
targets = ["pkg.models", "model.pt"]
select = ["BUF0"]
fail-on = "warning"

[[ignore]]
code = "BUF001"
tensor = "encoder.*"
reason = "rebuilt in forward"

[[ignore]]
code = "BUF2"
reason = "split on purpose"

[[build]]
target = "pkg.models:Encoder"
kwargs = { dim = 64, act = "relu" }

[[build]]
target = "pkg.models:Big"
skip = "needs a download"
"""

MEANT = {
    "targets": ("pkg.models", "model.pt"),
    "select": ("BUF0",),
    "fail_on": "warning",
    "ignore": (
        IgnoreEntry(code="BUF001", tensor="encoder.*", reason="rebuilt in forward"),
        IgnoreEntry(code="BUF2", tensor="*", reason="split on purpose"),
    ),
    "build": (
        BuildEntry(target="pkg.models:Encoder", kwargs={"dim": 64, "act": "relu"}),
        BuildEntry(target="pkg.models:Big", skip="needs a download"),
    ),
}


def test_bufscan_toml_says_it_all(tmp_path: Path) -> None:
    (tmp_path / "bufscan.toml").write_text(WHOLE)
    assert Config(**MEANT, file="bufscan.toml") == load_config(tmp_path)  # type: ignore[arg-type]


def test_pyproject_says_the_same_in_its_table(tmp_path: Path) -> None:
    table = WHOLE.replace("[[", "[[tool.bufscan.")
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\n[tool.bufscan]\n{table}")
    assert Config(**MEANT, file="pyproject.toml") == load_config(tmp_path)  # type: ignore[arg-type]


def test_bufscan_toml_comes_first_and_a_pyproject_without_a_table_is_none(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert Config() == load_config(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.bufscan]\ntargets = ['a']\n")
    (tmp_path / "bufscan.toml").write_text("targets = ['b']\n")
    assert ("b",) == load_config(tmp_path).targets


def test_without_a_file_the_defaults_hold_and_a_named_one_must_exist(tmp_path: Path) -> None:
    assert Config() == load_config(tmp_path)
    with pytest.raises(UsageError, match=r"other\.toml cannot be read: no such file"):
        load_config(tmp_path, "other.toml")


def test_the_nearest_file_upwards_counts_as_far_as_the_repository_reaches(tmp_path: Path) -> None:
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "bufscan.toml").write_text("targets = ['a']\n")
    (tmp_path / "project" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert Config(targets=("a",), file="../../bufscan.toml", folder="../..") == load_config(inner)
    (tmp_path / "project" / ".git").mkdir()
    assert Config() == load_config(inner)
    (tmp_path / "project" / "pyproject.toml").write_text("[tool.bufscan]\ntargets = ['b']\n")
    assert Config(targets=("b",), file="../pyproject.toml", folder="..") == load_config(inner)


def test_paths_in_a_file_above_are_seen_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    names = ["models.py:Model(4)", "weights", "runs/*.pt", "package", "package.models:A", "https://a/b.pt"]
    (tmp_path / "bufscan.toml").write_text(
        f"targets = {names}\nbaseline = 'known.json'\n[[build]]\ntarget = 'models.py:Model'\n"
    )
    config = load_config(Path())
    assert (
        "../models.py:Model(4)",
        "../weights",
        "../runs/*.pt",
        "package",
        "package.models:A",
        "https://a/b.pt",
    ) == config.targets
    assert ("../known.json", "../models.py:Model") == (config.baseline, config.build[0].target)


def test_a_file_that_is_named_may_have_either_form(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[tool.bufscan]\ntargets = ['a']\n")
    (tmp_path / "plain.toml").write_text("targets = ['a']\n")
    assert load_config(tmp_path, "plain.toml").targets == load_config(tmp_path, "other.toml").targets


MISTAKES = {
    "unknown key": (
        "target = ['a']",
        "unknown key `target`",
        "targets, select, ignore, fail-on, build, build-with, exclude",
    ),
    "a key that only flags have": ("deselect = ['BUF0']", "unknown key `deselect`", "targets"),
    "unknown key of an entry": (
        "[[ignore]]\ncode='BUF0'\nreason='r'\nglob='x'",
        "unknown key `ignore[0].glob`",
        "code, tensor, reason",
    ),
    "no reason": ("[[ignore]]\ncode = 'BUF0'", "`ignore[0]`: missing required field `reason`", None),
    "empty reason": ("[[ignore]]\ncode='BUF0'\nreason=' '", "the reason is empty", None),
    "wrong type": ("targets = 'a'", "`targets`: expected `array`, got `str`", None),
    "wrong type inside": ("select = [1]", "`select[0]`: expected `str`, got `int`", None),
    "entry that is no table": ("ignore = ['BUF0']", "`ignore[0]`: expected `table`, got `str`", None),
    "unknown severity": ("fail-on = 'fatal'", "`fail-on`: invalid enum value 'fatal'", "error, warning, note"),
    "no TOML": ("targets = [", "is no valid TOML", None),
}


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    (tmp_path / "bufscan.toml").write_text(text)
    with pytest.raises(UsageError) as failure:
        load_config(tmp_path)
    assert failure.value.message.startswith("bufscan.toml")
    assert message in failure.value.message
    if hint is not None:
        assert hint in str(failure.value.hint)


def test_bytes_that_are_no_text_are_no_toml(tmp_path: Path) -> None:
    (tmp_path / "bufscan.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no valid TOML"):
        load_config(tmp_path)


def test_flags_replace_selection_and_threshold_and_add_ignores() -> None:
    config = Config(targets=("a",), select=("BUF0",), fail_on="warning", deselect=("BUF001",))
    assert config == config.with_flags()
    flagged = config.with_flags(select=("BUF1",), ignore=("BUF2",), fail_on="note")
    assert Config(targets=("a",), select=("BUF1",), fail_on="note", deselect=("BUF001", "BUF2")) == flagged
