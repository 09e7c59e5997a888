"""Quantised weights that take several entries each: shown as one, with the elements they really have."""

from __future__ import annotations

from typing import Any

import pytest

from bufscan.inventory import Inventory, PackedWeight, Tensor
from bufscan.roles import decide

Entries = dict[str, tuple[tuple[int, ...], str]]


def decided(entries: Entries) -> Inventory:
    tensors = tuple(
        Tensor(name=name, shape=shape, dtype=dtype, stored_bytes=10) for name, (shape, dtype) in entries.items()
    )
    return decide(Inventory(target="m", format="safetensors", tensors=tensors))


def below(prefix: str, entries: Entries) -> Entries:
    return {f"{prefix}.{name}": each for name, each in entries.items()}


# A linear layer of 512 inputs and 256 outputs, in groups of 128, as each library packs it.
GPTQ = {
    "qweight": ((64, 256), "int32"),
    "qzeros": ((4, 32), "int32"),
    "scales": ((4, 256), "float16"),
    "g_idx": ((512,), "int32"),
}
WAYS: dict[str, tuple[Entries, str, int | None, tuple[int, ...] | None, str]] = {
    "GPTQ": (GPTQ, "GPTQ", 4, (256, 512), "persistent_buffer"),
    "GPTQ without an order": (
        {name: each for name, each in GPTQ.items() if name != "g_idx"},
        "GPTQ",
        4,
        (256, 512),
        "persistent_buffer",
    ),
    "GPTQ in 3 bits": (
        {"qweight": ((48, 256), "int32"), "qzeros": ((4, 24), "int32"), "scales": ((4, 256), "float16")},
        "GPTQ",
        3,
        (256, 512),
        "persistent_buffer",
    ),
    "AWQ": (
        {"qweight": ((512, 32), "int32"), "qzeros": ((4, 32), "int32"), "scales": ((4, 256), "float16")},
        "AWQ",
        4,
        (256, 512),
        "persistent_buffer",
    ),
    "fp8": (
        {"weight": ((256, 512), "float8_e4m3fn"), "weight_scale_inv": ((2, 4), "float32")},
        "fp8",
        8,
        (256, 512),
        "parameter",
    ),
    "fp8 of compressed-tensors": (
        {
            "weight": ((256, 512), "float8_e4m3fn"),
            "weight_scale": ((256, 1), "bfloat16"),
            "input_scale": ((1,), "bfloat16"),
        },
        "fp8",
        8,
        (256, 512),
        "parameter",
    ),
    "words of compressed-tensors": (
        {
            "weight_packed": ((256, 64), "int32"),
            "weight_scale": ((256, 4), "bfloat16"),
            "weight_shape": ((2,), "int64"),
        },
        "compressed-tensors",
        None,
        None,
        "parameter",
    ),
    "NVFP4 of compressed-tensors": (
        {
            "weight_packed": ((256, 256), "uint8"),
            "weight_scale": ((256, 32), "float8_e4m3fn"),
            "weight_global_scale": ((1,), "float32"),
        },
        "NVFP4 of compressed-tensors",
        4,
        (256, 512),
        "parameter",
    ),
    "bitsandbytes in 8 bits": (
        {"weight": ((256, 512), "int8"), "SCB": ((256,), "float32")},
        "bitsandbytes 8-bit",
        8,
        (256, 512),
        "parameter",
    ),
}


@pytest.mark.parametrize(("entries", "scheme", "bits", "shape", "role"), WAYS.values(), ids=WAYS)
def test_a_weight_in_several_entries_is_one_thing(
    entries: Entries, scheme: str, bits: int | None, shape: tuple[int, ...] | None, role: str
) -> None:
    found = decided(below("layer", entries))
    (weight,) = found.packed
    assert ("layer.weight", scheme, bits, shape) == (weight.name, weight.scheme, weight.bits, weight.shape)
    assert (None if shape is None else 256 * 512) == weight.numel
    assert {f"layer.{name}" for name in entries} == set(weight.members)
    assert 10 * len(entries) == weight.stored_bytes
    assert {(role, "inferred")} == {(each.role, each.certainty) for each in found.tensors}


def test_a_weight_of_bitsandbytes_has_two_elements_a_byte() -> None:
    found = decided(
        {
            "layer.weight": ((65536, 1), "uint8"),
            "layer.weight.absmax": ((2048,), "float32"),
            "layer.weight.quant_map": ((16,), "float32"),
            "layer.weight.quant_state.bitsandbytes__nf4": ((96,), "uint8"),
        }
    )
    (weight,) = found.packed
    assert ("layer.weight", 4, 256 * 512) == (weight.name, weight.bits, weight.numel)
    assert 4 == len(weight.members)


def test_the_experts_of_gpt_oss() -> None:
    found = decided(
        {
            "mlp.experts.down_proj_blocks": ((32, 2880, 90, 16), "uint8"),
            "mlp.experts.down_proj_scales": ((32, 2880, 90), "uint8"),
            "mlp.experts.down_proj_bias": ((32, 2880), "bfloat16"),
        }
    )
    (weight,) = found.packed
    assert ("mlp.experts.down_proj", "MXFP4", (32, 2880, 2880)) == (weight.name, weight.scheme, weight.shape)


def test_a_weight_of_nvfp4_and_its_scales() -> None:
    found = decided(
        {
            "fc.weight": ((256, 256), "uint8"),
            "fc.weight_scale": ((256, 32), "float8_e4m3fn"),
            "fc.weight_scale_2": ((), "float32"),
            "fc.input_scale": ((), "float32"),
        }
    )
    (weight,) = found.packed
    assert (4, (256, 512)) == (weight.bits, weight.shape)
    roles = [each.role for each in found.tensors]
    assert ["parameter", *["persistent_buffer"] * 3] == roles


@pytest.mark.parametrize(
    "entries",
    [
        {"weight": ((4, 4), "float32"), "weight_scale": ((4,), "float32")},
        {"attention_blocks": ((4, 4), "uint8"), "attention_scales": ((9,), "uint8")},
        {"weight": ((4, 4), "int8")},
        {"qweight": ((4, 4), "int32")},
        {"weight_packed": ((4, 4), "int32")},
    ],
    ids=["a scale of a wide weight", "other blocks", "int8 alone", "qweight alone", "packed alone"],
)
def test_what_only_looks_alike_is_no_packed_weight(entries: Entries) -> None:
    assert () == decided(below("layer", entries)).packed


@pytest.mark.parametrize("shape", [(), (0,), (0, 0), (4,), (1, 2, 3)])
def test_shapes_that_no_library_writes_do_no_harm(shape: tuple[int, ...]) -> None:
    for entries, *_ in WAYS.values():
        for name in entries:
            changed: dict[str, Any] = entries | {name: (shape, entries[name][1])}
            assert all(_is_sound(each) for each in decided(below("layer", changed)).packed)


def _is_sound(weight: PackedWeight) -> bool:
    return (weight.bits is None or 0 < weight.bits <= 8) and (weight.numel is None or weight.numel >= 0)
