"""Checkpoints of several files or folders that are not shards of one: each rank's, each component's of a pipeline.

They become one inventory in which every file, or folder, is a section.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bufscan.inventory import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bufscan.inventory import Inventory, Tensor

# DeepSpeed (`mp_rank_00_model_states.pt`, `bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt`), Llama, and what
# others call a file that one rank wrote (verl: `model_world_size_2_rank_0.pt`).
_OF_RANK = re.compile(r"(?:.*(?:^|[_.-])rank[_-]?\d+.*|consolidated\.\d{2}|expp_rank_\d+.*)\.(?:pt|pth|bin|ckpt)")
_NOT_TENSORS = re.compile(r"(?:rng|random|scheduler|dataloader|extra_state|data)[_.-]")
_NUMBER = re.compile(r"(?<=rank_)\d+|(?<=rank)\d+|(?<=rank-)\d+|(?<=^consolidated\.)\d+")
_WORLD_SIZE = re.compile(r"world_size_(\d{1,6})")
_MOST_RANKS = 10_000
_MOST_TOLD = 20

COMPONENT = re.compile(r"mp_rank_\d+(?:_\d+)*|pytorch_model_fsdp_\d+|optimizer_\d+")
"""Names of folders that are parts of a checkpoint: Megatron's ranks, and accelerate's under FSDP."""


def files_of_ranks(names: Sequence[str]) -> tuple[str, ...]:
    """The files that ranks wrote, where there are several; Llama's and DeepSpeed's among them."""
    found = tuple(name for name in names if _OF_RANK.fullmatch(name) and not _NOT_TENSORS.match(name))
    return found if len(found) > 1 else ()


def absent_ranks(names: Sequence[str]) -> Iterator[Skipped]:
    """The files that the numbers in these names leave out: of ranks 0 and 2, that of rank 1."""
    series: dict[str, dict[int, str]] = {}
    for name in names:
        numbers = list(_NUMBER.finditer(name))
        for found in numbers[:1]:
            pattern = f"{name[: found.start()]}\0{name[found.end() :]}"
            series.setdefault(pattern, {})[int(found[0])] = found[0]
    told = 0
    for pattern, present in series.items():
        claimed = _WORLD_SIZE.search(pattern)
        count = min(int(claimed[1]) if claimed else max(present) + 1, _MOST_RANKS)
        width = len(next(iter(present.values()))) if len({len(each) for each in present.values()}) == 1 else 1
        for number in range(count):
            if number not in present and told < _MOST_TOLD:
                told += 1
                yield Skipped(what=pattern.replace("\0", f"{number:0{width}}"), reason="no such file", failed=True)


def below_section(inventory: Inventory, section: str) -> Inventory:
    """The inventory as a section of a larger one."""

    def placed(inner: str) -> str:
        return f"{section}.{inner}" if inner else section

    return replace(
        inventory,
        tensors=tuple(replace(each, section=placed(each.section)) for each in inventory.tensors),
        module_trees=tuple(replace(each, section=placed(each.section)) for each in inventory.module_trees),
        optimizers=tuple(replace(each, section=placed(each.section)) for each in inventory.optimizers),
        extra_states=tuple(replace(each, section=placed(each.section)) for each in inventory.extra_states),
        whole_modules=tuple(map(placed, inventory.whole_modules)),
        plain=tuple(replace(each, path=placed(each.path)) for each in inventory.plain),
        training=tuple(replace(each, path=placed(each.path)) for each in inventory.training),
    )


def below_folder(inventory: Inventory, folder: str) -> Inventory:
    """The inventory of a folder in another: the files in which its tensors lie are named from there."""
    return replace(
        inventory,
        tensors=tuple(
            replace(each, file=f"{folder}/{each.file}") if each.file else each for each in inventory.tensors
        ),
        storages={
            key: replace(storage, file=f"{folder}/{storage.file}") for key, storage in inventory.storages.items()
        },
    )


def together(parts: Iterable[tuple[str, Inventory]], target: str, kind: str) -> Inventory:
    """One inventory of the parts, each below its name; `kind` is its format."""
    shown = [(name, below_section(inventory, name)) for name, inventory in parts]
    inventories = [inventory for _, inventory in shown]
    return replace(
        inventories[0],
        target=target,
        format=kind,
        tensors=tuple(_keyed(shown)),
        storages={
            f"{name}:{key}": replace(storage, key=f"{name}:{key}")
            for name, inventory in shown
            for key, storage in inventory.storages.items()
        },
        module_trees=tuple(each for inventory in inventories for each in inventory.module_trees),
        optimizers=tuple(each for inventory in inventories for each in inventory.optimizers),
        extra_states=tuple(each for inventory in inventories for each in inventory.extra_states),
        whole_modules=tuple(each for inventory in inventories for each in inventory.whole_modules),
        training=tuple(each for inventory in inventories for each in inventory.training),
        foreign_names=tuple(
            replace(each, where=f"{each.where} in {name}")
            for name, inventory in shown
            for each in inventory.foreign_names
        ),
        anomalies=tuple(
            replace(each, message=f"{name}: {each.message}")
            for name, inventory in shown
            for each in inventory.anomalies
        ),
        skipped=tuple(
            replace(each, what=f"{name}: {each.what}") for name, inventory in shown for each in inventory.skipped
        ),
        metadata={f"{name}: {key}": text for name, inventory in shown for key, text in inventory.metadata.items()},
        notes=tuple(dict.fromkeys(f"{name}: {note}" for name, inventory in shown for note in inventory.notes)),
        plain=tuple(each for inventory in inventories for each in inventory.plain),
    )


def _keyed(parts: Iterable[tuple[str, Inventory]]) -> Iterator[Tensor]:
    """The tensors with the keys that their storages have in the whole."""
    for name, inventory in parts:
        for tensor in inventory.tensors:
            key = None if tensor.storage is None else f"{name}:{tensor.storage}"
            inner = tuple(
                replace(part, storage=None if part.storage is None else f"{name}:{part.storage}")
                for part in tensor.parts
            )
            yield replace(tensor, storage=key, parts=inner)
