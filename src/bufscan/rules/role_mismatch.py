"""## What it does

With `--model`, looks for entries that the checkpoint states to be parameters and the model registers as buffers,
or the other way round.

## Why is this bad?

`load_state_dict` copies the values and keeps the model's own role. What was trained is then no longer trained, or
the optimizer updates what nobody meant to train; and the saved state of the optimizer no longer fits the model's
parameters.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(4))


torch.save({"scale": nn.Parameter(torch.ones(4))}, "model.pt")
```

Use instead:

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))


torch.save({"scale": nn.Parameter(torch.ones(4))}, "model.pt")
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


def find_role_mismatches(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding an entry whose role changed."""
    for join in subject.inventory.joins:
        for mismatch in join.mismatched:
            if mismatch.role is not None:
                path = path_in(join, mismatch.name)
                was, now = (role.replace("_", " ") for role in mismatch.role)
                outcome = "it trains from now on" if mismatch.role[1] == "parameter" else "it no longer trains"
                message = f"`{path}` is a {was} in the checkpoint and a {now} of `{join.model}`: {outcome}"
                yield rule.finding_on(path, message, severity="warning")


RULE = Rule(
    code="BUF308",
    name="role-mismatch",
    explanation=__doc__ or "",
    needs="model",
    check=find_role_mismatches,
)
