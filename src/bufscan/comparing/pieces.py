"""Which stored elements of two tensors stand opposite each other, be they whole, in parts or in shards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.formats.tensors.coverage import Region, fault_in_coverage
from bufscan.values.decoding import has_values, numbers_in_element
from bufscan.values.reading import ElementReader
from bufscan.values.strided import Strided, Walk, strided_of, walk_together

if TYPE_CHECKING:
    from bufscan.inventory import Part, Tensor
    from bufscan.opening.artefact import Artefact, Sides

# The name of a piece that one shard holds of a whole tensor: `[4:8, 0:4]`.
_SLICES = re.compile(r"\[((?:\d{1,19}:\d{1,19}(?:, \d{1,19}:\d{1,19})*)?)\]", re.ASCII)

# The part of a compound tensor that has its values; the others say where they belong.
_MAIN_PARTS = ("values", "buffer", "_local_tensor")

_ONLY_A_SHARD = "it is distributed, and only a shard of it is here"

# Every piece of one side is held against every piece of the other.
_MOST_PIECES = 100_000


class Block(NamedTuple):
    """A stored part of a tensor: the index of its first element, and where its elements lie."""

    begin: tuple[int, ...]
    elements: Strided


class Piece(NamedTuple):
    """Elements that both sides store, walked in step. `begin` is the index of the first in the whole tensor."""

    old: ElementReader
    new: ElementReader
    walk: Walk
    begin: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the old side that the walk reads."""
        return self.walk.numel * self.old.itemsize

    def index_of(self, position: int) -> tuple[int, ...]:
        """Where in the whole tensor the walk is after `position` elements."""
        inside = self.walk.index_of(position, len(self.begin))
        return tuple(start + index for start, index in zip(self.begin, inside, strict=True))


class Content(NamedTuple):
    """What is to be read of a pair of tensors of equal shape to know whether they are the same.

    Attributes:
        pieces: of the values, or of what stands for them.
        others: parts that say where the values belong or what they mean.
        comparable_bytes: whether equal bytes mean equal values, and the other way round as far as that goes.
        has_values: whether differing elements can be put in numbers.
        is_compound: whether the pieces are but the stored values of the tensor, at indices of their own.
        reshaped: the part that has another shape on either side; then nothing needs to be read.
    """

    old: Tensor
    new: Tensor
    pieces: tuple[Piece, ...] = ()
    others: tuple[Piece, ...] = ()
    comparable_bytes: bool = True
    has_values: bool = True
    is_compound: bool = False
    reshaped: str | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the old side that are read."""
        return sum(piece.nbytes for piece in (*self.pieces, *self.others))


def content_of(old: Tensor, new: Tensor, sides: Sides) -> Content:
    """How to compare the values of two tensors of equal shape.

    Raises:
        UnreadableError: they cannot be compared; the message says why, in words that follow the tensor's name.
    """
    if not (sides[0].has_values and sides[1].has_values):
        raise UnreadableError("its values were never written: the file was saved under skip_data")
    if _is_empty(old) and _is_empty(new):
        return Content(old, new)
    if old.layout != new.layout and {old.layout, new.layout} != {"strided", "storage"}:
        raise UnreadableError(f"{old.layout} on one side, {new.layout} on the other")
    if any(tensor.placements and not tensor.parts for tensor in (old, new)):
        raise UnreadableError(_ONLY_A_SHARD)
    blocks = _blocks_of(old, sides[0]), _blocks_of(new, sides[1])
    if blocks[0] is not None and blocks[1] is not None:
        return _elementwise(old, new, (blocks[0], blocks[1]), sides)
    return _compound(old, new, sides)


def _is_empty(tensor: Tensor) -> bool:
    """Whether it has no elements that could be compared: not initialised yet, or a size of 0."""
    return tensor.numel == 0 or (tensor.shape is None and not tensor.parts and tensor.storage is None)


def _blocks_of(tensor: Tensor, side: Artefact) -> list[Block] | None:
    """The stored blocks that make up the tensor; None for a compound one."""
    if not tensor.parts or tensor.quantization is not None:
        elements = _strided_of(tensor, side)
        return [Block((0,) * len(elements.shape), elements)]
    begins = [_begin_of(part) for part in tensor.parts]
    if any(begin is None for begin in begins):
        return None
    blocks = [
        Block(begin, _strided_of(part, side))
        for part, begin in zip(tensor.parts, begins, strict=True)
        if begin is not None
    ]
    regions = [Region(block.begin, tuple(block.elements.shape)) for block in blocks]
    if (fault := fault_in_coverage(tensor.shape or (), regions)) is not None:
        raise UnreadableError(fault)
    return blocks


def _begin_of(part: Part) -> tuple[int, ...] | None:
    found = _SLICES.fullmatch(part.name)
    if found is None:
        return None
    begin = tuple(int(each.partition(":")[0]) for each in found[1].split(", ") if each)
    return begin if len(begin) == len(part.shape) else None


def _strided_of(record: Tensor | Part, side: Artefact) -> Strided:
    return strided_of(record, side.inventory.storages, side.reader)


def _elementwise(old: Tensor, new: Tensor, blocks: tuple[list[Block], list[Block]], sides: Sides) -> Content:
    assert old.dtype is not None  # noqa: S101 - a block has a dtype
    assert new.dtype is not None  # noqa: S101 - the same
    types = DTYPES[old.dtype], DTYPES[new.dtype]
    in_numbers = all(map(has_values, types))
    if types[0] != types[1] and not (in_numbers and numbers_in_element(types[0]) == numbers_in_element(types[1])):
        raise UnreadableError(f"elements of {new.dtype} cannot be held against {old.dtype}")
    if len(blocks[0]) * len(blocks[1]) > _MOST_PIECES:
        raise UnreadableError("it is cut into too many pieces")
    pieces = [piece for left in blocks[0] for right in blocks[1] if (piece := _overlap(left, right)) is not None]
    others: tuple[Piece, ...] = ()
    comparable = types[0] == types[1] and (old.quantization, old.pending) == (new.quantization, new.pending)
    if comparable and old.quantization is not None:
        others, reshaped = _matching_parts(old, new, sides)
        comparable = reshaped is None
    return Content(old, new, tuple(pieces), others, comparable_bytes=comparable, has_values=in_numbers)


def _overlap(old: Block, new: Block) -> Piece | None:
    """What two blocks of one tensor have in common."""
    if old.begin == new.begin and old.elements.shape == new.elements.shape:
        return _piece(old.elements, new.elements, old.begin)
    ends = [
        [start + size for start, size in zip(each.begin, each.elements.shape, strict=True)] for each in (old, new)
    ]
    begin = tuple(map(max, old.begin, new.begin))
    shape = tuple(min(*both) - start for *both, start in zip(*ends, begin, strict=True))
    if any(size <= 0 for size in shape):
        return None
    left, right = (
        block.elements.narrowed([start - first for start, first in zip(begin, block.begin, strict=True)], shape)
        for block in (old, new)
    )
    return _piece(left, right, begin)


def _piece(old: Strided, new: Strided, begin: tuple[int, ...]) -> Piece:
    walk = walk_together(old, new)
    return Piece(ElementReader(old, walk, 0), ElementReader(new, walk, 1), walk, begin)


def _compound(old: Tensor, new: Tensor, sides: Sides) -> Content:
    """Tensors made of named parts, which have to be the same one by one."""
    shards = (old.local_shape, old.placements) != (new.local_shape, new.placements)
    if [part.name for part in old.parts] != [part.name for part in new.parts] or shards:
        raise UnreadableError(_ONLY_A_SHARD if shards else "the two sides store it in different parts")
    pieces, reshaped = _matching_parts(old, new, sides)
    main = next((at for at, part in enumerate(old.parts) if part.name in _MAIN_PARTS), None)
    if reshaped is not None or main is None:
        return Content(old, new, (), pieces, has_values=False, reshaped=reshaped)
    others = (*pieces[:main], *pieces[main + 1 :])
    return Content(old, new, (pieces[main],), others, is_compound=True)


def _matching_parts(old: Tensor, new: Tensor, sides: Sides) -> tuple[tuple[Piece, ...], str | None]:
    """The parts of either side in step, or the name of the first that does not match."""
    pieces = []
    for left, right in zip(old.parts, new.parts, strict=False):
        if (left.shape, left.dtype) != (right.shape, right.dtype):
            return (), left.name
        pieces.append(_piece(_strided_of(left, sides[0]), _strided_of(right, sides[1]), (0,) * len(left.shape)))
    return tuple(pieces), None
