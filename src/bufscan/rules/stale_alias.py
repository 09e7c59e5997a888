"""## What it does

Looks for another name for a registered tensor, or for a view of one, that the model keeps; and for a buffer that
shares its elements with another registered tensor, where one of them is written to.

## Why is this bad?

`.to()`, `.half()` and their like put a new tensor in the place of every buffer. The other name keeps the old one:
on the old device, with the old dtype, and what is written to one of them no longer shows in the other. A second
reference to the same `nn.Parameter` is fine, for moving keeps that object; a view of a Parameter is not.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("usage", torch.zeros(8))
        self.counts = self.usage
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("usage", torch.zeros(8))

    @property
    def counts(self):
        return self.usage
```

## References

- [torch.nn.Module.to](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.to)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject, severity_of
from bufscan.rules.held import shadowing_paths, unregistered_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_stale_aliases(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Aliases that `.to()` leaves behind, or may leave behind where an overridden `_apply` has a say."""
    yield from _split_buffers(rule, subject)
    shadowing = shadowing_paths(subject.inventory)
    for tensor in unregistered_tensors(subject.inventory):
        if tensor.holding not in ("stale_alias", "second_reference") or tensor.path in shadowing:
            continue
        if tensor.holding == "second_reference":
            message = (
                f"`{tensor.path}` is the Parameter `{tensor.alias_of}` only until another takes its place: "
                "`to_empty()` keeps that object, `load_state_dict(assign=True)` does not"
            )
            yield rule.finding(tensor, message, severity="note")
            continue
        other = f"`{tensor.path}` shares its elements with `{tensor.alias_of}`"
        if tensor.moves is None:
            yield rule.finding(tensor, f"{other} and may not move with it", severity="note")
        else:
            message = f"{other} only until the model moves: `.to()` leaves it behind with the old values"
            yield rule.finding(tensor, message, severity=severity_of(tensor))


def _split_buffers(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Buffers that `.to()` parts from the registered tensor whose elements they show."""
    for tensor in subject.inventory.tensors:
        if tensor.holding == "split_by_move":
            message = (
                f"`{tensor.path}` and `{tensor.alias_of}` are one tensor only until the model moves: `.to()` "
                "makes two of it, and what is written to one no longer shows in the other"
            )
            yield rule.finding(tensor, message, severity="error")
        elif tensor.holding == "split_view":
            message = (
                f"`{tensor.path}` is a view of `{tensor.alias_of}` only until the model moves: `.to()` copies it"
            )
            yield rule.finding(tensor, message, severity="note")


RULE = Rule(code="BUF004", name="stale-buffer-alias", explanation=__doc__ or "", check=find_stale_aliases)
