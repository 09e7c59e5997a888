"""## What it does

Looks for `# bufscan: ignore[...]` comments, and ignore and skip entries of the configuration, that match nothing,
name no rule, or give no reason.

## Why is this bad?

An ignore that outlived its finding hides the next one that appears in its place. Without a reason nobody can tell
whether it still holds, so such a comment is not in force.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("pe", torch.zeros(4))  # bufscan: ignore[BUF001] computed again in forward
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("pe", torch.zeros(4))
```

A comment stands on the line that assigns the attribute: `# bufscan: ignore[BUF001] reason`. Several codes, and
beginnings of codes, are separated by commas.

## References

- [Naming and scoping of ignores in `[tool.bufscan]`](https://packaging.python.org/en/latest/specifications/pyproject-toml/#arbitrary-tool-configuration-the-tool-table)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_nothing(_rule: Rule, _subject: Subject) -> Iterator[Finding]:
    """No inventory shows an ignore: `checking` makes these findings when all others are known."""
    return iter(())


RULE = Rule(code="BUF901", name="unused-ignore", explanation=__doc__ or "", check=find_nothing)
