"""The rules, one file each: pure functions over an inventory. Which of them run is the business of `checking`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.rules import (
    breaks_on_move,
    container_anomaly,
    dtype_mismatch,
    empty_tensor,
    faulty_buffer_name,
    missing_entry,
    mixed_devices,
    non_finite_value,
    off_list_global,
    optimizer_mismatch,
    oversized_storage,
    parameter_as_buffer,
    role_mismatch,
    saved_non_persistent,
    saved_on_accelerator,
    shadowed_registration,
    shape_mismatch,
    shared_tensor,
    stale_alias,
    trainable_buffer,
    unexpected_entry,
    uninitialised_buffer,
    unowned_entry,
    unregistered_module,
    unregistered_parameter,
    unregistered_tensor,
    unused_ignore,
)

if TYPE_CHECKING:
    from bufscan.findings import Rule

RULES: tuple[Rule, ...] = (
    unregistered_tensor.RULE,
    unregistered_parameter.RULE,
    unregistered_module.RULE,
    stale_alias.RULE,
    shared_tensor.RULE,
    shadowed_registration.RULE,
    unowned_entry.RULE,
    trainable_buffer.RULE,
    parameter_as_buffer.RULE,
    optimizer_mismatch.RULE,
    faulty_buffer_name.RULE,
    mixed_devices.RULE,
    breaks_on_move.RULE,
    saved_on_accelerator.RULE,
    uninitialised_buffer.RULE,
    missing_entry.RULE,
    unexpected_entry.RULE,
    shape_mismatch.RULE,
    dtype_mismatch.RULE,
    oversized_storage.RULE,
    saved_non_persistent.RULE,
    non_finite_value.RULE,
    role_mismatch.RULE,
    empty_tensor.RULE,
    off_list_global.RULE,
    container_anomaly.RULE,
    unused_ignore.RULE,
)
"""In the order of their codes."""
