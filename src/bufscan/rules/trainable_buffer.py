"""## What it does

Looks for buffers with `requires_grad`.

## Why is this bad?

A buffer is no part of `model.parameters()`. With `requires_grad` it collects a gradient that no optimizer uses and
no `zero_grad` clears: it looks as if it were trained, and never changes.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(4, requires_grad=True))
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

Without gradient, `register_buffer("scale", torch.ones(4))` is right.

## References

- [torch.nn.parameter.Parameter](https://docs.pytorch.org/docs/stable/generated/torch.nn.parameter.Parameter.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.registered import buffers

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_trainable_buffers(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Buffers that require grad, without the Parameters among them."""
    for tensor in buffers(subject.inventory):
        if tensor.requires_grad and tensor.declared != "parameter":
            message = (
                f"the buffer `{tensor.path}` requires grad, but an optimizer of parameters() does not train it"
            )
            yield rule.finding(tensor, message, severity="error")


RULE = Rule(code="BUF101", name="trainable-buffer", explanation=__doc__ or "", check=find_trainable_buffers)
