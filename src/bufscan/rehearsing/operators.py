"""What CUDA's operators accept of tensors on two devices, by the checks in torch's own sources.

Most operators take tensors of one device, and a 0-dim CPU tensor beside them (TensorIterator, "CPU scalars"). The
tables name the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch._ops import OpOverload

    from bufscan.rehearsing.tags import Tag


class Met(NamedTuple):
    """A tensor among an operator's arguments, and where it lies."""

    tensor: torch.Tensor
    tag: Tag

    @property
    def is_scalar(self) -> bool:
        """Whether it is a CPU tensor that TensorIterator takes for a number."""
        return self.tensor.dim() == 0 and self.tag != "moved"


class Fault(NamedTuple):
    """Why an operator would fail: the tensors on the wrong side, and a clause that says what it wants."""

    culprits: list[torch.Tensor]
    complaint: str


ONE_DEVICE = "takes tensors of one device only"

# Copying is what they are for, or they read shapes alone.
_CROSSING = frozenset(
    (
        *("copy", "_to_copy", "_copy_from", "_foreach_copy", "set", "is_same_size", "record_stream", "resize_as"),
        *("slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter", "fill", "_reshape_alias"),
    )
)
_INDEXING = frozenset(("index", "_unsafe_index"))
_PUTTING = frozenset(("index_put", "_index_put_impl", "_unsafe_index_put"))
# No TensorIterator over all arguments: a 0-dim CPU tensor is refused as any other is.
_WITHOUT_SCALARS = frozenset(
    (
        *(
            "cat",
            "stack",
            "index_select",
            "embedding",
            "_embedding_bag",
            "gather",
            "take",
            "masked_select",
            "equal",
        ),
        *("scatter", "scatter_add", "scatter_reduce", "masked_scatter", "index_reduce"),
        *("index_add", "index_copy", "index_fill", "nextafter", "nll_loss_forward", "nll_loss2d_forward"),
        *("bucketize", "searchsorted", "bincount", "isin"),
    )
)
_PACK = "_pack_padded_sequence"
_LENGTHS = "takes the lengths on the CPU"
# Which of their arguments may lie elsewhere depends on the kernel chosen: pairs of lists, lengths of targets.
_UNDECIDED = ("_foreach_", "_fused_", "_ctc_loss", "_cudnn_ctc_loss", "_use_cudnn", "_amp_")


def name_of(operator: OpOverload) -> str:
    """`add` of `aten::add_.Tensor`: as users know it."""
    name = str(operator._opname)  # noqa: SLF001  # torch has no public name for it
    return name.removesuffix("_") if not name.endswith("__") else name


def is_torchs(operator: OpOverload) -> bool:
    """Whether what it accepts is known here."""
    return operator.namespace in ("aten", "prim", "prims")


def fault_of(
    operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], met: Sequence[Met]
) -> Fault | None:
    """What CUDA would say of these arguments; None where it would take them.

    What lies nobody knows where is given the benefit of the doubt.
    """
    name = name_of(operator)
    if name == _PACK:
        return Fault([met[1].tensor], _LENGTHS) if met[1].tag == "moved" else None
    if name in _CROSSING or name.startswith(_UNDECIDED) or operator.namespace == "prim":
        return None
    moved = [each for each in met if each.tag == "moved"]
    if not moved:
        return None
    if name in _INDEXING:
        return _fault_of_indexing(met[0], moved)
    if name in _PUTTING:
        return _fault_of_putting(met[0], args, kwargs, met, moved)
    stayed = [each for each in _without_indices_of_rnn(name, met) if each.tag == "stayed"]
    if name == "masked_fill":
        stayed = [each for each in stayed if not each.is_scalar or each not in met[2:]]  # the value
    elif name not in _WITHOUT_SCALARS:
        stayed = [each for each in stayed if not each.is_scalar]
    return Fault([each.tensor for each in stayed], ONE_DEVICE) if stayed else None


def result_tag(operator: OpOverload, met: Sequence[Met]) -> Tag:
    """Where the results lie: beside the tensor that is written or indexed, or on the device of any input."""
    name = name_of(operator)
    if name in _INDEXING or name in _PUTTING or name in _CROSSING:
        return met[0].tag
    tags = [each.tag for each in met if not each.is_scalar] or [each.tag for each in met]
    by_strength: tuple[Tag, ...] = ("moved", "unknown", "stayed")
    return next(tag for tag in by_strength if tag in tags)


def stays_of_results(operator: OpOverload) -> int | None:
    """The position of the one result that lies on the CPU wherever the rest lies; None for nearly all."""
    return 1 if name_of(operator) == _PACK else None


def _fault_of_indexing(table: Met, moved: Sequence[Met]) -> Fault | None:
    """Indices may lie on the CPU or beside the table ("indices should be either on cpu or on the same device")."""
    if table.tag == "stayed" and moved:
        return Fault([table.tensor], "cannot index a CPU tensor by one that moved")
    return None


def _fault_of_putting(
    table: Met, args: Sequence[Any], kwargs: Mapping[str, Any], met: Sequence[Met], moved: Sequence[Met]
) -> Fault | None:
    """As indexing; the values must lie beside the table, unless they are one number (`_index_put_impl_`)."""
    values = args[2] if len(args) > 2 else kwargs["values"]  # noqa: PLR2004  # self, indices, values
    given = next(each for each in met if each.tensor is values)
    if table.tag == "moved":
        fails = given.tag == "stayed" and values.dim() > 0
        return Fault([values], "wants its values beside the tensor it writes to") if fails else None
    others = [each for each in moved if each.tensor is not values or values.dim() > 0]
    if table.tag == "stayed" and others:
        return Fault([table.tensor], "cannot write what moved into a CPU tensor")
    return None


def _without_indices_of_rnn(name: str, met: Sequence[Met]) -> list[Met]:
    """The batch sizes of a packed sequence stay on the CPU, where fused RNNs read them."""
    import torch

    if any(kind in name for kind in ("rnn", "lstm", "gru")):
        return [each for each in met if each.tensor.dtype is not torch.int64]
    return list(met)
