"""## What it does

With `--model`, looks for entries whose dtype is not that of the model's tensor.

## Why is this bad?

`load_state_dict` casts without a word: from a wider type it rounds, and with `assign=True` the model changes its
dtype instead. Loading a narrower floating-point type loses nothing and is reported as a note. One finding stands
for all entries of the same two types.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)


torch.save(Model().double().state_dict(), "model.pt")
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
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.dtypes import DTYPES
from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.joined import path_in
from bufscan.rules.registered import named

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDER = {"float32": 1, "float64": 2}  # takes every value of the narrower floating-point types exactly


def find_dtype_mismatches(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding a pair of types."""
    for join in subject.inventory.joins:
        pairs: dict[tuple[str, str], list[str]] = {}
        for mismatch in join.mismatched:
            if mismatch.dtype is not None:
                pairs.setdefault(mismatch.dtype, []).append(path_in(join, mismatch.name))
        for (own, models), paths in pairs.items():
            entries = named(paths, "entry")
            message = f"{own} in the checkpoint, {models} in `{join.model}`: loading casts {entries}"
            path = paths[0] if len(paths) == 1 else join.section
            yield rule.finding_on(path, message, severity="note" if _is_exact(own, models) else "warning")


def _is_exact(source: str, target: str) -> bool:
    """Whether every value of a floating-point type has the same value in another."""
    floats = DTYPES[source].kind == DTYPES[target].kind == "float"
    return floats and _WIDER.get(target, 0) > _WIDER.get(source, 0)


RULE = Rule(
    code="BUF304",
    name="dtype-mismatch",
    explanation=__doc__ or "",
    needs="model",
    check=find_dtype_mismatches,
)
