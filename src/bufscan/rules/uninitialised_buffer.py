"""## What it does

Looks at a model that was built on the meta device for non-persistent buffers that nothing makes again.

## Why is this bad?

A large model is built on the meta device, given memory by `to_empty()` and filled from a checkpoint. A
non-persistent buffer is in no checkpoint: unless something computes it again, it keeps whatever the memory held.
The `reset_parameters()` of its own module does, if its code names the buffer. `--rehearse meta` does all of this,
and finds what nobody has written to.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("inv_freq", torch.arange(4.0), persistent=False)
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("inv_freq", torch.arange(4.0))
```

Or compute it in a `reset_parameters()` of the module, which whoever calls `to_empty()` runs afterwards.

## References

- [torch.nn.Module.to_empty](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.to_empty)
- [Skipping module parameter initialization](https://docs.pytorch.org/tutorials/prototype/skip_param_init.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_uninitialised_buffers(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Non-persistent buffers without values, and what was seen to be garbage once a state_dict was loaded."""
    loaded = None if subject.rehearsal is None else subject.rehearsal.loaded
    garbage = set(() if loaded is None else loaded.garbage)
    for tensor in subject.inventory.tensors:
        if tensor.path in garbage:
            message = f"`{tensor.path}` holds garbage when the model is built on meta and its state_dict is loaded"
            yield rule.finding(tensor, message, severity="error")
    if not subject.is_live or subject.is_stand_in:
        return
    for tensor in subject.inventory.tensors:
        if tensor.path in garbage:
            continue
        if tensor.role == "non_persistent_buffer" and tensor.device == "meta" and not tensor.is_reset:
            message = f"`{tensor.path}`, built on meta, is not saved: no checkpoint fills it after to_empty()"
            yield rule.finding(tensor, message, severity="warning")


RULE = Rule(
    code="BUF204",
    name="non-persistent-without-init",
    explanation=__doc__ or "",
    check=find_uninitialised_buffers,
)
