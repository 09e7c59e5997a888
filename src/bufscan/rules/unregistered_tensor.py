"""## What it does

Looks for tensors that a module holds as a plain attribute, or in a list, dict, object, partial, hook or closure.

## Why is this bad?

`nn.Module` knows only the tensors that are registered with it. A tensor it merely holds is missing from the
`state_dict`, so a loaded model runs with another value than the saved one, and `.to(device)` leaves it behind, so
the first forward pass on a GPU stops with "expected all tensors to be on the same device". A 0-dim tensor meets
tensors on any device, and one without elements has nothing to lose yet: they are notes. A tensor that the forward
pass makes anew from other things is a warning. One that it computes from its own old value, or sets only while
training, is state that must be saved, as the running statistics of a BatchNorm are.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.pe = torch.zeros(16, 4)

    def forward(self, x):
        return x + self.pe
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("pe", torch.zeros(16, 4), persistent=False)

    def forward(self, x):
        return x + self.pe
```

`persistent=False` leaves the `state_dict` as it was, so that old checkpoints still load.

## References

- [torch.nn.Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import SHARED_IN_CODE, is_parameter, loose_tensors, loss_of, words_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_unregistered_tensors(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Loose tensors that are neither Parameters nor shared in code."""
    for tensor in loose_tensors(subject.inventory):
        if tensor.holding not in SHARED_IN_CODE and not is_parameter(tensor):
            yield rule.finding(tensor, f"`{tensor.path}` {words_for(tensor)}: {loss_of(tensor)}")


RULE = Rule(code="BUF001", name="unregistered-tensor", explanation=__doc__ or "", check=find_unregistered_tensors)
