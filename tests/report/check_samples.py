"""A check's result made by hand, with one of everything that a report has to show."""

from __future__ import annotations

from typing import Any

from bufscan.checking.results import CheckResult, Failure, Ignored, Known, TargetResult
from bufscan.findings import Finding
from bufscan.inventory import Location, Skipped
from bufscan.rules import RULES

NAMES = {rule.code: rule.name for rule in RULES}


def finding(code: str, tensor: str, message: str, **fields: Any) -> Finding:
    return Finding(
        **({"code": code, "name": NAMES[code], "severity": "error", "tensor": tensor} | fields), message=message
    )


def at(line: int, file: str = "src/models.py") -> Location:
    return Location(file=file, line=line)


def plain(tensor: str, line: int, **fields: Any) -> Finding:
    """An attribute that nobody registered."""
    name = tensor.rpartition(".")[2]
    fix = f'self.register_buffer("{name}", torch.zeros(16, 4), persistent=False)'
    message = f"`{tensor}` is a plain attribute: it is not saved and does not move with the model"
    return finding("BUF001", tensor, message, **({"location": at(line), "suggestion": fix} | fields))


def result(*targets: TargetResult, **fields: Any) -> CheckResult:
    return CheckResult(targets=targets, rules=RULES, **fields)


def sample() -> CheckResult:
    model = TargetResult(
        target="package.models:Encoder",
        findings=(
            *(plain(f"blocks[{index}].pe", 21) for index in range(8)),
            plain("scale", 30, severity="note", suggestion=None),
            finding(
                "BUF204",
                "rope.inv_freq",
                "`rope.inv_freq`, built on meta, is not saved: no checkpoint fills it after to_empty()",
                severity="warning",
            ),
        ),
        ignored=(
            Ignored(finding=plain("cache", 33), by="source", reason="made anew in forward"),
            Ignored(finding=plain("legacy", 34), by="config", reason="until the next release"),
            Ignored(finding=plain("known", 35), by="baseline", reason="known before"),
        ),
        skipped=(Skipped(what="vocabulary", reason="over 100,000 objects or 60 steps: not all examined"),),
    )
    checkpoint = TargetResult(
        target="weights/model.pt",
        file="weights/model.pt",
        findings=(
            finding(
                "BUF203",
                "",
                "5 tensors were saved on cuda:0: torch.load without map_location fails",
                severity="warning",
            ),
            finding("BUF301", "head.bias", "the checkpoint lacks `head.bias`: strict loading fails"),
        ),
        skipped=(Skipped(what="shard 2", reason="no such file", failed=True),),
    )
    broken = TargetResult(
        target="package.models:Decoder",
        failure=Failure(
            message="`Decoder()` raised MemoryError (src/models.py:80)",
            hint="build it without memory: `--device meta`",
        ),
    )
    clean = TargetResult(target="package.models:Linear")
    fixed = (Known(target="package.models:Encoder", code="BUF001", tensor="mask"),)
    return result(model, checkpoint, broken, clean, fixed=fixed)
