from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bufscan.report.shared.folding import fold


def folded(*names: str) -> list[tuple[str, int]]:
    return [(each.name, len(each.members)) for each in fold((name, "") for name in names)]


def unfolded(pattern: str) -> list[str]:
    """Every name that a pattern stands for, read as a shell reads braces."""
    pieces = re.split(r"\{([0-9.,]+)\}", pattern)
    slots = [[str(number) for run in text.split(",") for number in _run(run)] for text in pieces[1::2]]
    return [
        "".join(text for pair in zip(pieces[::2], [*numbers, ""], strict=True) for text in pair)
        for numbers in product(*slots)
    ]


def _run(text: str) -> range:
    first, *rest = map(int, text.split(".."))
    last = rest[0] if rest else first
    return range(first, last + 1, rest[1] if len(rest) > 1 else 1)


@pytest.mark.parametrize(
    ("folds", "names"),
    [
        pytest.param([("blocks.{0..31}.w", 32)], [f"blocks.{i}.w" for i in range(32)], id="run"),
        pytest.param([("{0,1}.w", 2)], ["0.w", "1.w"], id="two"),
        pytest.param([("l.{0..5,7..11}.w", 11)], [f"l.{i}.w" for i in range(12) if i != 6], id="run with a gap"),
        pytest.param([("l.{0,2,4}.w", 3)], [f"l.{i}.w" for i in range(0, 5, 2)], id="few steps"),
        pytest.param([("l.{1..9..2}.w", 5)], [f"l.{i}.w" for i in range(1, 10, 2)], id="every second"),
        pytest.param(
            [("l.{0..3}.e.{0..7}.w1", 32)],
            [f"l.{i}.e.{j}.w1" for i in range(4) for j in range(8)],
            id="nested",
        ),
        pytest.param(
            [("l.{0,2,3}.e.{0,1}.w", 6), ("l.1.e.{0..3}.w", 4)],
            [f"l.{i}.e.{j}.w" for i in range(4) for j in range(4 if i == 1 else 2)],
            id="one block differs",
        ),
        pytest.param([("blocks[{0..2}].pe", 3)], [f"blocks[{i}].pe" for i in range(3)], id="brackets"),
        pytest.param([("fc1.w", 1), ("fc2.w", 1)], ["fc1.w", "fc2.w"], id="a number inside a word"),
        pytest.param([("00.w", 1), ("01.w", 1)], ["00.w", "01.w"], id="leading zeros"),
        pytest.param([("l.0.w", 1)], ["l.0.w"], id="alone"),
        pytest.param([("l.0.w", 1), ("l.0.w", 1)], ["l.0.w", "l.0.w"], id="the same name twice"),
        pytest.param(
            [("a", 1), ("l.{0,1}.w", 2), ("b", 1)], ["a", "l.0.w", "b", "l.1.w"], id="in the order of the first"
        ),
    ],
)
def test_repeated_blocks_are_one_row(folds: list[tuple[str, int]], names: list[str]) -> None:
    assert folds == folded(*names)


def test_names_whose_rows_look_different_are_not_folded() -> None:
    entries = [(f"l.{i}.w", "float32" if i < 2 else "float16") for i in range(4)]
    assert ["l.{0,1}.w", "l.{2,3}.w"] == [each.name for each in fold(entries)]


def test_scattered_numbers_are_cut_into_rows_that_can_be_read() -> None:
    numbers = [1, 2, 5, 7, 9, 11, 12, 15, 17, 18, 30]
    assert [("l.{1,2,5,7,9}.w", 5), ("l.{11,12,15,17,18,30}.w", 6)] == folded(*(f"l.{i}.w" for i in numbers))


def test_a_name_with_very_many_numbers_is_left_as_it_is() -> None:
    names = [".".join(str(digit) for _ in range(100_000)) for digit in (0, 1)]
    assert [(names[0], 1), (names[1], 1)] == folded(*names)


_NAMES = st.lists(
    st.lists(
        st.one_of(st.integers(0, 12).map(str), st.sampled_from(["w", "b", "e", "00", ""])), min_size=1, max_size=4
    )
    .map(".".join)
    .map(lambda name: re.sub(r"\.(\d)\.", r"[\1].", name)),
    max_size=40,
)


@given(_NAMES)
def test_folds_stand_for_exactly_the_names_they_replace(names: list[str]) -> None:
    folds = fold((name, "") for name in names)
    assert sorted(names) == sorted(name for each in folds for name in unfolded(each.name))
    assert list(range(len(names))) == sorted(position for each in folds for position in each.members)
    for each in folds:
        assert sorted(names[position] for position in each.members) == sorted(unfolded(each.name))
