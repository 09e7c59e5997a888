"""## What it does

With `--model`, looks for entries whose shape is not that of the model's tensor.

## Why is this bad?

`load_state_dict` raises, with `strict=False` too.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.trunk = nn.Linear(4, 4)
        self.head = nn.Linear(4, classes, bias=False)


torch.save(Model(classes=5).state_dict(), "model.pt")
```

Use instead:

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.trunk = nn.Linear(4, 4)
        self.head = nn.Linear(4, classes, bias=False)


torch.save(Model().state_dict(), "model.pt")
```

## References

- [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.joined import path_in

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_shape_mismatches(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding an entry."""
    for join in subject.inventory.joins:
        for mismatch in join.mismatched:
            if mismatch.shape is not None:
                own, models = mismatch.shape
                path = path_in(join, mismatch.name)
                message = f"`{path}` is {own} in the checkpoint and {models} in `{join.model}`: loading fails"
                yield rule.finding_on(path, message, severity="error")


RULE = Rule(
    code="BUF303",
    name="shape-mismatch",
    explanation=__doc__ or "",
    needs="model",
    check=find_shape_mismatches,
)
