"""## What it does

Looks for another name for a registered tensor, or for a view of one, that the model keeps.

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
    shadowing = shadowing_paths(subject.inventory)
    for tensor in unregistered_tensors(subject.inventory):
        if tensor.holding != "stale_alias" or tensor.path in shadowing:
            continue
        other = f"`{tensor.path}` shares its elements with `{tensor.alias_of}`"
        if tensor.moves is None:
            yield rule.finding(tensor, f"{other} and may not move with it", severity="note")
        else:
            message = f"{other} only until the model moves: `.to()` leaves it behind with the old values"
            yield rule.finding(tensor, message, severity=severity_of(tensor))


RULE = Rule(code="BUF004", name="stale-buffer-alias", explanation=__doc__ or "", check=find_stale_aliases)
