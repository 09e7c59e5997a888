"""A pickled nn.Module by itself: its instance dict, its class, its children, what its hooks compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.formats.pickle.object_graph import HOLDERS
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs, lookup, named_class, pairs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.pickle.object_graph import Step

REGISTRIES = ("_parameters", "_buffers", "_modules")
UNSAVED = "_non_persistent_buffers_set"

_MODULE_DICT = "torch.nn.modules.container.ModuleDict"
_GRAPH_MODULE = ("torch.fx.graph_module", "reduce_graph_module")
_COMPILED = ("torch._dynamo.eval_frame", "OptimizedModule")
_LONGEST_INDEX = 9  # digits of the name of a child in a list of modules


def module_state(value: Any) -> Pairs | None:
    """The instance dict of a pickled nn.Module; None for anything else."""
    if type(value) is not Instance:
        return None
    if value.is_call_of(*_COMPILED):
        return _around(value.args)
    for state in _dicts_of(value):
        if pairs_of(lookup(state, "_parameters")) is not None:
            return state if pairs_of(lookup(state, "_modules")) is not None else None
    return None


def _around(args: Any) -> Pairs | None:
    """The instance dict that `torch.compile` gives the wrapper it makes around a module."""
    if type(args) is not tuple or not args:
        return None
    return Pairs(["_parameters", Pairs(), "_modules", Pairs(["_orig_mod", args[0]])])


def _dicts_of(value: Instance) -> Iterator[Pairs]:
    """The instance dict, and the dict of the filled `__slots__` after it."""
    parts = value.state
    if parts is None and value.is_call_of(*_GRAPH_MODULE):
        parts = value.args  # torch.fx hands the dict to a function: the module's class is made anew
    for part in parts if type(parts) is tuple else (parts,):
        if type(part) is Pairs:
            yield part


def class_of(value: Instance) -> str:
    """The qualified name of the instance's class, as the pickle spells it; "" where it names none."""
    func = value.func
    if type(func) is Global and func.name == "_reconstructor" and type(value.args) is tuple and value.args:
        func = value.args[0]
    named = named_class(func)
    return "" if named is None else named.qualified


def held_by_module(value: Instance) -> Iterator[tuple[str, Any]]:
    """What may hold a tensor among a module's attributes and slots, besides its registries."""
    for part in _dicts_of(value):
        for name, held in part.entries():
            if type(held) in HOLDERS and type(name) is str and name not in REGISTRIES and name != UNSAVED:
                yield name, held


def registered_in(state: Pairs, registry: str) -> Iterator[tuple[str, Any]]:
    """The named entries of one of a module's registries."""
    pairs = pairs_of(lookup(state, registry)) or Pairs()
    return ((name, value) for name, value in pairs.entries() if type(name) is str)


def read_registry(state: Pairs, registry: str, allowance: Allowance) -> Iterator[tuple[str, Any]]:
    """The same, counted among what is looked at.

    Raises:
        UnreadableError: that has become too much.
    """
    allowance.look_at(len(pairs_of(lookup(state, registry)) or ()))
    return registered_in(state, registry)


def attribute_names(value: Instance) -> set[str]:
    """Names that Python finds in the module before it asks for what is registered."""
    return {name for part in _dicts_of(value) for name in part[::2] if type(name) is str}


def child_step(owner: Instance, name: str) -> tuple[Step, str | int]:
    """How Python reaches the child `name` of a module that no module registers: `[0]`, `['a']`, `.norm`.

    Only subclasses of `Sequential` and `ModuleList` have children whose names are numbers.
    """
    if name.isdecimal() and len(name) <= _LONGEST_INDEX:
        return "index", int(name)
    return ("item" if class_of(owner) == _MODULE_DICT else "attribute"), name


def recomputed_attributes(state: Pairs) -> set[str]:
    """Attributes that a forward pre-hook computes at every pass: old weight_norm, spectral_norm, pruning, copies.

    The hook says which, as torch's own do, or the parameters do from which it computes them.
    """
    hooks = pairs_of(lookup(state, "_forward_pre_hooks"))
    if not hooks:
        return set()
    found: set[str] = set()
    for _, hook in hooks.entries():
        own = hook.state if type(hook) is Instance else None
        if type(own) is Pairs:
            found.update(name for key in ("name", "_tensor_name") if type(name := lookup(own, key)) is str)
    parameters = pairs_of(lookup(state, "_parameters")) or Pairs()
    names = {name for name in parameters[::2] if type(name) is str}
    for name in names:
        stem, _, suffix = name.rpartition("_")
        if suffix in ("orig", "bar") or (suffix == "g" and f"{stem}_v" in names):
            found.add(stem)
    return found
