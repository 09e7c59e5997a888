"""## What it does

Looks for a registered parameter, buffer or module whose name, as an attribute, gives something else.

## Why is this bad?

Python finds an instance attribute or a class attribute before `nn.Module` is asked for what is registered. What is
saved, moved and trained is then not what `forward` reads. One finding stands for a hidden module with all its
tensors. A property is not called: what it gives is left open.

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

import msgspec

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import holder_path, shadowed_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY = {"shadowed_by_instance": "an instance attribute", "shadowed_by_class": "an attribute of the class"}


def find_shadowed_registrations(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Registered tensors and modules that their own name does not give."""
    modules: set[str] = set()
    for tensor in shadowed_tensors(subject.inventory):
        hidden = tensor.path if tensor.holder is None else holder_path(tensor)
        if hidden in modules:
            continue
        what = f"registered `{hidden}`"
        if tensor.holder is not None:
            modules.add(hidden)
            what = f"registered module `{hidden}`"
        by = _BY[tensor.holding or ""]
        message = f"{by} hides the {what}: what is saved and moved is not what forward reads"
        yield msgspec.structs.replace(rule.finding(tensor, message, severity="error"), tensor=hidden)


RULE = Rule(
    code="BUF006", name="shadowed-registration", explanation=__doc__ or "", check=find_shadowed_registrations
)
