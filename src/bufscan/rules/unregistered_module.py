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

from bufscan.findings import SEVERITIES, Finding, Rule, Subject, severity_of
from bufscan.rules.held import holder_path, listed, unregistered_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Inventory, Tensor


def find_unregistered_modules(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding a hidden module, placed where the source holds it."""
    for path, tensors in _hidden_modules(subject.inventory).items():
        message = f"no module registers the module `{path}`: {_loss_of(tensors)}"
        found = rule.finding(tensors[0], message, severity=min(map(severity_of, tensors), key=SEVERITIES.index))
        yield msgspec.structs.replace(found, tensor=path)


def _loss_of(tensors: Sequence[Tensor]) -> str:
    """What will go wrong with them together, by the facts that were measured on each."""
    losses = ["not saved"] * any(tensor.saved is False for tensor in tensors)
    losses += ["not moved with the model"] * any(tensor.moves is False for tensor in tensors)
    losses += ["not trained"] * any(tensor.declared == "parameter" and not tensor.trains for tensor in tensors)
    if not losses:
        return "`train()` and `eval()` do not reach it"
    return (
        f"its {len(tensors)} tensors are {listed(losses)}"
        if len(tensors) > 1
        else f"its tensor is {listed(losses)}"
    )


def _hidden_modules(inventory: Inventory) -> dict[str, list[Tensor]]:
    """The tensors of each hidden module, by its path."""
    found: dict[str, list[Tensor]] = {}
    for tensor in unregistered_tensors(inventory):
        if tensor.holding == "hidden_module":
            found.setdefault(holder_path(tensor), []).append(tensor)
    return found


RULE = Rule(code="BUF003", name="unregistered-module", explanation=__doc__ or "", check=find_unregistered_modules)
