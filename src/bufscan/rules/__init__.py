"""The rules, one file each. A rule is a pure function over an inventory; which ones run is `checking`'s business."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.rules import (
    mixed_devices,
    non_finite_value,
    optimizer_mismatch,
    oversized_storage,
    parameter_as_buffer,
    saved_on_accelerator,
    shadowed_registration,
    shared_tensor,
    stale_alias,
    trainable_buffer,
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
    mixed_devices.RULE,
    saved_on_accelerator.RULE,
    uninitialised_buffer.RULE,
    oversized_storage.RULE,
    non_finite_value.RULE,
    unused_ignore.RULE,
)
"""In the order of their codes."""
