"""## What it does

With `--model`, looks for entries of the checkpoint that the model does not register, and for prefixes that the
names of one side have and those of the other lack.

## Why is this bad?

`load_state_dict` refuses the checkpoint. With `strict=False` it drops the entries without a word, and where a
prefix makes every name differ, it loads nothing at all.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)


state = Model().state_dict()
state["first.scale"] = torch.ones(4)
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


torch.save(Model().state_dict(), "model.pt")
```

## References

- [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict)
- [Saving torch.nn.DataParallel models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.joined import is_foreign, path_in, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Join


def find_unexpected_entries(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding an entry, and one a prefix."""
    for join in subject.inventory.joins:
        if is_foreign(join):
            continue  # BUF301 says so
        yield from _prefixes(rule, join)
        for name in join.unexpected:
            path = path_in(join, name)
            message = f"`{join.model}` does not register `{path}`: strict loading fails, any other drops it"
            yield rule.finding_on(path, message, severity="error")


def _prefixes(rule: Rule, join: Join) -> Iterator[Finding]:
    if join.checkpoint_prefix:
        prefix = join.checkpoint_prefix
        message = f"names of the checkpoint begin with `{prefix}`, those of `{join.model}` do not"
        line = f"state_dict = {{name.removeprefix({quoted(prefix)}): value for name, value in state_dict.items()}}"
        yield rule.finding_on(join.section, message, severity="warning", suggestion=line)
    if join.model_prefix:
        prefix = join.model_prefix
        message = f"names of `{join.model}` begin with `{prefix}`, those of the checkpoint do not"
        line = f"state_dict = {{{quoted(prefix)} + name: value for name, value in state_dict.items()}}"
        yield rule.finding_on(join.section, message, severity="warning", suggestion=line)
    if join.wrappers:
        parts = " and ".join(f"`{part}`" for part in join.wrappers)
        message = f"only one of checkpoint and `{join.model}` has {parts} in its names"
        yield rule.finding_on(join.section, message, severity="warning")


RULE = Rule(
    code="BUF302",
    name="unexpected-entry",
    explanation=__doc__ or "",
    needs="model",
    check=find_unexpected_entries,
)
