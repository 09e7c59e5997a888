"""The working record of a decision: a checkpoint's sections, what is known of their entries, and the claims made.

Evidence reads it and claims entries in it; a claimed or stated entry is never claimed again.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bufscan.dtypes import DTYPES
from bufscan.roles.module_order import lies_in_module_order
from bufscan.tensor_names import names_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bufscan.inventory import Certainty, Holding, Inventory, Optimizer, PackedWeight, Role, Tensor

BUFFERS: frozenset[Role] = frozenset({"persistent_buffer", "non_persistent_buffer"})

_GRAD_DTYPES = frozenset(name for name, dtype in DTYPES.items() if dtype.can_require_grad)

# Every optimizer is compared with every section. Training uses a few; thousands are made to take long.
_MOST_OPTIMIZERS = 8


class Claim(NamedTuple):
    """What a piece of evidence says of an entry.

    Attributes:
        trains: None where the evidence says nothing of training.
        holding: how an unregistered entry came to be in the state_dict.
    """

    role: Role
    evidence: str
    certainty: Certainty = "inferred"
    trains: bool | None = None
    holding: Holding | None = None


class Section:
    """One state_dict under judgement: entries in file order, addressed by their position in it.

    Attributes:
        name: the section's dotted key path.
        tensors, places: its entries, and where each stands in the inventory.
        roles: role of each entry as stated or claimed; None while open.
        claims: by position.
        owners, leaves: each entry's name, cut at its last dot.
        tree: prefix of every module with its version, in module order; None where the artefact has none, or
            one that does not fit its entries.
        misfit: how many entries the tree did not explain when it was set aside.
        torch_order: whether the format keeps the order in which `state_dict()` lists entries.
    """

    def __init__(
        self,
        name: str,
        tensors: list[Tensor],
        places: list[int],
        *,
        tree: dict[str, int | None] | None = None,
        torch_order: bool,
    ) -> None:
        self.name = name
        self.tensors = tensors
        self.places = places
        self.tree = tree
        self.misfit = 0
        self.torch_order = torch_order
        self.roles: list[Role | None] = [
            None if tensor.certainty == "assumed" else tensor.role for tensor in tensors
        ]
        self.claims: dict[int, Claim] = {}
        cut = [tensor.name.rpartition(".") for tensor in tensors]
        self.owners = [owner for owner, _, _ in cut]
        self.leaves = [leaf for _, _, leaf in cut]

    @cached_property
    def modules(self) -> dict[str, dict[str, int]]:
        """Owner prefix -> leaf name -> position, everything in file order."""
        modules: dict[str, dict[str, int]] = {}
        for position, (owner, leaf) in enumerate(zip(self.owners, self.leaves, strict=True)):
            modules.setdefault(owner, {})[leaf] = position
        return modules

    @cached_property
    def positions(self) -> dict[str, int]:
        """Entry name -> position."""
        return {tensor.name: position for position, tensor in enumerate(self.tensors)}

    @cached_property
    def in_module_order(self) -> bool:
        """Whether the entries lie as `state_dict()` listed them. Ask once `tree` is known to fit."""
        return self.torch_order and lies_in_module_order(self.modules, self.owners, self.tree)

    def settle(self, positions: Iterable[int], claim: Claim) -> None:
        """Claim entries, except those that are settled already: stronger evidence comes first.

        What agrees with an earlier claim may still add to it that the parameter was trained.
        """
        for position in positions:
            earlier = self.claims.get(position)
            if self.roles[position] is None:
                self.roles[position] = claim.role
                self.claims[position] = claim
            elif claim.trains and earlier is not None and earlier.role == claim.role:
                self.claims[position] = earlier._replace(trains=True)

    def trainable(self) -> list[int]:
        """Positions of the entries an optimizer could hold, each tied tensor once."""
        return [
            position
            for position, (tensor, role) in enumerate(zip(self.tensors, self.roles, strict=True))
            if (role is None or role == "parameter")
            and tensor.dtype in _GRAD_DTYPES
            and tensor.shape is not None
            and tensor.alias_of is None
        ]


class Checkpoint:
    """Everything `decide` weighs: the sections that hold model tensors, and the optimizers beside them.

    Attributes:
        optimizers: the first few that the artefact holds.
        notes: sentences for the user about evidence that was disregarded.
        packed: quantised weights that were recognised.
    """

    def __init__(self, sections: list[Section], optimizers: Sequence[Optimizer] = ()) -> None:
        self.sections = sections
        self.optimizers = optimizers[:_MOST_OPTIMIZERS]
        self.notes: list[str] = []
        self.packed: list[PackedWeight] = []
        if len(optimizers) > _MOST_OPTIMIZERS:
            self.notes.append(f"only {_MOST_OPTIMIZERS} of {len(optimizers)} optimizers were weighed as evidence")

    @classmethod
    def of(cls, inventory: Inventory) -> Checkpoint:
        """Group the tensors that may be entries of a state_dict by section; training state is none."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, tensor in enumerate(inventory.tensors):
            if tensor.role != "training_state" and names_entry(tensor.name):
                places[tensor.section].append(place)
        trees = {tree.section: tree.versions for tree in inventory.module_trees}
        torch_order = inventory.format.startswith("torch")
        sections = [
            Section(
                name,
                [inventory.tensors[place] for place in inside],
                inside,
                tree=trees.get(name),
                torch_order=torch_order,
            )
            for name, inside in places.items()
        ]
        return cls(sections, inventory.optimizers)

    @property
    def claimed(self) -> int:
        """Entries claimed so far."""
        return sum(len(section.claims) for section in self.sections)
