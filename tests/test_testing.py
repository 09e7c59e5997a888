"""`bufscan.testing.assert_registered`, as somebody's tests use it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bufscan.errors import UsageError
from bufscan.testing import assert_registered


class Forgetful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.pe = torch.zeros(4, 2)


class Excused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cache = torch.zeros(4)  # bufscan: ignore[BUF001] rebuilt in forward


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.tensor(2.0)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.BatchNorm1d(2), nn.MultiheadAttention(4, 2), Excused()])
def test_a_model_with_everything_registered_passes_and_is_left_as_it_was(model: nn.Module) -> None:
    before = {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    assert_registered(model)
    assert before == {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}


def test_the_failure_says_what_where_and_how_to_mend_it() -> None:
    with pytest.raises(AssertionError) as failure:
        assert_registered(Forgetful())
    text = str(failure.value)
    assert "`pe` is a plain attribute: it is not saved and does not move with the model" in text
    line = Path(__file__).read_text().splitlines().index("        self.pe = torch.zeros(4, 2)") + 1
    assert f"test_testing.py:{line}: error BUF001 unregistered-tensor\n" in text
    assert 'fix | self.register_buffer("pe", torch.zeros(4, 2), persistent=False)' in text


def test_a_pattern_with_a_reason_lets_pass_what_is_meant() -> None:
    assert_registered(nn.Sequential(Forgetful()), ignore={"*.pe": "a test of its own"})
    assert_registered(nn.Sequential(Forgetful()), ignore={"[0].pe": "the path as it stands"})


def test_a_pattern_that_matches_nothing_changes_nothing() -> None:
    with pytest.raises(AssertionError):
        assert_registered(Forgetful(), ignore={"other": "why not"})


def test_an_empty_reason_is_refused() -> None:
    with pytest.raises(UsageError, match="the reason is empty"):
        assert_registered(Forgetful(), ignore={"pe": " "})


@pytest.mark.parametrize("ignore", [["pe"], [], "pe", {"pe"}, {"pe": None}, {1: "why"}, ("pe", "why")], ids=repr)
def test_an_ignore_without_reasons_is_refused_and_shown_as_it_should_be(ignore: object) -> None:
    with pytest.raises(
        UsageError, match=r'maps patterns to reasons: `\{"encoder.cache\*": "made anew in forward"\}`'
    ):
        assert_registered(Forgetful(), ignore=ignore)  # type: ignore[arg-type]


def test_a_note_fails_only_when_asked_to() -> None:
    assert_registered(Scaled())
    with pytest.raises(AssertionError, match="`scale`"):
        assert_registered(Scaled(), fail_on="note")


def test_an_unknown_severity_is_refused() -> None:
    with pytest.raises(UsageError, match="no such severity"):
        assert_registered(Forgetful(), fail_on="fatal")  # type: ignore[arg-type]


def test_a_model_that_cannot_be_measured_does_not_pass() -> None:
    class Broken(nn.Module):
        def state_dict(self, *_args: object, **_kwargs: object) -> dict[str, object]:
            raise RuntimeError("not today")

    with pytest.raises(AssertionError, match="not today"):
        assert_registered(Broken())


@pytest.mark.parametrize(
    "model",
    [Forgetful, "package.models:Encoder", None, torch.optim.SGD([torch.ones(1)])],
    ids=["class", "name", "nothing", "optimizer"],
)
def test_what_is_no_model_is_refused_in_one_line(model: object) -> None:
    with pytest.raises(UsageError, match="is no model") as failure:
        assert_registered(model)  # type: ignore[arg-type]
    assert "make one" in str(failure.value.hint)


def test_a_pattern_that_outlived_its_finding_is_a_warning_where_it_is_used() -> None:
    with pytest.warns(UserWarning, match=r"the ignore of `gone\*` matches no finding any more") as warned:
        assert_registered(Forgetful(), ignore={"pe": "legacy", "gone*": "nobody knows"})
    assert [__file__] == [each.filename for each in warned]
