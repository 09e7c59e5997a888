"""## What it does

Looks for checkpoints in which every tensor of a model is empty.

## Why is this bad?

Under ZeRO-3 each process holds a part of every parameter, and the module's own tensors are empty. A state_dict
that is saved without gathering the parts has all the names and none of the values: it loads nowhere, and the
training is lost with the processes.

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
    from collections.abc import Iterator

    from bufscan.inventory import Tensor

_FEWEST = 2  # one empty tensor may be meant


def find_empty_checkpoints(rule: Rule, subject: Subject) -> Iterator[Finding]:
    """Sections of a file in which no weight has an element; buffers that every process holds do not count."""
    if subject.is_live:
        return
    sections: dict[str, list[Tensor]] = {}
    for tensor in subject.inventory.tensors:
        if tensor.role in ("parameter", "persistent_buffer") and tensor.shape:
            sections.setdefault(tensor.section, []).append(tensor)
    for section, tensors in sections.items():
        weights = [tensor for tensor in tensors if tensor.role == "parameter"]
        if len(weights) >= _FEWEST and all(tensor.numel == 0 for tensor in weights):
            message = (
                f"all {len(weights)} weights are empty, `{weights[0].path}` first: "
                "it was saved under ZeRO-3 without gathering the parts of each tensor"
            )
            yield rule.finding_on(section or weights[0].path, message, severity="error")


RULE = Rule(code="BUF309", name="empty-tensor", explanation=__doc__ or "", check=find_empty_checkpoints)
