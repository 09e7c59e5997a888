"""## What it does

Looks for a registered parameter or buffer whose name, as an attribute of the module, gives something else.

## Why is this bad?

Python finds an instance attribute or a class attribute before `nn.Module` is asked for what is registered. What is
saved, moved and trained is then not what `forward` reads.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    scale = 1.0

    def __init__(self):
        super().__init__()
        self._buffers["scale"] = torch.ones(4)

    def forward(self, x):
        return x * self.scale
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x):
        return x * self.scale
```

## References

- [Attribute access in Python](https://docs.python.org/3/reference/datamodel.html#object.__getattr__)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import shadowed_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY = {"shadowed_by_instance": "an instance attribute", "shadowed_by_class": "a class attribute"}


def find_shadowed_registrations(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Registered tensors that their own name does not give."""
    for tensor in shadowed_tensors(subject.inventory):
        by = _BY[tensor.holding or ""]
        message = f"{by} hides the registered `{tensor.path}`: what is saved and moved is not what forward reads"
        yield rule.finding(tensor, message, severity="error")


RULE = Rule(
    code="BUF006", name="shadowed-registration", explanation=__doc__ or "", check=find_shadowed_registrations
)
