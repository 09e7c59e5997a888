"""What was found in a target: immutable records of tensors, storages and everything that was not examined.

Readers and the live walk make these records, `roles/` sharpens the ones that are only assumed, reports show
them. Nothing here reads files or judges.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, get_args

import msgspec

from bufscan.dtypes import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = TypeVar("Kind", bound=str)

Role = Literal["parameter", "persistent_buffer", "non_persistent_buffer", "unregistered", "training_state"]
Certainty = Literal["exact", "inferred", "assumed"]

Holding = Literal[
    # Held where registration does not look: not saved, and left behind by `.to()`.
    "attribute",
    "container",
    "object",
    "partial",
    "hook",
    "closure",
    "default_argument",
    "class_attribute",
    "global",
    "cached_result",
    "constant",
    "hidden_module",
    "stale_alias",
    "second_reference",
    "cache",
    "carried",
    "state",
    "lost_parameter",
    "maybe_computed",
    # Neither parameter nor buffer, but none of the user's mistakes.
    "moved_by_apply",
    "computed",
    "recomputed",
    "made_by_forward",
    "follows_device",
    "seed",
    "framework",
    # In the state_dict alone.
    "state_dict_only",
    "extra_state",
    "packed_params",
    "code_constant",
    # Registered, but the model's attribute of that name is something else.
    "shadowed_by_instance",
    "shadowed_by_class",
    # Registered, and one tensor with another registered one until `.to()`.
    "split_by_move",
    "split_view",
]
"""How a tensor is held: one word for machines.

`hidden_module`: in a module that no module registers. `stale_alias`: shows elements of a registered tensor,
until `.to()` leaves it behind. `second_reference`: a registered Parameter without values yet. `cached_result`:
what a functools cache keeps. `constant`: of a TorchScript graph. `cache`: a forward pass assigns it anew, from
other things. `carried`: every use of it in a forward pass begins with taking it to a device. `state`: a forward
pass computes it from its own old value, or sets it only while training. `lost_parameter`: computed from an
`nn.Parameter` that the model does not hold (`nn.Parameter(x).to(dtype)`). `maybe_computed`: requires grad, and a
file does not say whether autograd computed it. `moved_by_apply`: an overridden `_apply` moves it. `computed`: a
result of autograd. `recomputed`: a hook computes it at every forward pass (old `weight_norm`).
`made_by_forward`: of a model that was watched, not there before its first forward pass; or noted by a hook.
`follows_device`: a cache with an entry for each device, or made anew where that differs. `seed`: a class
attribute that only objects are made from. `framework`: what a framework moves itself. `packed_params`: of a
quantised module. `code_constant`: written in the code of a compiled program. `split_by_move`: `.to()` makes two of
it, and one is written to. `split_view`: the same, and none is.
"""

HARMLESS_HOLDINGS: frozenset[str] = frozenset(
    (
        *("moved_by_apply", "computed", "recomputed", "made_by_forward", "follows_device", "seed", "framework"),
        *("extra_state", "packed_params", "code_constant"),
    )
)
"""Ways of holding an unregistered tensor that no one needs to be told of."""

ROLES: tuple[Role, ...] = get_args(Role)
CERTAINTIES: tuple[Certainty, ...] = get_args(Certainty)

ASSUMED_EVIDENCE = "nothing says otherwise"

_DTYPES = frozenset({None, *DTYPES})


class Location(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A place in source text. `line` counts from 1."""

    file: str
    line: int


class Storage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run of bytes that one or more tensors look at.

    Attributes:
        key: its name, unique within the inventory.
        nbytes: bytes the artefact spends on it.
        file: the file that holds it, relative to the target folder; None when the target is one file.
        offset: where its bytes start in that file; None when they do not lie there as they are
            (compressed, or a live tensor's).
        byteorder: of the elements.
        data: the bytes themselves, where the artefact does not hold them as they are but they were decoded.
    """

    key: str
    nbytes: int
    file: str | None = None
    offset: int | None = None
    byteorder: Literal["little", "big"] = "little"
    data: bytes | None = None

    def __post_init__(self) -> None:
        if self.nbytes < 0 or (self.offset is not None and self.offset < 0):
            raise ValueError(f"storage {self.key!r} has a negative size or offset")


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One strided tensor inside a compound one: the values of a sparse tensor, the scales of a quantised one.

    `storage_offset` and `stride` count elements of `dtype`, as in torch.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stride: tuple[int, ...]
    storage: str | None = None
    storage_offset: int = 0
    device: str | None = None


class Quantization(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How the codes of a quantised tensor become values: `(code - zero_point) * scale`.

    Attributes:
        scale, zero_point: of the whole tensor; None where each channel has its own, in the parts `scales` and
            `zero_points`.
        axis: the dimension that counts the channels; None for one scale.
    """

    scale: float | None = None
    zero_point: int | None = None
    axis: int | None = None


class Slot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a model holds wrongly, by the names that its source has for it: enough to look for an edit.

    Attributes:
        file: the absolute path of the source that assigns it; "" where that is not known.
        owner: the qualified name of the class whose body or method does; "" for a global.
        attribute: what the class, or the code, calls it.
        code: of the rule that it breaks.
        kind: how it is held, as in `bufscan.source.faults.Fault`.
    """

    file: str
    owner: str
    attribute: str
    code: str
    kind: str


class Tensor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One named tensor and what is known of it.

    Attributes:
        name: its key in the state_dict, or its path, which ends as Python would write it (`blocks.0.tables[1]`).
        section: dotted key path of the state_dict or module that holds it; "" at the top.
        role, certainty, evidence: what it is, how sure that is, and what decided it.
        shape: None where no fixed shape exists (uninitialised, ragged). Global shape of a sharded tensor.
        dtype: torch's name; None for an uninitialised tensor.
        device: as the artefact records it (`cpu`, `cuda:0`, `meta`); None where it records none.
        layout: torch's layout without `torch.`; `storage` for a bare storage object.
        stride, storage_offset: in elements; None and 0 where the tensor is made of `parts`.
        storage: key of its storage; None for meta, uninitialised and compound tensors.
        stored_bytes: bytes the artefact spends on it: the whole storage for a view, the sum for a compound.
        requires_grad: as recorded; None where the artefact says nothing (a detached state_dict).
        saved, moves, trains: in the state_dict; follows `.to(device)`; an optimizer updates it. None: unknown.
        alias_of: name of the entry in the same section whose very elements it shows.
        origin: where the source assigns it; only for live models.
        slot: by which names its source has it, where it is held wrongly; only for live models.
        suggestion: the line of source that would mend that; only for live models.
        suggestion_note: what that line does to old checkpoints; what to do, where no line is known.
        holding: how an unregistered tensor is held, one of `Holding`; or what hides a registered one.
        holder: path of the outermost module on the way that no module registers, or whose registered name is
            hidden.
        declared: what the object itself was made as, whatever it is registered as: an `nn.Parameter`, an
            `nn.Buffer`, or None for a plain tensor and where unknown.
        saved_as: its key in the model's state_dict, where that is another than `name`; only for live models.
        is_reset: whether the `reset_parameters()` of its module makes it again; only for non-persistent buffers
            that were built on the meta device.
        moved_by_hand: whether a rehearsed forward pass carried it over to the device at each use.
        lost_on_reload: whether a fresh model that loaded this one's state_dict was seen to have other values.
        file: the shard that holds it, relative to the target folder; None when the target is one file.
        type_name: qualified name of a tensor subclass; None for torch.Tensor, Parameter and Buffer.
        local_shape, placements: this process's shard of a distributed tensor, and how it was cut.
        local_shapes: the different shapes of its shards, where all ranks told theirs; the first rank's first.
        parts: the strided tensors a compound tensor is made of.
        quantization: of a tensor that torch itself quantised.
        pending: `conj`, `neg`: what torch does to the stored elements whenever it reads them.
    """

    name: str
    section: str = ""
    role: Role = "parameter"
    certainty: Certainty = "assumed"
    evidence: str = ASSUMED_EVIDENCE
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    device: str | None = None
    layout: str = "strided"
    stride: tuple[int, ...] | None = None
    storage: str | None = None
    storage_offset: int = 0
    stored_bytes: int = 0
    requires_grad: bool | None = None
    saved: bool | None = None
    moves: bool | None = None
    trains: bool | None = None
    alias_of: str | None = None
    origin: Location | None = None
    slot: Slot | None = None
    suggestion: str | None = None
    suggestion_note: str | None = None
    holding: str | None = None
    holder: str | None = None
    declared: Literal["parameter", "buffer"] | None = None
    saved_as: str | None = None
    is_reset: bool = False
    moved_by_hand: bool = False
    lost_on_reload: bool = False
    file: str | None = None
    type_name: str | None = None
    local_shape: tuple[int, ...] | None = None
    local_shapes: tuple[tuple[int, ...], ...] = ()
    placements: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    quantization: Quantization | None = None
    pending: tuple[Literal["conj", "neg"], ...] = ()

    def __post_init__(self) -> None:
        shape = self.shape
        if shape and min(shape) < 0:
            raise ValueError(f"tensor {self.name!r} has a negative dimension")
        if self.dtype not in _DTYPES:
            raise ValueError(f"tensor {self.name!r} has no torch dtype: {self.dtype!r}")

    @property
    def numel(self) -> int | None:
        """Elements in all; None where no fixed shape exists."""
        return None if self.shape is None else prod(self.shape)

    @property
    def nbytes(self) -> int | None:
        """Bytes its elements would take one by one: numel x itemsize."""
        if self.shape is None or self.dtype is None:
            return None
        return (prod(self.shape) * DTYPES[self.dtype].bits + 7) // 8

    @property
    def path(self) -> str:
        """Section and name together: unique within an inventory of well-formed files."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def lacks_registration(self) -> bool:
        """Whether it should be registered and is not; some are looked after in another way."""
        return self.role == "unregistered" and self.holding not in HARMLESS_HOLDINGS


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not examined, and why.

    Attributes:
        failed: whether it is part of the target and could not be examined, so that nothing may be called clean.
        stanza: what to fill in and write into the configuration, so that it is built; None where nothing helps.
    """

    what: str
    reason: str
    failed: bool = False
    stanza: str | None = None


class PlainValue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A value beside the tensors of an artefact, such as a learning rate: nothing that could be called or run.

    Attributes:
        path: keys and attributes with dots, as a section: `optimizer.param_groups[0].lr`.
        text: what it is, exactly: its repr, or length and hash of what is long.
        kind: `int`, `str`, `class`, ...; values of one kind are equal when their texts are.
        reason: why that is not known; then `text` is empty.
        origin: `version` in a state_dict's `_metadata`, `module` inside a whole module; else None.
    """

    path: str
    text: str = ""
    kind: str = ""
    reason: str | None = None
    origin: Literal["version", "module"] | None = None


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Something about the container that a well-formed file does not have.

    Attributes:
        kind: a stable word for machines (`trailing_bytes`, `compressed_record`).
        message: one sentence for people.
    """

    kind: str
    message: str


class ForeignName(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a pickle refers to beyond torch's own reconstruction functions: whoever loads it, imports that.

    Attributes:
        name: `module.attribute`, as the pickle spells it.
        use: `called`: with arguments, as a function or a class; `made`: the `__new__` of a class makes an object;
            `named`: it is only mentioned.
        library: the library that is known to write the name, used so; None for any other name.
        is_module: whether the objects that are made of it look like modules of torch.nn.
        call: the first call as Python would write it, abbreviated; "" where there is none.
        where: the pickle that mentions it first, and the byte in there.
    """

    name: str
    use: Literal["called", "made", "named"] = "named"
    library: str | None = None
    is_module: bool = False
    call: str = ""
    where: str = ""


class PackedWeight(msgspec.Struct, frozen=True, kw_only=True):
    """A quantised weight that a library packed into several entries.

    Attributes:
        name: what the weight is called where it is not packed; `section` is where it lies.
        scheme: who packs so.
        bits: of one element; None where the entries do not tell.
        shape, numel: of the unpacked weight; None where the entries do not tell.
        members: the names of its entries.
        stored_bytes: what these take together.
    """

    name: str
    section: str = ""
    scheme: str
    bits: int | None = None
    shape: tuple[int, ...] | None = None
    numel: int | None = None
    members: tuple[str, ...] = ()
    stored_bytes: int = 0


class OptimizerGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter group of a saved optimizer, in the order the parameters were passed.

    Attributes:
        shapes: shape of each parameter as its state shows it; None where no state shows one.
        names: the parameters' names, where the optimizer was given them; else None.
        settings: learning rate, weight decay and so on, as exact text by their names.
    """

    shapes: tuple[tuple[int, ...] | None, ...]
    names: tuple[str, ...] | None = None
    settings: dict[str, str] = {}


class Optimizer(msgspec.Struct, frozen=True, kw_only=True):
    """A saved optimizer: evidence of what was trained.

    Attributes:
        section: where it lies.
        groups: of its parameters.
        kind: the classes of torch.optim that keep such a state, as `Adam or AdamW`; None where none does.
    """

    section: str
    groups: tuple[OptimizerGroup, ...]
    kind: str | None = None

    @property
    def sizes(self) -> list[int]:
        """How many parameters each group has."""
        return [len(group.shapes) for group in self.groups]


class ModuleTree(msgspec.Struct, frozen=True, kw_only=True):
    """The `_metadata` of a state_dict: every module's prefix with its `_version` (None where it is no int)."""

    section: str
    versions: dict[str, int | None]


class ExtraState(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that `get_extra_state` gave a state_dict, whatever it is; `section` is where that lies."""

    section: str
    key: str


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that a checkpoint and a model both have, but differently; pairs are (checkpoint, model).

    Attributes:
        name: as the checkpoint has it.
        shape, dtype: None where they agree, or where one side does not say.
        role: None where they agree, or where the checkpoint itself does not state one.
    """

    name: str
    shape: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    dtype: tuple[str, str] | None = None
    role: tuple[Role, Role] | None = None


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """How one section of a checkpoint fits a live model.

    Attributes:
        model: the model's target.
        section: the section of the checkpoint.
        matched: entries that the model saves too.
        missing: what the model saves and the checkpoint lacks, as the model's records.
        missing_extra_states: keys of extra states that the model saves and the checkpoint lacks, as the model's.
        unexpected: names of entries that the model does not register.
        saved_non_persistent: names of entries that the model registers with persistent=False.
        mismatched: entries of another shape or dtype.
        tied: names that the checkpoint lacks because it has the same tensor under another.
        checkpoint_prefix, model_prefix: what was taken off the names of either side to make them meet.
        wrappers: parts of names (`_orig_mod`) that were left out wherever they stand, on both sides.
    """

    model: str
    section: str = ""
    matched: int = 0
    missing: tuple[Tensor, ...] = ()
    missing_extra_states: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    saved_non_persistent: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    tied: tuple[str, ...] = ()
    checkpoint_prefix: str = ""
    model_prefix: str = ""
    wrappers: tuple[str, ...] = ()


class RoleTotal(NamedTuple):
    """Entries of one role, and the elements and bytes of the distinct ones among them."""

    tensors: int
    numel: int
    nbytes: int


class RankShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one of several processes holds of a model.

    Attributes:
        rank: its number.
        host: where it runs.
        stored_bytes: of its own shards, and of what all hold.
    """

    rank: int
    host: str
    stored_bytes: int


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a model that some ranks have otherwise than the first.

    Attributes:
        name: its path.
        aspect: in what: a field of its record, or `presence`.
        first: as the first rank has it, in words.
        others: as other ranks have it, each with their numbers.
    """

    name: str
    aspect: str
    first: str
    others: dict[str, tuple[int, ...]]


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one target holds.

    Attributes:
        target: as the user named it.
        format: `torch-zip`, `torch-legacy`, `torchscript`, `torch-export`, `safetensors`, `safetensors-sharded`,
            `torch-sharded`, `dcp`, `gguf`, `npy`, `npz`, `pickle`, `live`, `memory`.
        tensors: in the artefact's own order.
        storages: by key; each is counted once.
        module_trees, optimizers: evidence for `roles/`.
        extra_states: of its state_dicts.
        whole_modules: sections that hold a module itself, which shows no extra state.
        foreign_names: what its pickles refer to beyond torch's own reconstruction functions, once each.
        metadata: free text the artefact carries (safetensors' `__metadata__`).
        notes: what a person should know about how this was read, one sentence each.
        joins: how sections of a checkpoint fit the model it was joined to, the best first.
        plain: the values beside the tensors, where these were asked for.
        training: of a training checkpoint, the values that are neither in a model nor in an optimizer: how far it
            is, its hyper-parameters, its scheduler. No more than a few hundred.
        packed: quantised weights that take several entries each.
        ranks: what each process holds, where several hold one model; the rest is as the first has it.
        disagreements: what is not the same on all of them.
    """

    target: str
    format: str
    tensors: tuple[Tensor, ...] = ()
    storages: dict[str, Storage] = {}
    module_trees: tuple[ModuleTree, ...] = ()
    optimizers: tuple[Optimizer, ...] = ()
    extra_states: tuple[ExtraState, ...] = ()
    whole_modules: tuple[str, ...] = ()
    foreign_names: tuple[ForeignName, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    metadata: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    joins: tuple[Join, ...] = ()
    plain: tuple[PlainValue, ...] = ()
    training: tuple[PlainValue, ...] = ()
    packed: tuple[PackedWeight, ...] = ()
    ranks: tuple[RankShare, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def globals(self) -> tuple[str, ...]:
        """The foreign names by themselves."""
        return tuple(dict.fromkeys(each.name for each in self.foreign_names))

    @property
    def stored_bytes(self) -> int:
        """Bytes the artefact spends on tensors; a storage that several tensors share counts once."""
        return sum(storage.nbytes for storage in self.storages.values())

    @property
    def states_registration(self) -> bool:
        """Whether it says of modules what they registered, so that rules can find fault with that."""
        return self.format == "live" or bool(self.whole_modules)

    def sections(self) -> dict[str, RoleTotal]:
        """Totals by section, in the order of the artefact; ties as in `totals`."""
        return _totals((tensor.section, tensor, 1) for tensor in self.tensors)

    def totals(self) -> dict[Role, RoleTotal]:
        """Totals by role, in the order of `ROLES`, without the roles that do not occur.

        A tied entry counts as an entry but adds no elements and no bytes.
        """
        return role_totals((tensor, 1) for tensor in self.tensors)


def role_totals(counted: Iterable[tuple[Tensor, int]]) -> dict[Role, RoleTotal]:
    """The same of tensors and how many there are of each."""
    totals = _totals((tensor.role, tensor, count) for tensor, count in counted)
    return {role: totals[role] for role in ROLES if role in totals}


def _totals(counted: Iterable[tuple[Kind, Tensor, int]]) -> dict[Kind, RoleTotal]:
    sums: dict[Kind, list[int]] = {}
    for kind, tensor, count in counted:
        total = sums.setdefault(kind, [0, 0, 0])
        total[0] += count
        if tensor.alias_of is None and tensor.shape is not None:
            numel = prod(tensor.shape)
            total[1] += count * numel
            total[2] += count * DTYPES[tensor.dtype].nbytes(numel) if tensor.dtype is not None else 0
    return {kind: RoleTotal(*total) for kind, total in sums.items()}


class Facts(NamedTuple):
    """saved, moves, trains: None where unknown."""

    saved: bool | None
    moves: bool | None
    trains: bool | None


def facts_of(role: Role, requires_grad: bool | None) -> Facts:
    """What torch.nn.Module does with a tensor of this role (`register_buffer`, `register_parameter`).

    `requires_grad` is that of the tensor as recorded, or None when the artefact does not say. A live model's
    facts are measured instead.
    """
    match role:
        case "parameter":
            return Facts(saved=True, moves=True, trains=requires_grad)
        case "persistent_buffer":
            return Facts(saved=True, moves=True, trains=False)
        case "non_persistent_buffer":
            return Facts(saved=False, moves=True, trains=False)
        case "unregistered":
            return Facts(saved=False, moves=False, trains=False)
        case "training_state":
            return Facts(saved=False, moves=None, trains=False)
