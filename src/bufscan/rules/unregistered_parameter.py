"""## What it does

Looks for an `nn.Parameter` in a list, tuple, dict or plain object, and for one that was computed on before it was
assigned.

## Why is this bad?

`nn.Module` registers a Parameter only when it is assigned to an attribute of the module itself. Inside a container
it is no part of `model.parameters()`: the optimizer never updates it, although it gets a gradient. It is not
saved and does not move either. What `.to()` or `.cuda()` makes of a Parameter is a plain tensor:
`self.scale = nn.Parameter(x).cuda()` registers nothing.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = [nn.Parameter(torch.ones(4))]
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterList([torch.ones(4)])
```

## References

- [torch.nn.ParameterList](https://docs.pytorch.org/docs/stable/generated/torch.nn.ParameterList.html)
- [torch.nn.ParameterDict](https://docs.pytorch.org/docs/stable/generated/torch.nn.ParameterDict.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import SHARED_IN_CODE, is_parameter, loose_tensors, loss_of, words_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_unregistered_parameters(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Loose Parameters."""
    for tensor in loose_tensors(subject.inventory):
        if tensor.holding not in SHARED_IN_CODE and is_parameter(tensor):
            message = f"`{tensor.path}`, an nn.Parameter, {words_for(tensor)}: {loss_of(tensor)}"
            yield rule.finding(tensor, message)


RULE = Rule(
    code="BUF002", name="unregistered-parameter", explanation=__doc__ or "", check=find_unregistered_parameters
)
