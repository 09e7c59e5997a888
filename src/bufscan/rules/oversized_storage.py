"""## What it does

Looks for storages that hold more bytes than the tensors of the artefact show.

## Why is this bad?

`torch.save` writes the whole storage of a tensor, not the part that it shows. A small slice of a large tensor
makes a large file, and may carry data that was not meant to leave the machine.

## Example

```python
import torch

table = torch.zeros(1000, 1000)
torch.save({"row": table[0]}, "model.pt")
```

Use instead:
```python
import torch

table = torch.zeros(1000, 1000)
torch.save({"row": table[0].clone()}, "model.pt")
```

## References

- [Saving and loading tensors preserves views](https://docs.pytorch.org/docs/stable/notes/serialization.html#saving-and-loading-tensors-preserves-views)
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from bufscan.dtypes import DTYPES
from bufscan.findings import Finding, Rule, Severity, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Part, Tensor

# Less than this is a rounded-up allocation, not a forgotten slice.
_WORTH_A_WARNING = 64 * 1024


def find_oversized_storages(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Storages that the tensors do not fill, even if no two of these overlapped; told of the first that looks."""
    storages = subject.inventory.storages
    full: set[str] = set()
    shown: dict[str, dict[str, int]] = {}
    first: dict[str, Tensor] = {}
    for tensor in subject.inventory.tensors:
        if tensor.saved is False:
            continue
        if tensor.storage in storages and _fills(tensor, storages[tensor.storage].nbytes):
            full.add(tensor.storage)
            continue
        for view in tensor.parts or (tensor,):
            if view.storage is not None:
                first.setdefault(view.storage, tensor)
                # As text: hashes of numbers can be foreseen, those of texts are salted.
                look = repr((view.storage_offset, view.shape, view.stride, view.dtype))
                shown.setdefault(view.storage, {})[look] = _bytes_shown(view)
    for key, tensor in first.items():
        if key in full or key not in storages:
            continue
        stored = storages[key].nbytes
        unseen = stored - sum(shown[key].values())
        if unseen > 0 and tensor.local_shape is None:
            severity: Severity = "warning" if unseen >= _WORTH_A_WARNING else "note"
            message = (
                f"the storage of `{tensor.path}` has {stored:,} bytes, and no tensor shows {unseen:,} of them: "
                "`.clone()` what is saved, to leave the rest out"
            )
            yield rule.finding(tensor, message, severity=severity)


def _fills(tensor: Tensor, stored: int) -> bool:
    """Whether it shows the whole storage at a glance, as nearly every tensor does."""
    return not tensor.parts and (tensor.nbytes or 0) >= stored and 0 not in (tensor.stride or ())


def _bytes_shown(view: Tensor | Part) -> int:
    """Bytes of the elements that a view shows, those of an expanded dimension once."""
    if view.shape is None or view.dtype is None:
        return 0
    strides = view.stride or (1,) * len(view.shape)
    distinct = prod(size for size, stride in zip(view.shape, strides, strict=True) if stride or not size)
    return DTYPES[view.dtype].nbytes(distinct)


RULE = Rule(code="BUF305", name="oversized-storage", explanation=__doc__ or "", check=find_oversized_storages)
