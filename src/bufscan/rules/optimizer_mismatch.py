"""## What it does

Holds the optimizer of a training checkpoint against the roles of the tensors: by the names of the parameters
where it saved them, and else, with `--model`, by their number and shapes.

## Why is this bad?

A buffer in an optimizer is overwritten twice: by the step and by whatever `forward` keeps in it. A parameter that
no optimizer holds stays at its initial value, which may be meant (a frozen backbone) and is reported as a note.
An optimizer of more parameters than the model has, or of other shapes, was made for another model: its
`load_state_dict` refuses the state, or gives a parameter the state of another one.

## Example

```python
import torch
from torch import nn

model = nn.BatchNorm1d(4)
tensors = [*model.named_parameters(), ("running_mean", model.running_mean)]
optimizer = torch.optim.SGD(tensors, lr=0.1)
torch.save({"model": model, "optimizer": optimizer.state_dict()}, "model.pt")
```

Use instead:
```python
import torch
from torch import nn

model = nn.BatchNorm1d(4)
optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
torch.save({"model": model, "optimizer": optimizer.state_dict()}, "model.pt")
```

## References

- [torch.optim.Optimizer.state_dict](https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.state_dict.html)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject
from bufscan.rules.registered import is_buffer, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Inventory, Tensor


def find_optimizer_mismatches(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Model by model, for those that have every tensor that the optimizers name."""
    groups = [group for optimizer in subject.inventory.optimizers for group in optimizer.groups]
    optimized = {name for group in groups for name in group.names or ()}
    if not optimized:
        yield from _miscounts(rule, subject.inventory)
        return
    models: dict[str, list[Tensor]] = {}
    for tensor in subject.inventory.tensors:
        if tensor.certainty == "exact" and tensor.role != "training_state":
            models.setdefault(tensor.section, []).append(tensor)
    for section, tensors in models.items():
        if optimized <= {tensor.name for tensor in tensors}:
            yield from _mismatches(rule, section, tensors, optimized)


def _mismatches(rule: Rule, section: str, tensors: Sequence[Tensor], optimized: set[str]) -> Iterator[Finding]:
    for tensor in tensors:
        if is_buffer(tensor) and tensor.name in optimized:
            message = f"the optimizer holds the buffer `{tensor.path}`: its steps and the model's own updates mix"
            yield rule.finding(tensor, message, severity="error")
    untrained = [
        tensor.path
        for tensor in tensors
        if tensor.role == "parameter"
        and tensor.name not in optimized
        and tensor.requires_grad
        and tensor.alias_of is None
    ]
    if untrained:
        message = f"no optimizer of the checkpoint holds {named(untrained, 'parameter')}: not trained"
        yield rule.finding_on(section, message, severity="note")


def _miscounts(rule: Rule, inventory: Inventory) -> Iterator[Finding]:
    """One optimizer without names against the one model that the checkpoint was joined to."""
    if len(inventory.optimizers) != 1 or len(inventory.joins) != 1:
        return
    (optimizer,), (join,) = inventory.optimizers, inventory.joins
    parameters = [
        tensor
        for tensor in inventory.tensors
        if tensor.section == join.section and tensor.role == "parameter" and tensor.alias_of is None
    ]
    held, there = sum(optimizer.sizes), len(parameters) + sum(each.role == "parameter" for each in join.missing)
    trained = sum(tensor.trains is not False for tensor in parameters)
    shapes = {shape for group in optimizer.groups for shape in group.shapes if shape is not None}
    strange = shapes - {tensor.shape for tensor in (*parameters, *join.missing)}
    where = optimizer.section
    if held > there:
        message = f"the optimizer holds {held:,} parameters, and the model has {there:,}"
        yield rule.finding_on(where, message, severity="warning")
    elif strange:
        shape = "x".join(map(str, min(strange))) or "scalar"
        message = f"the optimizer keeps state of shape {shape}, and no parameter of the model has it"
        yield rule.finding_on(where, message, severity="warning")
    elif held < trained:
        message = f"the optimizer holds {held:,} of the {trained:,} parameters that the model trains"
        yield rule.finding_on(where, message, severity="note")


RULE = Rule(
    code="BUF103", name="optimizer-trains-buffer", explanation=__doc__ or "", check=find_optimizer_mismatches
)
