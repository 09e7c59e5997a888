"""## What it does

Looks for entries of a `state_dict` that no module owns.

## Why is this bad?

Somebody put the entry there by hand or by a hook. `load_state_dict` calls it unexpected and refuses the whole
checkpoint, unless a hook on the loading side takes it out again, and nothing registers the tensor, so that it
neither moves nor trains.

## Example

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
state = model.state_dict()
state["preprocessing.mean"] = torch.zeros(3)
torch.save(state, "model.pt")
```

Use instead:
```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
model.register_buffer("mean", torch.zeros(3))
torch.save(model.state_dict(), "model.pt")
```

## References

- [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict)
- [torch.nn.Module.get_extra_state](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.get_extra_state)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.tensor_names import extra_state_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Tensor


def find_unowned_entries(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Saved entries that are neither parameter nor buffer; with a model at hand, BUF302 tells of them."""
    if subject.inventory.joins:
        return
    for tensor in filter(_is_unowned, subject.inventory.tensors):
        message = f"no module owns `{tensor.path}`: load_state_dict rejects it unless a hook takes it out"
        yield rule.finding(tensor, message, severity="note" if tensor.shape == () else "warning")


def _is_unowned(tensor: Tensor) -> bool:
    if tensor.role != "unregistered" or not tensor.saved or tensor.holding not in (None, "state_dict_only"):
        return False
    return extra_state_key(tensor.name) is None


RULE = Rule(code="BUF007", name="unowned-entry", explanation=__doc__ or "", check=find_unowned_entries)
