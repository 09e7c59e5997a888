"""## What it does

Looks for tensors that are class attributes, default arguments, or globals that the code of the model uses.

## Why is this bad?

Such a tensor belongs to the code, not to the model. `.to(device)` does not know of it, no `state_dict` has it, and
what one model writes to it shows in every other one.

## Example

```python
import torch
from torch import nn

MEAN = torch.tensor([0.485, 0.456, 0.406])


class Model(nn.Module):
    def forward(self, x):
        return x - MEAN
```

Use instead:
```python
import torch
from torch import nn

MEAN = (0.485, 0.456, 0.406)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)

    def forward(self, x):
        return x - self.mean
```

## References

- [torch.nn.Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import SHARED_IN_CODE, loose_tensors, loss_of, words_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_shared_tensors(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Loose tensors that live in code."""
    for tensor in loose_tensors(subject.inventory):
        if tensor.holding in SHARED_IN_CODE:
            yield rule.finding(tensor, f"`{tensor.path}` {words_for(tensor)}: {loss_of(tensor)}")


RULE = Rule(code="BUF005", name="shared-tensor-in-code", explanation=__doc__ or "", check=find_shared_tensors)
