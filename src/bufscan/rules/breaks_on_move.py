"""## What it does

Rehearses the move to another device and looks for the operations that would fail there.

## Why is this bad?

On the CPU everything lies on one device, so a tensor that does not move with the model, or that the forward pass
makes without a device, is noticed only where there is a GPU: "expected all tensors to be on the same device". With
`--rehearse` the forward pass really runs, on the CPU, and every tensor remembers on which side of a pretended move
it lies. An operation that CUDA would refuse is found with its line, and with the tensor to blame.

## Example

```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(16, 4)

    def forward(self, x):
        return x + self.embedding(torch.arange(x.size(1)))
```

Use instead:
```python
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(16, 4)

    def forward(self, x):
        return x + self.embedding(torch.arange(x.size(1), device=x.device))
```

A tensor that the model holds is better registered than moved at each use.

## References

- [Tensor attributes: torch.device](https://docs.pytorch.org/docs/stable/tensor_attributes.html#torch.device)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.held import SHARED_IN_CODE, holder_path, is_parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Location, Tensor
    from bufscan.rehearsal import Clash, Rehearsal


def find_breaks(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """One finding for each tensor to blame, and one for all tensors of a module that nothing registers."""
    if subject.rehearsal is None:
        return
    held = {tensor.path: tensor for tensor in subject.inventory.tensors}
    told: set[str] = set()
    for clash in subject.rehearsal.clashes:
        if clash.tensor is not None:
            tensor = held.get(clash.tensor)
            what = clash.tensor if tensor is None or tensor.holding != "hidden_module" else holder_path(tensor)
            if what not in told:
                told.add(what)
                message = f"`{what}` {_fate(tensor, clash, subject.rehearsal)}: {_refusal(clash)}"
                finding = rule.finding_on(what, message, severity="error")
                yield msgspec.structs.replace(finding, location=clash.line)
        elif clash.made is not None:
            yield _of_made(rule, clash)
        else:
            yield _of_moved(rule, clash, subject.rehearsal)


def _of_made(rule: Rule, clash: Clash) -> Finding:
    """The forward pass made it on the CPU."""
    what = f"`{clash.maker}` makes a tensor" if clash.maker else "a tensor is made"
    where = "" if clash.line == clash.made else _at(clash.line)
    how = (
        "on the CPU, wherever the model is" if clash.dtype is None else f"of {clash.dtype}, whatever the model is"
    )
    message = f"{what} {how}: {_refusal(clash, where)}"
    finding = rule.finding_on("", message, severity="error", suggestion=clash.fix)
    return msgspec.structs.replace(finding, location=clash.made, mark=_mark(clash.made, clash.maker))


def _of_moved(rule: Rule, clash: Clash, rehearsal: Rehearsal) -> Finding:
    """It is right to move it, and wrong to use it so; or nobody knows where it came from."""
    what = f"the input `{clash.input}` has moved with the model" if clash.input else "two devices meet"
    if clash.dtype is not None:
        what = f"{clash.dtype} meets the model's {rehearsal.dtype}"
    message = f"{what}: {_refusal(clash)}"
    finding = rule.finding_on("", message, severity="error")
    return msgspec.structs.replace(finding, location=clash.line, mark=_mark(clash.line, clash.operator))


def _refusal(clash: Clash, where: str = "") -> str:
    return f"`{clash.operator}`{where} {clash.complaint}"


def _fate(tensor: Tensor | None, clash: Clash, rehearsal: Rehearsal) -> str:
    """Why it was left behind, and which finding says how to mend that."""
    fate = "stays on the CPU when the model moves"
    if clash.dtype is not None:
        fate = f"stays {clash.dtype} when the model becomes {rehearsal.dtype}"
    if tensor is None:
        return fate
    if not tensor.lacks_registration:
        return f"is registered and yet {fate}"
    return f"{fate} ({_code_for(tensor)}{_at(tensor.origin)})"


def _code_for(tensor: Tensor) -> str:
    """The rule that tells of the tensor as it is held."""
    by_holding = {"hidden_module": "BUF003", "stale_alias": "BUF004", **dict.fromkeys(SHARED_IN_CODE, "BUF005")}
    return by_holding.get(tensor.holding or "") or ("BUF002" if is_parameter(tensor) else "BUF001")


def _at(place: Location | None) -> str:
    return f" at {place.file}:{place.line}" if place is not None else ""


def _mark(place: Location | None, what: str | None) -> str:
    return f"{place.file if place else '?'}: {what or 'a tensor'}"


RULE = Rule(code="BUF202", name="breaks-on-move", explanation=__doc__ or "", needs="rehearsal", check=find_breaks)
