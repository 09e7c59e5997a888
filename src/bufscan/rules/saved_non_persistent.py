"""## What it does

With `--model`, looks for keys of buffers that the model registers with `persistent=False`.

## Why is this bad?

Such a key was saved before the buffer became non-persistent, or put there by hand. The model does not expect it,
so `load_state_dict` refuses the checkpoint; with `strict=False` the value is ignored.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, persistent=False):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.register_buffer("mask", torch.ones(4), persistent=persistent)


torch.save(Model(persistent=True).state_dict(), "model.pt")
```

Use instead:

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, persistent=False):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.register_buffer("mask", torch.ones(4), persistent=persistent)


torch.save(Model().state_dict(), "model.pt")
```

## References

- [torch.nn.Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.joined import path_in, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_saved_non_persistent_buffers(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding a buffer."""
    for join in subject.inventory.joins:
        for name in join.saved_non_persistent:
            path = path_in(join, name)
            message = f"`{join.model}` registers `{path}` as non-persistent: strict loading of its key fails"
            yield rule.finding_on(path, message, severity="error", suggestion=f"del state_dict[{quoted(name)}]")


RULE = Rule(
    code="BUF306",
    name="saved-non-persistent",
    explanation=__doc__ or "",
    needs="model",
    check=find_saved_non_persistent_buffers,
)
