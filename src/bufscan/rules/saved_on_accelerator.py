"""## What it does

Looks for tensors in a file that `torch.save` wrote from a GPU or another accelerator.

## Why is this bad?

`torch.load` puts every tensor back where it came from. Without `map_location` it fails on a machine that has no
such device, and on one that has several it fills the first.

## Example

```python
import torch
from torch import nn

model = nn.Linear(4, 4).to("cuda")
torch.save(model.state_dict(), "model.pt")
```

Use instead:
```python
import torch
from torch import nn

model = nn.Linear(4, 4).to("cpu")
torch.save(model.state_dict(), "model.pt")
```

A reader can help itself with `torch.load(path, map_location="cpu")`.

## References

- [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERYWHERE = (None, "cpu", "meta")


def find_tensors_saved_on_accelerators(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding a file: all its tensors are loaded at once."""
    if subject.is_live:
        return
    files: dict[str | None, Counter[str]] = {}
    for tensor in subject.inventory.tensors:
        if tensor.device not in _EVERYWHERE:
            files.setdefault(tensor.file, Counter())[str(tensor.device)] += 1
    for file, devices in files.items():
        count = devices.total()
        tensors = f"{count:,} tensors were" if count > 1 else "1 tensor was"
        message = f"{tensors} saved on {listed(sorted(devices))}: torch.load without map_location fails without it"
        yield rule.finding_on(file or "", message, severity="warning")


RULE = Rule(
    code="BUF203",
    name="saved-on-accelerator",
    explanation=__doc__ or "",
    check=find_tensors_saved_on_accelerators,
)
