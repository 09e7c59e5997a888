"""## What it does

With `--values`, counts NaN and infinite elements.

## Why is this bad?

One NaN in a weight spreads to every output. It means that the training that wrote the checkpoint had diverged, or
that a cast to a narrower type overflowed. An infinity in a buffer, an attention mask most often, is not reported.

## Example

```python
import torch
from torch import nn

model = nn.Linear(4, 4)
model.weight.data[0, 0] = float("nan")
torch.save(model.state_dict(), "model.pt")
```

Use instead:
```python
import torch
from torch import nn

model = nn.Linear(4, 4)
torch.save(model.state_dict(), "model.pt")
```

## References

- [torch.isfinite](https://docs.pytorch.org/docs/stable/generated/torch.isfinite.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.findings import Finding, Rule, Subject
from bufscan.inventory import Skipped
from bufscan.rules.held import listed
from bufscan.rules.registered import is_buffer

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_non_finite_values(rule: Rule, subject: Subject) -> Iterator[Finding | Skipped]:
    """Tensors with values that are no finite numbers; nothing unless values are to be read."""
    if subject.count_nonfinite is None:
        return
    for tensor in subject.inventory.tensors:
        if tensor.alias_of is not None:
            continue
        try:
            count = subject.count_nonfinite(tensor)
        except UnreadableError as error:
            yield Skipped(what=f"{rule.code} for `{tensor.path}`", reason=error.message, failed=True)
            continue
        if count is None:
            continue
        bad = [f"{count.nan:,} NaN"] * bool(count.nan)
        if count.infinite and not is_buffer(tensor):
            bad.append(f"{count.infinite:,} infinite")
        if bad:
            message = f"`{tensor.path}` has {listed(bad)} of {tensor.numel or 0:,} elements"
            yield rule.finding(tensor, message, severity="error")


RULE = Rule(
    code="BUF307",
    name="non-finite-value",
    explanation=__doc__ or "",
    needs="values",
    check=find_non_finite_values,
)
