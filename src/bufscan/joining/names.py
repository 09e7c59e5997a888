"""Which names of a checkpoint and of a model mean the same entry, once what wrapping added is taken off.

Wrapping puts a part in front of a name (`module.` of DataParallel, `_orig_mod.` of torch.compile, the attribute
of a Lightning module or of a Hugging Face head) or into the middle of it (a compiled or checkpointed submodule).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

Shape: TypeAlias = tuple[int, ...] | None

_TORCH_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Parts of names that only torch and its trainers write: they are left out wherever they stand."""
_WRAPPING_ATTRIBUTES = ("module", "model")
"""Attributes that wrappers give to what they wrap, but that anyone may use."""
_AVERAGES = ("ema", "ema_model", "model_ema")
"""What an average of the weights is called beside the model."""

_SAMPLES = 8
_MOST_PREFIXES = 6  # tried on either side
_LEAST_EXPLAINED = 0.5  # of the smaller side's names


class Renaming(NamedTuple):
    """What to take off names so that both sides meet.

    Attributes:
        checkpoint_prefix, model_prefix: taken off the beginning, of names that have it.
        wrappers: parts left out wherever they stand, on both sides.
    """

    checkpoint_prefix: str = ""
    model_prefix: str = ""
    wrappers: tuple[str, ...] = ()

    @property
    def is_of_wrappers(self) -> bool:
        """Whether no part that it takes off tells more than that something was wrapped or averaged."""
        parts = f"{self.checkpoint_prefix}{self.model_prefix}".split(".")[:-1]
        return all(part in (*_TORCH_WRAPPERS, *_WRAPPING_ATTRIBUTES, *_AVERAGES) for part in parts)

    def pairs(self, checkpoint: Iterable[str], model: Iterable[str]) -> dict[str, str]:
        """The model's name for each name of the checkpoint that means one of its entries.

        A name that has the prefix goes before one that is right as it stands.
        """
        # Where two names come down to one, the one that has the prefix counts: it comes last.
        ordered = sorted(model, key=lambda name: _without(name, self.wrappers).startswith(self.model_prefix))
        bare = {_without(name, self.wrappers).removeprefix(self.model_prefix): name for name in ordered}
        found: dict[str, str] = {}
        taken: set[str] = set()
        names = list(checkpoint)
        for must_have_prefix in (True, False):
            for name in names:
                inner = _without(name, self.wrappers)
                if name in found or inner.startswith(self.checkpoint_prefix) != must_have_prefix:
                    continue
                other = bare.get(inner.removeprefix(self.checkpoint_prefix))
                if other is not None and other not in taken:
                    found[name] = other
                    taken.add(other)
        return found


class _Fit(NamedTuple):
    """How well a renaming does: names that meet, and how many of these agree in shape."""

    names: int
    shapes: int


def find_renaming(checkpoint: Mapping[str, Shape], model: Mapping[str, Shape]) -> Renaming:
    """The renaming under which most names meet, and most of them in shape; none where none does better.

    Where no shape agrees and several renamings do equally well, as `weight` and `bias` meet those of any layer,
    there is none either.

    Args:
        checkpoint: shape by name; None where there is no fixed one.
        model: the same of what the model saves.
    """
    best, best_fit = Renaming(), _fit(checkpoint, model, "", "")
    smaller = min(len(checkpoint), len(model))
    rivals = False
    if best_fit.names == smaller:
        return best
    for wrappers in _wrappers_in([*checkpoint, *model]):
        ours = {_without(name, wrappers): shape for name, shape in checkpoint.items()}
        theirs = {_without(name, wrappers): shape for name, shape in model.items()}
        for left, right in _prefix_pairs(ours, theirs):
            fit = _fit(ours, theirs, left, right)
            if fit > best_fit and fit.names >= _LEAST_EXPLAINED * smaller:
                best, best_fit, rivals = Renaming(left, right, wrappers), fit, False
            elif fit == best_fit and wrappers == best.wrappers:
                rivals |= (left, right) != (best.checkpoint_prefix, best.model_prefix)
        if best_fit.names == smaller:
            break
    return Renaming() if rivals and not best_fit.shapes else best


def _fit(checkpoint: Mapping[str, Shape], model: Mapping[str, Shape], left: str, right: str) -> _Fit:
    names = shapes = 0
    cut = len(right)
    for name, shape in model.items():
        if name.startswith(right):
            other = left + name[cut:]
            if other in checkpoint:
                names += 1
                shapes += checkpoint[other] == shape
    return _Fit(names, shapes)


def _wrappers_in(names: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Sets of parts worth leaving out: none, then torch's own, then `module` too."""
    yield ()
    parts = {part for name in names for part in name.split(".")}
    torchs = tuple(part for part in _TORCH_WRAPPERS if part in parts)
    if torchs:
        yield torchs
    if "module" in parts:
        yield (*torchs, "module")


def _without(name: str, wrappers: tuple[str, ...]) -> str:
    if not any(wrapper in name for wrapper in wrappers):
        return name
    return ".".join(part for part in name.split(".") if part not in wrappers)


def _prefix_pairs(checkpoint: Mapping[str, Shape], model: Mapping[str, Shape]) -> Iterator[tuple[str, str]]:
    """Prefixes worth taking off: those of wrappers, and those that lead from one side's names to the other's."""
    left = [*_wrapping_prefixes(checkpoint), *_prefixes_to(checkpoint, model)]
    right = [*_wrapping_prefixes(model), *_prefixes_to(model, checkpoint)]
    yield "", ""
    yield from ((prefix, "") for prefix in left)
    yield from (("", prefix) for prefix in right)
    yield from ((one, other) for one in left for other in right)


def _wrapping_prefixes(names: Iterable[str]) -> list[str]:
    """Beginnings made of wrappers alone: `module.`, `module.model.`."""
    found: set[str] = set()
    for name in names:
        prefix = ""
        for part in name.split("."):
            if part not in _WRAPPING_ATTRIBUTES:
                break
            prefix += f"{part}."
            found.add(prefix)
    return sorted(found, key=lambda prefix: (len(prefix), prefix))[:_MOST_PREFIXES]


def _prefixes_to(longer: Collection[str], shorter: Collection[str]) -> list[str]:
    """What some names of one side have in front of names of the other, the most frequent first."""
    # Names of many parts are the tell-tale ones: everything ends in `.weight`.
    samples = sorted(shorter, key=lambda name: (-name.count("."), -len(name), name))[:_SAMPLES]
    endings = tuple(f".{name}" for name in samples)
    counts: Counter[str] = Counter()
    for name in longer:
        if name.endswith(endings):
            counts.update(name[: -len(ending) + 1] for ending in endings if name.endswith(ending))
    return [prefix for prefix, _ in counts.most_common(_MOST_PREFIXES)]
