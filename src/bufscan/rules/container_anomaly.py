"""## What it does

Looks for what is odd about the file around the tensors: parts that are there twice, overlap, contradict each
other, trail behind the end, or belong to nothing, and for a file that is two formats at once.

## Why is this bad?

Two programs can read such a file in two ways. What a scanner looks at need not be what `torch.load` uses, and
bytes that no tensor shows may be anything. Files that torch writes have nothing of the kind. What a tool may well
have done in good faith (packing a checkpoint again, compressed) is a warning.

## Example

```python
from pathlib import Path

import torch

torch.save({"weight": torch.zeros(4)}, "model.pt")
with Path("model.pt").open("ab") as file:
    file.write(b"something else")
```

Use instead:
```python
import torch

torch.save({"weight": torch.zeros(4)}, "model.pt")
```

## References

- [The ZIP file format](https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT)
- [safetensors](https://huggingface.co/docs/safetensors/index)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.findings import Severity

# What tools do in good faith, and what only costs. Everything else is an error.
_SEVERITIES: dict[str, Severity] = {
    "compressed_record": "warning",
    "no_values": "warning",
    "unloadable_tensor": "warning",
    "misplaced_tensor": "warning",
    "unlisted_tensor": "warning",
    "total_size": "warning",
}


def find_container_anomalies(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Each that the reader met."""
    for anomaly in subject.inventory.anomalies:
        yield Finding(
            code=rule.code,
            name=rule.name,
            severity=_SEVERITIES.get(anomaly.kind, "error"),
            tensor="",
            message=anomaly.message,
            mark=anomaly.kind,
        )


RULE = Rule(code="BUF402", name="container-anomaly", explanation=__doc__ or "", check=find_container_anomalies)
