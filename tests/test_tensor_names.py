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
        # As it was written once, of what a state_dict writes with dots.
        ("blocks[0].attn.pe", "blocks.0.attn.pe", True),
        ("blocks[*].tables['k']", "blocks.0.tables['k']", True),
        ("blocks.*.tables['k']", "blocks.0.tables['k']", True),
        ("[0].pe", "0.pe", True),
        ("experts['a'].pe", "experts.a.pe", True),
        ("_modules['a b'].pe", "a b.pe", True),
        ("x._modules['a b'].pe", "x.a b.pe", True),
        ("blocks[1].attn.pe", "blocks.0.attn.pe", False),
        ("model.list(cols.values())[0]", "model.cols[('a', 'to', 'b')]", True),
        ("list(list([0].cols.values())[2].values())[0]", "0.cols[(1, 2)][(3,)]", True),
        ("list(*.values())[0]", "cols[(1, 2)]", True),
        ("list(cols.values())[0]", "rows[(1, 2)]", False),
        ("list(cols.values())[0]", "cols['a']", False),
        ("cols[(1, 2)]", "cols[(1, 3)]", False),
        ("list(cols)[0]", "cols[(1, 2)]", False),
    ],
)
def test_a_pattern_takes_brackets_for_a_set_of_characters_or_for_those_of_a_path_in_any_spelling(
    pattern: str, name: str, expected: bool
) -> None:
    assert expected is matches(pattern, name)


def test_names_are_ordered_by_the_numbers_in_them() -> None:
    names = ["a.2", "a", "a.10", "a.1.b", "b", "a.010", "a.9" + "0" * 5000, ""]
    assert ["", "a", "a.1.b", "a.2", "a.10", "a.010", "a.9" + "0" * 5000, "b"] == sorted(names, key=counting_key)
