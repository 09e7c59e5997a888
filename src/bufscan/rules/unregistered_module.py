"""## What it does

Looks for modules with tensors in a plain list, dict or object.

## Why is this bad?

A module that no module registers is invisible with its whole subtree: its parameters reach no optimizer, its
tensors are missing from the `state_dict` and stay where they are when the model moves, and `model.eval()` does not
reach its dropout and normalisation. One finding stands for the whole hidden module.

## Example

```python
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(4, 4)]
```

Use instead:
```python
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)])
```

## References

- [torch.nn.ModuleList](https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html)
- [torch.nn.ModuleDict](https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleDict.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import listed, unregistered_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Inventory, Tensor


def find_unregistered_modules(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding a hidden module, placed where the source holds it."""
    for path, tensors in _hidden_modules(subject.inventory).items():
        first = tensors[0]
        count = f"its {len(tensors)} tensors are" if len(tensors) > 1 else "its tensor is"
        losses = [f"{count} not saved", "not moved with the model"]
        if any(tensor.declared == "parameter" for tensor in tensors):
            losses.append("not trained")
        found = rule.finding(first, f"no module registers the module `{path}`: {listed(losses)}")
        severity = "error" if any(tensor.shape != () for tensor in tensors) else "note"
        yield msgspec.structs.replace(found, tensor=path, severity=severity)


def _hidden_modules(inventory: Inventory) -> dict[str, list[Tensor]]:
    """The tensors of each hidden module, by its path."""
    found: dict[str, list[Tensor]] = {}
    for tensor in unregistered_tensors(inventory):
        if tensor.holding == "hidden_module":
            found.setdefault(_holder_of(tensor), []).append(tensor)
    return found


def _holder_of(tensor: Tensor) -> str:
    return f"{tensor.section}.{tensor.holder}" if tensor.section else str(tensor.holder)


RULE = Rule(code="BUF003", name="unregistered-module", explanation=__doc__ or "", check=find_unregistered_modules)
