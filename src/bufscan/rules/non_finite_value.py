"""## What it does

With `--values`, counts NaN and infinite elements.

## Why is this bad?

One NaN in a weight spreads to every output. It means that the training that wrote the checkpoint had diverged, or
that a cast to a narrower type overflowed. An infinity in a weight, a scale or a running statistic does the same.
It is meant in a mask, where all elements are 0 or -inf or the name says so. In other buffers, which may hold a
bound, and in single values beside a model, such as the best score so far, it is not reported.

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

import re
from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.findings import Finding, Rule, Subject
from bufscan.inventory import Skipped
from bufscan.rules.held import listed
from bufscan.rules.registered import is_buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.findings import NonFinite
    from bufscan.inventory import Tensor


# The last part of a name. A `mask_decoder` has weights, and a `mask_token` is one.
_MASK = re.compile(r"(?:^|[._])(?:masks?|masked_bias|mask_bias)$", re.IGNORECASE)
# What is multiplied with, or divided by.
_NEVER_INFINITE = re.compile(r"(?:^|[._])(?:running_mean|running_var|moving_mean|moving_variance|weight|scales?)$")


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
        if count.infinite and _is_fault(tensor, count):
            bad.append(f"{count.infinite:,} infinite")
        if bad:
            message = f"`{tensor.path}` has {listed(bad)} of {tensor.numel or 0:,} elements"
            yield rule.finding(tensor, message, severity="error")


def _is_fault(tensor: Tensor, count: NonFinite) -> bool:
    """Whether infinite elements of it are no bound, no mask and no score to begin with."""
    if _NEVER_INFINITE.search(tensor.name):
        return True
    is_score = tensor.role == "training_state" and tensor.shape == ()
    return not (count.is_mask or _MASK.search(tensor.name) or is_buffer(tensor) or is_score)


RULE = Rule(
    code="BUF307",
    name="non-finite-value",
    explanation=__doc__ or "",
    needs="values",
    check=find_non_finite_values,
)
