"""## What it does

With `--model`, looks for tensors and extra states that the model saves and the checkpoint lacks.

## Why is this bad?

`load_state_dict` refuses the checkpoint. With `strict=False` it loads, and the tensor silently keeps the random
value that it was made with.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)


state = Model().state_dict()
del state["second.bias"]
torch.save(state, "model.pt")
```

Use instead:

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)


torch.save(Model().state_dict(), "model.pt")
```

## References

- [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.joined import is_foreign, path_in

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_missing_entries(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding an entry; one for all where the checkpoint is another model's."""
    for join in subject.inventory.joins:
        if is_foreign(join):
            message = f"the checkpoint has none of the {len(join.missing):,} entries of `{join.model}`"
            yield rule.finding_on(join.section, message, severity="error")
            continue
        for tensor in join.missing:
            path = path_in(join, tensor.saved_as or tensor.name)
            message = f"the checkpoint lacks `{path}`: strict loading fails, any other keeps its initial value"
            yield msgspec.structs.replace(rule.finding(tensor, message, severity="error"), tensor=path)
        for key in join.missing_extra_states:
            path = path_in(join, key)
            message = f"the checkpoint lacks `{path}`: strict loading fails, any other does not set it"
            yield rule.finding_on(path, message, severity="error")


RULE = Rule(
    code="BUF301",
    name="missing-entry",
    explanation=__doc__ or "",
    needs="model",
    check=find_missing_entries,
)
