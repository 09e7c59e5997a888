"""## What it does

Looks for checkpoints in which the weights of a model are empty: all of them, or all that are large.

## Why is this bad?

Under ZeRO-3 each process holds a part of every large parameter, and the module's own tensors are empty. A
state_dict that is saved without gathering the parts has the names and none of the values: it loads nowhere. In a
checkpoint that DeepSpeed itself saved, the values lie in the files of the optimizer.

## Example

```python
import torch

torch.save({"lora_A.weight": torch.empty(0), "lora_B.weight": torch.empty(0)}, "model.pt")
```

Use instead:
```python
import torch

torch.save({"lora_A.weight": torch.zeros(8, 64), "lora_B.weight": torch.zeros(64, 8)}, "model.pt")
```

With accelerate, `accelerator.get_state_dict(model)` gathers the parts; with DeepSpeed alone,
`stage3_gather_16bit_weights_on_model_save` in the configuration does, and `zero_to_fp32.py` puts together what was
saved in parts.

## References

- [Saving under ZeRO-3](https://www.deepspeed.ai/docs/config-json/#zero-optimizations-for-fp16-training)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.findings import Finding, Rule, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Tensor

_FEWEST = 2  # one empty tensor may be meant
_LEFT = (0,)  # the shape that a parameter has whose parts are elsewhere
_WAY_OUT = (
    "gather them before saving (`accelerator.get_state_dict(model)`, or "
    "`stage3_gather_16bit_weights_on_model_save` for DeepSpeed), or put DeepSpeed's saved parts together with "
    "`zero_to_fp32.py`"
)


def find_empty_checkpoints(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Sections of a file in which no weight has an element, or none of the large ones has."""
    if subject.is_live:
        return
    sections: dict[str, list[Tensor]] = {}
    for tensor in subject.inventory.tensors:
        if tensor.role in ("parameter", "persistent_buffer") and tensor.shape is not None:
            sections.setdefault(tensor.section, []).append(tensor)
    for section, tensors in sections.items():
        weights = [tensor for tensor in tensors if tensor.role == "parameter"]
        empty = _left_empty(weights, tensors)
        if len(empty) >= _FEWEST:
            many = f"all {len(empty):,}" if len(empty) == len(weights) else f"{len(empty):,} of {len(weights):,}"
            state = f"{many} weights are empty (`{empty[0].path}` first), as ZeRO-3 leaves them in each process"
            yield rule.finding_on(section, f"{state}: {_WAY_OUT}", severity="error")


def _left_empty(weights: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Those that were saved without their parts.

    ZeRO-3 keeps small parameters whole (`stage3_param_persistence_threshold`): vectors, and hardly a matrix. An
    empty tensor of another name than a weight's may be a cache that nothing has filled yet, and an empty weight
    beside matrices may be packed in them (FP-Quant of transformers).
    """
    empty = [tensor for tensor in weights if tensor.shape == _LEFT]
    named = empty if len(empty) == len(weights) else [each for each in empty if each.name.endswith("weight")]
    matrices = [tensor for tensor in tensors if tensor.numel and len(tensor.shape or ()) > 1]
    return named if len(named) > len(matrices) else []


RULE = Rule(code="BUF309", name="empty-tensor", explanation=__doc__ or "", check=find_empty_checkpoints)
