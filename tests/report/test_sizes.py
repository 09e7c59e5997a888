from __future__ import annotations

import pytest

from bufscan.report.shared.sizes import count, plural, size


@pytest.mark.parametrize(
    ("shown", "nbytes"),
    [
        ("0 B", 0),
        ("999 B", 999),
        ("1.0 kB", 1000),
        ("1.0 kB", 1049),
        ("1.1 kB", 1050),
        ("999.9 kB", 999_949),
        ("1.0 MB", 999_950),
        ("10.2 MB", 10_240_000),
        ("4.4 GB", 4_400_000_000),
        ("9,223 EB", 9_223_372_036_854_775_807_000),
    ],
)
def test_sizes_have_one_digit_after_the_point(shown: str, nbytes: int) -> None:
    assert shown == size(nbytes)


def test_an_exact_size_is_to_the_byte() -> None:
    assert "10,240,004 B" == size(10_240_004, units="exact")


@pytest.mark.parametrize(
    ("shown", "nbytes"),
    [("1,023 B", 1023), ("1.0 KiB", 1024), ("9.8 MiB", 10_240_000), ("4.1 GiB", 4_400_000_000)],
)
def test_a_binary_size_counts_by_1024(shown: str, nbytes: int) -> None:
    assert shown == size(nbytes, units="binary")


def test_a_product_that_python_refuses_to_print_is_still_shown() -> None:
    assert "over 2^20000" == count(1 << 20_000)
    assert size(1 << 20_000).endswith(" EB")


@pytest.mark.parametrize(
    ("shown", "number", "noun"),
    [
        ("1 tensor", 1, "tensor"),
        ("0 tensors", 0, "tensor"),
        ("1,200 tensors", 1200, "tensor"),
        ("2 anomalies", 2, "anomaly"),
        ("2 things skipped", 2, "thing skipped"),
        ("1 thing skipped", 1, "thing skipped"),
    ],
)
def test_nouns_agree_with_their_number(shown: str, number: int, noun: str) -> None:
    assert shown == plural(number, noun)
