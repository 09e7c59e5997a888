"""How often the roles that bufscan infers from files are right, on models whose roles are known.

    python tests/bench/role_accuracy.py [--random 100] [--transformers 100] [--timm 60] [--only TEXT]

Every model is saved in many ways, read by bufscan, and compared with the module it came from. Packages that are
not installed are passed over.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import itertools
import sys
import tempfile
import time
from collections import Counter, OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from role_models import quiet, random_models, timm_models, torch_models, transformers_models
from safetensors import TensorSpec, serialize
from torch import nn

from bufscan.inspecting import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from role_models import Named

REACH = 0.995


class Saved(NamedTuple):
    """A way to save a model: what is written, and the true role of every entry by its path in it."""

    way: str
    content: Any
    truth: dict[str, str]
    safetensors: bool = False


class Verdict(NamedTuple):
    certainty: str
    evidence: str
    truth: str
    right: bool


def true_roles(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """By name of the entry: what the model registered it as."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return {
        name: "parameter" if name in parameters else "persistent_buffer" if name in buffers else "unregistered"
        for name in names
    }


def under(section: str, truth: dict[str, str]) -> dict[str, str]:
    return {f"{section}.{name}": role for name, role in truth.items()}


def ways_to_save(model: nn.Module) -> Iterator[Saved]:
    state = model.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    truth = true_roles(model, state)
    yield Saved("state_dict", state, truth)
    yield Saved("plain dict", dict(state), truth)
    yield Saved("sorted dict", dict(sorted(state.items())), truth)
    yield Saved("safetensors", {n: v.clone().contiguous() for n, v in tensors.items()}, truth, safetensors=True)
    wrapped = renamed_in_place(model.state_dict(), lambda name: f"wrapped.{name}")
    yield Saved("renamed in place", wrapped, {f"wrapped.{name}": role for name, role in truth.items()})
    yield partly_renamed(model)
    yield with_one_weight_moved(model)
    yield with_ghosts(model)
    for way, optimizer in optimizers(model):
        saved = {"model": state, "optimizer": optimizer, "epoch": 3}
        yield Saved(way, saved, under("model", truth))
    plain = {"net": dict(state), "optim": stepped(torch.optim.AdamW, list(model.parameters()))}
    yield Saved("AdamW, plain dict", plain, under("net", truth))
    ema = {
        "model": state,
        "ema": copy.deepcopy(state),
        "optimizer": stepped(torch.optim.Adam, [*model.parameters()]),
    }
    yield Saved("Adam, moving average", ema, under("model", truth) | under("ema", truth))


def partly_renamed(model: nn.Module) -> Saved:
    """The last part of the model under another name, as scripts that convert checkpoints do."""
    state, last = model.state_dict(), [name for name, _ in model.named_children()][-1]

    def rename(name: str) -> str:
        return f"renamed.{name.removeprefix(f'{last}.')}" if name.startswith(f"{last}.") else name

    truth = {rename(name): role for name, role in true_roles(model, state).items()}
    return Saved("partly renamed in place", renamed_in_place(state, rename), truth)


def with_one_weight_moved(model: nn.Module) -> Saved:
    """The last weight under a module that there was not."""
    state = model.state_dict()
    moved = [name for name in state if name.endswith("weight")][-1:]

    def rename(name: str) -> str:
        return f"moved.{name.rpartition('.')[2]}" if name in moved else name

    truth = {rename(name): role for name, role in true_roles(model, state).items()}
    return Saved("one weight moved in place", renamed_in_place(state, rename), truth)


def with_ghosts(model: nn.Module) -> Saved:
    """Entries of no module, put in by hand."""
    state = model.state_dict()
    ghosts = ("ghost.weight", "ghost.mean", "head.ghosts.bias")
    truth = true_roles(model, state) | dict.fromkeys(ghosts, "unregistered")
    state.update(dict.fromkeys(ghosts, torch.zeros(3)))
    return Saved("with entries of no module", state, truth)


def renamed_in_place(state: OrderedDict[str, Any], rename: Callable[[str], str]) -> OrderedDict[str, Any]:
    for name in list(state):
        state[rename(name)] = state.pop(name)
    return state


def optimizers(model: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    """State of optimizers after a step, by how they were given the parameters."""
    named = list(model.named_parameters())
    parameters = [parameter for _, parameter in named]
    third = len(parameters) // 3
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    yield "AdamW, one group", stepped(torch.optim.AdamW, parameters)
    yield (
        "AdamW, decay and no decay",
        stepped(torch.optim.AdamW, [{"params": group} for group in (matrices, others) if group]),
    )
    yield "AdamW, a group each", stepped(torch.optim.AdamW, [{"params": [each]} for each in parameters])
    yield "SGD with momentum", stepped(lambda given: torch.optim.SGD(given, lr=0.1, momentum=0.9), parameters)
    yield "SGD", stepped(lambda given: torch.optim.SGD(given, lr=0.1), parameters)
    yield "AdamW, frozen and not given", stepped(torch.optim.AdamW, parameters[third:])
    yield "AdamW, head only", stepped(torch.optim.AdamW, parameters[-2:])
    yield "AdamW, frozen but given", stepped(torch.optim.AdamW, parameters, without_grad=parameters[:third])
    yield "AdamW, named", stepped(torch.optim.AdamW, named)


def stepped(
    make: Callable[[Any], torch.optim.Optimizer], given: list[Any], without_grad: Iterable[nn.Parameter] = ()
) -> dict[str, Any]:
    if not given:
        return {"state": {}, "param_groups": []}
    with quiet():
        optimizer = make(given)
        idle = {id(parameter) for parameter in without_grad}
        for parameter in itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups):
            parameter.grad = None
            if parameter.requires_grad and id(parameter) not in idle:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    return optimizer.state_dict()


def as_safetensors(state: dict[str, torch.Tensor]) -> bytes:
    """What `safetensors.torch.save` gives, which itself needs numpy."""
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in state.items()
    }
    return bytes(serialize(specs))


def judge(saved: Saved, folder: Path) -> Iterator[tuple[str, Verdict]]:
    """Path and verdict of every entry that is not training state, as bufscan sees the file."""
    path = folder / "saved"
    if saved.safetensors:
        path.write_bytes(as_safetensors(saved.content))
    else:
        torch.save(saved.content, path)
    for tensor in inspect(str(path)).tensors:
        truth = saved.truth.get(tensor.path, "unregistered" if "_extra_state" in tensor.path else "training_state")
        if truth != "training_state" or tensor.role != "training_state":
            verdict = Verdict(tensor.certainty, tensor.evidence, truth, tensor.role == truth)
            yield tensor.path, verdict


class Score:
    """Counts verdicts, and keeps those that were wrong though bufscan did not call them assumed."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.by_way: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.files = 0

    def add(self, model: Named, saved: Saved, folder: Path) -> None:
        self.files += 1
        for path, verdict in judge(saved, folder):
            self.verdicts[verdict] += 1
            outcome = "open" if verdict.certainty == "assumed" else "right" if verdict.right else "wrong"
            self.by_way[saved.way, outcome] += 1
            if outcome == "wrong":
                self.wrong.append(f"{model.name} | {saved.way} | {path}: {verdict.evidence}, is {verdict.truth}")

    def rate(self, certainty: str) -> tuple[int, int]:
        """Right verdicts, and all."""
        counts = Counter[bool]()
        for verdict, count in self.verdicts.items():
            if verdict.certainty == certainty:
                counts[verdict.right] += count
        return counts[True], counts.total()

    def show(self) -> None:
        print(f"\n{'evidence':44} {'certainty':9} {'is':18} {'right':>9} {'wrong':>7}")
        rows = sorted({(v.evidence, v.certainty, v.truth) for v in self.verdicts})
        for evidence, certainty, truth in rows:
            right, wrong = (
                self.verdicts[Verdict(certainty, evidence, truth, is_right)] for is_right in (True, False)
            )
            print(f"{evidence[:44]:44} {certainty:9} {truth:18} {right:9} {wrong:7}")
        print(f"\n{'saved as':32} {'right':>9} {'wrong':>7} {'open':>9}")
        for way in dict.fromkeys(way for way, _ in self.by_way):
            right, wrong, left = (self.by_way[way, outcome] for outcome in ("right", "wrong", "open"))
            print(f"{way:32} {right:9} {wrong:7} {left:9}")
        print()
        for line in self.wrong:
            print("wrong:", line)
        for certainty in ("inferred", "exact", "assumed"):
            right, total = self.rate(certainty)
            print(f"{certainty}: {right} of {total} right, {right / total:.4%}" if total else f"{certainty}: none")


def models(arguments: argparse.Namespace) -> Iterator[Named]:
    yield from torch_models()
    yield from random_models(arguments.random)
    for package, found, count in (
        ("transformers", transformers_models, arguments.transformers),
        ("timm", timm_models, arguments.timm),
    ):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: its models are passed over")
        else:
            yield from found(count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=100, help="random module trees (default 100)")
    parser.add_argument("--transformers", type=int, default=100, help="models of transformers (default 100)")
    parser.add_argument("--timm", type=int, default=60, help="models of timm (default 60)")
    parser.add_argument("--only", default="", help="only models with this text in their names")
    arguments = parser.parse_args()

    score, measured, started = Score(), 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for named in models(arguments):
            if arguments.only in named.name:
                torch.manual_seed(0)
                with quiet():
                    model = named.build()
                for saved in ways_to_save(model):
                    score.add(named, saved, Path(folder))
                measured += 1
    print(f"{measured} models, {score.files} files, {time.perf_counter() - started:.0f} s")
    score.show()
    right, total = score.rate("inferred")
    exact_right, exact_total = score.rate("exact")
    return 0 if exact_right == exact_total and right >= REACH * total else 1


if __name__ == "__main__":
    sys.exit(main())
