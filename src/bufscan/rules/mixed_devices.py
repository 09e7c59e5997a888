"""## What it does

Looks for a model whose registered tensors lie on several devices.

## Why is this bad?

An operation on tensors of two devices fails, so a model that was moved only in part stops at the first layer where
they meet. Models that are split over devices on purpose are a reason to allow this. Tensors without dimensions and
those on the meta device are not counted.

## Example

```python
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LayerNorm(4, device="cuda")
        self.second = nn.LayerNorm(4)
```

Use instead:

```python
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LayerNorm(4)
        self.second = nn.LayerNorm(4)
```

`Model().to("cuda")` then moves all of it.

## References

- [torch.nn.Module.to](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.to)
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import listed
from bufscan.rules.registered import is_registered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Tensor


def find_mixed_devices(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding a model: each section of a checkpoint is one."""
    models: dict[str, list[Tensor]] = {}
    for tensor in subject.inventory.tensors:
        if is_registered(tensor) and tensor.shape != () and tensor.device not in (None, "meta"):
            models.setdefault(tensor.section, []).append(tensor)
    for section, tensors in models.items():
        devices = Counter(str(tensor.device) for tensor in tensors)
        if len(devices) > 1:
            counts = listed([f"{count} on {device}" for device, count in devices.most_common()])
            fewest = devices.most_common()[-1][0]
            odd = next(tensor for tensor in tensors if tensor.device == fewest)
            message = f"the tensors lie on several devices, {counts}: `{odd.path}` and the rest cannot meet"
            yield rule.finding_on(section, message, severity="warning")


RULE = Rule(code="BUF201", name="mixed-devices", explanation=__doc__ or "", check=find_mixed_devices)
