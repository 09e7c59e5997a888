from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from report_samples import inventory, sample, tensor

from bufscan.inventory import Inventory, Part
from bufscan.report.inspect.selecting import Selection, count_ties_once, select


def names(found: Inventory) -> list[str]:
    return [each.name for each in found.tensors]


def test_nothing_asked_for_is_everything() -> None:
    assert sample() == select(sample(), Selection())


def test_a_role_keeps_the_tensors_of_that_role() -> None:
    shown = select(sample(), Selection(roles=("persistent_buffer", "unregistered")))
    assert ["embed.pe", "norm.running_mean", "norm.num_batches_tracked"] == names(shown)


def test_a_pattern_matches_the_name_or_the_path_with_its_section() -> None:
    assert ["norm.weight", "norm.running_mean", "norm.num_batches_tracked"] == names(
        select(sample(), Selection(patterns=("norm.*",)))
    )
    assert ["state.0.exp_avg", "state.0.step"] == names(select(sample(), Selection(patterns=("optimizer.*",))))


def test_case_matters_in_a_pattern() -> None:
    assert [] == names(select(sample(), Selection(patterns=("NORM.*",))))


def test_any_of_several_patterns_is_enough_and_roles_narrow_further() -> None:
    selection = Selection(patterns=("norm.*", "embed.*"), roles=("parameter",))
    assert ["embed.weight", "norm.weight"] == names(select(sample(), selection))


def test_stored_bytes_are_of_the_storages_that_the_shown_tensors_look_at() -> None:
    found = inventory(tensor("a", 4), tensor("b", 100))
    assert 416 == select(found, Selection()).stored_bytes
    assert 16 == select(found, Selection(patterns=("a",))).stored_bytes


def test_storages_of_a_compound_tensor_s_parts_are_kept() -> None:
    values = Part(name="values", shape=(4,), dtype="float32", stride=(1,), storage="/a")
    found = inventory(tensor("a", 4), tensor("b", 2, 2, layout="sparse_coo", storage=None, parts=(values,)))
    assert ["/a"] == list(select(found, Selection(patterns=("b",))).storages)


def test_sizes_sort_from_large_to_small_and_equal_ones_keep_their_order() -> None:
    found = inventory(tensor("a", 1), tensor("b", 9), tensor("c", 1), tensor("d", 9))
    assert ["b", "d", "a", "c"] == names(select(found, Selection(sort="size")))


def test_numbers_in_names_sort_by_their_value() -> None:
    found = inventory(*(tensor(name, 1) for name in ("l.10.w", "l.2.w", "l.2.b", "k.7", f"l.{'9' * 5000}.w")))
    assert ["k.7", "l.2.b", "l.2.w", "l.10.w", f"l.{'9' * 5000}.w"] == names(select(found, Selection(sort="name")))


def test_roles_sort_from_parameter_to_training_state() -> None:
    found = inventory(
        tensor("s", 1, role="training_state"),
        tensor("u", 1, role="unregistered"),
        tensor("p", 1, role="parameter"),
    )
    assert ["p", "u", "s"] == names(select(found, Selection(sort="role")))


def test_what_was_skipped_stays_whatever_is_selected() -> None:
    assert sample().skipped == select(sample(), Selection(patterns=("nothing",))).skipped


@given(st.sampled_from(["name", "size", "dtype", "role"]))
def test_sorting_loses_nothing_and_sorting_twice_changes_nothing(key: str) -> None:
    once = select(sample(), Selection(sort=key))  # type: ignore[arg-type]
    assert sorted(names(sample())) == sorted(names(once))
    assert once == select(once, Selection(sort=key))  # type: ignore[arg-type]


def test_a_tie_whose_first_name_is_left_out_is_counted_under_the_next() -> None:
    tied = {"storage": "s", "stored_bytes": 16}
    found = inventory(tensor("a", 4, **tied), tensor("b", 4, **tied), tensor("c", 4, **tied), tensor("d", 1))
    shown = select(found, Selection(patterns=("b", "c")))
    assert ["a", "a"] == [each.alias_of for each in shown.tensors]
    assert [None, "b"] == [each.alias_of for each in count_ties_once(shown).tensors]
    assert 4 == count_ties_once(shown).totals()["parameter"].numel


def test_ties_whose_first_name_is_shown_stay_as_they_are() -> None:
    assert sample() == count_ties_once(sample())
