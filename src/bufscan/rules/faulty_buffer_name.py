"""## What it does

Looks in source for names of buffers that `register_buffer` refuses.

## Why is this bad?

A buffer cannot have a name that is empty or has a dot in it, for its key in the `state_dict` would be another
module's, nor one that the module has already: of an attribute, a method, a property, or of `nn.Module` itself.
`register_buffer` raises a KeyError, the first time that somebody builds the model in this way.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("half", torch.full((4,), 0.5))
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("halves", torch.full((4,), 0.5))
```

## References

- [torch.nn.Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_nothing(_rule: Rule, _subject: Subject) -> Iterator[Finding]:
    """No inventory shows such a buffer, for the model cannot be built: source does."""
    return iter(())


RULE = Rule(
    code="BUF104",
    name="faulty-buffer-name",
    explanation=__doc__ or "",
    needs="source",
    check=find_nothing,
)
