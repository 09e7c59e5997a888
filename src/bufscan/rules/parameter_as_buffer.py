"""## What it does

Looks for an `nn.Parameter` that was handed to `register_buffer`.

## Why is this bad?

What counts is how a tensor is registered, not what class it has. This Parameter is saved and moves, but
`model.parameters()` does not list it, so that no optimizer trains it.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", nn.Parameter(torch.ones(4)))
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
```

## References

- [torch.nn.Module.register_parameter](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_parameter)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.registered import buffers

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_parameters_as_buffers(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Buffers that are Parameters. One whose gradient is switched off does not want to train: a note."""
    for tensor in buffers(subject.inventory):
        if tensor.declared == "parameter":
            message = f"`{tensor.path}` is an nn.Parameter registered as a buffer: no optimizer sees it"
            yield rule.finding(tensor, message, severity="note" if tensor.requires_grad is False else "error")


RULE = Rule(code="BUF102", name="parameter-as-buffer", explanation=__doc__ or "", check=find_parameters_as_buffers)
