"""Tensors that were put together to one, as the q, k and v of an attention are, or one that was cut up."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.difference import Relation
from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bufscan.comparing.matching import Group
    from bufscan.comparing.proof import Proof
    from bufscan.inventory import Tensor

_MOST_SIBLINGS = 8  # modules beside each other that are tried


class _Cut(NamedTuple):
    """The names of the pieces of a tensor, in order, and the dimension along which they follow each other."""

    pieces: tuple[str, ...]
    dim: int


def find_fused(group: Group, proof: Proof) -> dict[int, Relation]:
    """What is known of removed and added tensors by the id of their records.

    Pieces are looked for in modules beside that of the whole. Equal bytes prove nothing where the pieces look
    alike, such as biases of zeros: there those of their weights decide.
    """
    relations: dict[int, Relation] = {}
    for whole_side, wholes, pieces in ((1, group.added, group.removed), (0, group.removed, group.added)):
        if not (wholes and pieces):
            continue
        for name, cut in _Search(wholes, pieces, whole_side, proof).run().items():
            context = _common_start((name, *cut.pieces))
            relations[id(wholes[name])] = _whole(cut, context)
            relations |= {id(pieces[piece]): part for piece, part in _parts(name, cut, pieces, context)}
    return relations


class _Search:
    """Looks for the pieces of each tensor of one side among those of the other."""

    def __init__(
        self, wholes: Mapping[str, Tensor], pieces: Mapping[str, Tensor], whole_side: int, proof: Proof
    ) -> None:
        self._wholes = wholes
        self._pieces = pieces
        self._side = whole_side
        self._proof = proof
        self._beside: dict[tuple[str, str], list[str]] = {}
        for name in pieces:
            module, _, last = name.rpartition(".")
            self._beside.setdefault((module.rpartition(".")[0] if "." in module else "", last), []).append(name)

    def run(self) -> dict[str, _Cut]:
        found: dict[str, _Cut] = {}
        unsure = []
        for name in self._wholes:
            cut = next((cut for cut in self._cuts(name) if len(cut.pieces) > 1), None)
            if cut is not None and self._look_alike(cut):
                unsure.append(name)
            elif cut is not None:
                found[name] = cut
        proven = {_stem(name): [_stem(piece) for piece in cut.pieces] for name, cut in found.items()}
        for name in unsure:
            stems = proven.get(_stem(name), [])
            pieces = [stem + name.removeprefix(_stem(name)) for stem in stems]
            if pieces and all(piece in self._pieces for piece in pieces):
                cut = next((cut for cut in self._cuts(name, pieces) if list(cut.pieces) == pieces), None)
                found |= {} if cut is None else {name: cut}
        return found

    def _cuts(self, name: str, order: Sequence[str] | None = None) -> Iterator[_Cut]:
        """Each way in which pieces beside it make up the tensor; in that order, if one is given."""
        whole = self._wholes[name]
        module, _, last = name.rpartition(".")
        contexts = ((module.rpartition(".")[0], last), (module, last.rpartition("_")[2]))
        for context in contexts if order is None else contexts[:1]:
            names = self._beside.get(context, []) if order is None else order
            if not 1 < len(names) <= _MOST_SIBLINGS:
                continue
            for dim in range(len(whole.shape or ())):
                try:
                    cut = self._cut_along(whole, [each for each in names if self._fits(each, whole, dim)], dim)
                except UnreadableError:
                    continue
                if cut is not None:
                    yield cut

    def _fits(self, name: str, whole: Tensor, dim: int) -> bool:
        piece = self._pieces[name]
        if piece.shape is None or whole.shape is None or piece.dtype != whole.dtype:
            return False
        return len(piece.shape) == len(whole.shape) and all(
            at == dim or sizes[0] == sizes[1]
            for at, sizes in enumerate(zip(piece.shape, whole.shape, strict=True))
        )

    def _cut_along(self, whole: Tensor, names: Sequence[str], dim: int) -> _Cut | None:
        if len(names) < 2:  # noqa: PLR2004 - a piece alone is the whole
            return None
        elements = self._proof.elements(whole, self._side)
        stored = {name: self._proof.elements(self._pieces[name], 1 - self._side) for name in names}
        order: list[str] = []
        start = 0
        while start < elements.shape[dim]:
            for name in names:
                piece = stored[name]
                begin = [start if at == dim else 0 for at in range(len(elements.shape))]
                if name in order or start + piece.shape[dim] > elements.shape[dim]:
                    continue
                if self._proof.are_equal(elements.narrowed(begin, piece.shape), piece):
                    order.append(name)
                    start += piece.shape[dim]
                    break
            else:
                return None
        return _Cut(tuple(order), dim)

    def _look_alike(self, cut: _Cut) -> bool:
        """Whether one piece could stand for another, as far as it goes."""
        try:
            stored = [self._proof.elements(self._pieces[name], 1 - self._side) for name in cut.pieces]
            return any(
                self._proof.same_at_start(one, other) == min(one.numel, other.numel)
                for one, other in combinations(stored, 2)
            )
        except UnreadableError:
            return True


def _stem(name: str) -> str:
    """The name up to its last word: `attn.in_proj_` of `attn.in_proj_weight`."""
    return name[: max(name.rfind("."), name.rfind("_")) + 1]


def _common_start(names: Sequence[str]) -> str:
    """The modules that all the names are in."""
    modules = [name.split(".")[:-1] for name in names]
    common = []
    for parts in zip(*modules, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(f"{parts[0]}.")
    return "".join(common)


def _whole(cut: _Cut, context: str) -> Relation:
    names = ", ".join(f"`{name.removeprefix(context)}`" for name in cut.pieces)
    return Relation(
        kind="fused",
        words=f"{names} one after another, along dimension {cut.dim}",
        names=cut.pieces,
        dim=cut.dim,
    )


def _parts(name: str, cut: _Cut, pieces: Mapping[str, Tensor], context: str) -> Iterator[tuple[str, Relation]]:
    start = 0
    for piece in cut.pieces:
        end = start + (pieces[piece].shape or ())[cut.dim]
        words = f"{start}:{end} of `{name.removeprefix(context)}`, along dimension {cut.dim}"
        yield piece, Relation(kind="part", words=words, names=(name,), dim=cut.dim)
        start = end
