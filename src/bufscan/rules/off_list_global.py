"""## What it does

Looks in pickled checkpoints for names that loading would import or call and that torch's tensors do not need.

## Why is this bad?

A pickle is a program: `torch.load(..., weights_only=False)` imports every module that it names, and calls what it
says is to be called. A name that torch does not write may run anything. One that a known library writes, such as
NumPy's scalars or the `TrainingArguments` of transformers, is a note: it needs that library. The class of a module
that was saved whole is a warning: whoever loads the file imports its code. Everything else is an error.

## Example

```python
import math

import torch

torch.save({"weight": torch.zeros(4), "schedule": math.cos}, "model.pt")
```

Use instead:
```python
import torch

torch.save({"weight": torch.zeros(4), "schedule": "cos"}, "model.pt")
```

A file from somebody else that has such a finding is not to be loaded with `weights_only=False`.

## References

- [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
- [Security of the pickle module](https://docs.python.org/3/library/pickle.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.findings import Severity
    from bufscan.inventory import ForeignName

_SILENT = ("torch", "Python")  # they are there
_MOST = 50  # one finding each
_SHOWN = 4
_LONGEST = 100  # characters of a name


def find_off_list_globals(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Known names together, library by library, and the others one by one."""
    libraries: dict[str, list[str]] = {}
    modules: dict[str, None] = {}
    unknown: dict[str, ForeignName] = {}
    for each in subject.inventory.foreign_names:
        if each.library is not None:
            libraries.setdefault(each.library, []).append(each.name)
        elif each.is_module:
            modules[each.name] = None
        else:
            unknown.setdefault(f"{each.name} {each.use}", each)
    yield from _one_by_one(rule, list(unknown.values()))
    if modules:
        names = list(modules)
        message = f"whoever loads it imports the code of {_quoted(names)}: it holds whole modules of them"
        yield _finding(rule, "warning", message, f"modules of `{names[0]}`")
    for library, found in libraries.items():
        if library not in _SILENT:
            message = f"loading it needs {library}, of which it names {_quoted(found)}"
            yield _finding(rule, "note", message, f"library {library}")


def _one_by_one(rule: Rule, names: Sequence[ForeignName]) -> Iterator[Finding]:
    for each in names[:_MOST]:
        if each.use == "called":
            what = f"loading it calls `{each.call or each.name}`"
        elif each.use == "made":
            what = f"loading it makes an object of `{each.name}`"
        else:
            what = f"loading it imports `{each.name}`"
        where = f" ({each.where})" if each.where else ""
        yield _finding(rule, "error", f"{what}, which torch does not write{where}", each.name)
    if more := names[_MOST:]:
        message = f"loading it imports {len(more):,} further names that torch does not write"
        yield _finding(rule, "error", message, "further names")


def _quoted(names: Sequence[str]) -> str:
    shown = [f"`{name[:_LONGEST]}`" for name in names[:_SHOWN]]
    more = len(names) - len(shown)
    return listed([*shown, *[f"{more:,} more"] * (more > 0)])


def _finding(rule: Rule, severity: Severity, message: str, mark: str) -> Finding:
    return Finding(code=rule.code, name=rule.name, severity=severity, tensor="", message=message, mark=mark)


RULE = Rule(code="BUF401", name="off-list-global", explanation=__doc__ or "", check=find_off_list_globals)
