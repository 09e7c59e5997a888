"""Patterns and the order of names."""

from __future__ import annotations

import pytest

from bufscan.tensor_names import counting_key, matches


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.bias", "layers.0.bias", True),
        ("*.bias", "layers.0.Bias", False),
        ("layers.?.bias", "layers.10.bias", False),
        ("layers.[0-9].bias", "layers.7.bias", True),
        ("gates[0]", "gates[0]", True),
        ("gates[0]", "gates0", True),
        ("gates[*]", "gates[12]", True),
        ("layers[*].pe", "layers[2].pe", True),
        ("cache['k']", "cache['k']", True),
        ("gates[0]", "gates[1]", False),
    ],
)
def test_a_pattern_takes_brackets_for_a_set_of_characters_or_for_those_of_a_path(
    pattern: str, name: str, expected: bool
) -> None:
    assert expected is matches(pattern, name)


def test_names_are_ordered_by_the_numbers_in_them() -> None:
    names = ["a.2", "a", "a.10", "a.1.b", "b", "a.010", "a.9" + "0" * 5000, ""]
    assert ["", "a", "a.1.b", "a.2", "a.10", "a.010", "a.9" + "0" * 5000, "b"] == sorted(names, key=counting_key)
