"""The line of source that would mend how a tensor is held, and what it means for old checkpoints.

Pure: records in, text out. Where no single line is right there is no suggestion.
"""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bufscan.live.wording import (
    KEEPS_CHECKPOINTS,
    NEW_KEYS,
    NEW_PARAMETERS,
    NOTHING_SAVED,
    SAME_KEY,
    Setting,
    Words,
    atom,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Holding
    from bufscan.live.origin import Assignment
    from bufscan.source.slots import Key

Container: TypeAlias = Literal["sequence", "mapping", "set"]
Misregistration: TypeAlias = Literal["trainable_buffer", "parameter_as_buffer", "uninitialised_buffer"]

_ANYWHERE = Setting()


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A line to write, and a note on where it goes and what it does to old checkpoints."""

    line: str
    note: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """How a tensor, or a module that nothing registers, is held, as far as the fix depends on it.

    Attributes:
        kind: how it is held, or what is wrong with a registered buffer.
        name: the attribute of the registered module that leads to it, or what a function calls it: its own name of
            a global (`MASK`, `tables.MASK`), a closure's variable or an argument.
        where: whether the name is an attribute of the instance, of its class, or known to a function only.
        inner: the rest of the path, as Python writes it (`[0]`, `['k']`, `.loc`); "" for what the name itself
            stands for. Of a hidden module it leads to the module, not to its tensors.
        container: what the name stands for, where `inner` is one step into a container.
        key: that step, where it is a string or an integer; None for a key of another type.
        other_keys: the same of other entries of that mapping.
        owner: the user's own class of a helper object on the way, which could be made a module; else None.
        is_parameter: whether it is an `nn.Parameter`, or a leaf that requires grad and so wants to be one; of a
            Parameter registered as a buffer: whether it requires grad.
        is_leaf: False for a result of autograd.
        is_view: of a stale alias: whether it shows other elements than the buffer.
        target: of a stale alias: the buffer's path from the module that holds the alias; None where there is none.
        target_is_replaced: of a stale alias: whether the class gives the buffer another tensor later.
        persistent: of a registered buffer.
        is_module: whether it is a module rather than a tensor, or hides one.
        trains: whether it, or something in it, requires grad.
        is_complex: whether its elements are complex numbers.
    """

    kind: Holding | Misregistration
    name: str
    where: Literal["instance", "class", "function"] = "instance"
    inner: str = ""
    container: Container | None = None
    key: Key | None = None
    other_keys: tuple[Key | None, ...] = ()
    owner: str | None = None
    is_parameter: bool = False
    is_leaf: bool = True
    is_view: bool = False
    target: str | None = None
    target_is_replaced: bool = False
    persistent: bool = True
    is_module: bool = False
    trains: bool = True
    is_complex: bool = False

    @property
    def new_keys(self) -> str:
        """What registering it means for checkpoints and, where something in it trains, for the optimizer."""
        return NEW_PARAMETERS if self.trains else NEW_KEYS


def suggest(fault: Fault, assignment: Assignment | None, setting: Setting = _ANYWHERE) -> Suggestion | None:
    """The line that mends `fault`, in the words of the assignment that made it.

    Args:
        fault: what is wrong.
        assignment: where `fault.name` is assigned (a container itself, not its element); None where unknown.
        setting: what the line has to fit into.
    """
    mend = _MENDING.get(fault.kind)
    if mend is None or not all(
        part.isidentifier() and not keyword.iskeyword(part) for part in fault.name.split(".")
    ):
        return None
    return mend(fault, Words(fault, assignment, setting))


def _unregistered(fault: Fault, words: Words) -> Suggestion | None:
    if fault.container:
        return _in_container(fault, words)
    if fault.inner:
        return _deep_inside(fault, words)
    is_filled_later = fault.kind in ("cache", "state") and words.instead_of_none
    if words.set_later or is_filled_later:
        saving = words.saving if fault.kind == "state" else NOTHING_SAVED
        place = words.instead_of_none or "in __init__"
        note = f"{words.before}{place}: the later assignment then fills the buffer; {saving}"
        return None if fault.is_parameter else Suggestion(line=words.register("None"), note=note)
    return _registered(fault, words, words.value)


def _registered(fault: Fault, words: Words, value: str) -> Suggestion:
    if fault.is_parameter:
        return Suggestion(line=words.parameter(value), note=words.before_using(value) + NEW_PARAMETERS)
    return Suggestion(line=words.register(value), note=words.before_registering(value) + words.saving)


def _in_container(fault: Fault, words: Words) -> Suggestion | None:
    if fault.is_parameter:
        return _registered_container(fault, words, "Parameter")
    if words.set_later or (words.made_empty and fault.kind in ("cache", "state")):
        return None  # forward fills it: there is nothing in it to register when the model is made
    note = words.before_using(words.value) + words.instead
    source = words.value
    if words.made_empty:
        source = words.keep_local("once", " is filled")
        note = words.before
    step, items, dots = "i", f"enumerate({source})", ""
    if fault.container == "mapping":
        step, items = "key", f"{atom(source)}.items()"
        dots = '.replace(".", "_")' * _may_have_dots(fault)
    name = f'f"{words.name}_{{{step}}}"{dots}'
    line = f"for {step}, tensor in {items}: {words.receiver}.register_buffer({name}, tensor{words.flag})"
    note += f"torch has no buffer list: read them with `{words.receiver}.get_buffer({name})`; {words.saving}"
    return Suggestion(line=line, note=note)


def _may_have_dots(fault: Fault) -> bool:
    """Whether a key of the mapping has a dot, which no registered name may have."""
    return any(key is None or (isinstance(key, str) and "." in key) for key in (fault.key, *fault.other_keys))


def _deep_inside(fault: Fault, words: Words) -> Suggestion | None:
    """Something behind several steps: the object on the way becomes a module, or the tensor an attribute."""
    if fault.owner:
        return _owner_as_module(fault, words, NEW_PARAMETERS if fault.is_parameter else KEEPS_CHECKPOINTS)
    if words.set_later or not _can_be_written(fault.inner):
        return None
    source = words.take_from_inside(fault, as_buffer=not fault.is_parameter)
    if fault.is_parameter:
        return Suggestion(line=f"{words.receiver}.{words.name} = {source}", note=words.before + NEW_PARAMETERS)
    return Suggestion(line=words.register(source), note=words.before + words.saving)


def _owner_as_module(fault: Fault, words: Words, note: str) -> Suggestion:
    inside = "call super().__init__() first, and register its tensors there, so that they follow the model; "
    return Suggestion(line=f"class {fault.owner}({words.nn}.Module):", note=inside + note)


def _hidden_module(fault: Fault, words: Words) -> Suggestion | None:
    if fault.container:
        return _registered_container(fault, words, "Module")
    if not fault.inner:
        note = words.before_using(words.value) + fault.new_keys
        return Suggestion(line=f"{words.receiver}.{words.name} = {words.value}", note=note)
    if fault.owner:
        return _owner_as_module(fault, words, fault.new_keys)
    if words.set_later or not _can_be_written(fault.inner):
        return None
    source = words.take_from_inside(fault, as_buffer=False)
    return Suggestion(line=f"{words.receiver}.{words.name} = {source}", note=words.before + fault.new_keys)


def _registered_container(fault: Fault, words: Words, of: Literal["Module", "Parameter"]) -> Suggestion:
    """`nn.ModuleList`, `nn.ParameterDict` and their like: made empty, they are filled as the plain ones were."""
    value, note = "" if words.made_empty else words.value, words.before_using(words.value) + words.instead
    kind = "Dict" if fault.container == "mapping" else "List"
    key = "key" if all(isinstance(each, str) for each in (fault.key, *fault.other_keys)) else "str(key)"
    key += '.replace(".", "_")' * _may_have_dots(fault)
    if kind == "Dict" and key != "key":
        note += "its keys must be strings without a dot; "
        value = f"{{{key}: value for key, value in {atom(value)}.items()}}" if value else ""
    line = f"{words.receiver}.{words.name} = {words.nn}.{of}{kind}({value})"
    return Suggestion(line=line, note=note + fault.new_keys)


def _stale_alias(fault: Fault, words: Words) -> Suggestion | None:
    """A property reads the buffer anew each time, so `.to()` cannot leave it behind."""
    if fault.where != "instance" or fault.target is None or fault.owner:
        return None
    if fault.target_is_replaced and not fault.inner:
        note = f"a copy of its own follows the model and keeps the first values; {KEEPS_CHECKPOINTS}"
        return Suggestion(line=words.register(f"{atom(words.value)}.clone()"), note=words.before + note)
    if words.mentions(fault.target):
        value = words.quoted
    elif fault.inner:
        return None
    elif fault.is_view:
        note = f"a copy of its own follows the model; {KEEPS_CHECKPOINTS}"
        return Suggestion(line=words.register(words.value), note=words.before + note)
    else:
        value = f"{words.receiver}.{fault.target}"
    if not words.is_only:
        return None  # a property cannot be assigned to
    note = f"in the class body, in place of the assignment: it reads the buffer wherever it is; {NOTHING_SAVED}"
    return Suggestion(line=f"{fault.name} = property(lambda {words.receiver}: {value})", note=note)


def _lost_parameter(fault: Fault, words: Words) -> Suggestion | None:
    if fault.inner:
        return None
    line = f"{words.receiver}.{words.name} = {words.nn}.Parameter({atom(words.value)}.detach())"
    note = "nn.Parameter comes last: what is computed from one (`.to()`, `.cuda()`) is a plain tensor"
    return Suggestion(line=line, note=f"{words.before_using(words.value)}{note}; {NEW_PARAMETERS}")


def _shadowed_by_instance(fault: Fault, words: Words) -> Suggestion | None:
    if words.made_empty:
        return None  # neither a tensor nor a module: what registers one refuses it
    registered = "module" if fault.is_module else "tensor"
    note = f"an assignment goes to the registered {registered}, while __dict__ hides it; {SAME_KEY}"
    return Suggestion(line=f"{words.receiver}.{words.name} = {words.value}", note=note)


def _shadowed_by_class(fault: Fault, words: Words) -> Suggestion | None:
    if words.quoted is None and not words.made_empty:
        return None  # no assignment in the class body: a property or a method
    registered, kind = ("module", f"{words.nn}.Module") if fault.is_module else ("tensor", "torch.Tensor")
    note = f"in the class body, without a value: the class attribute hides the registered {registered}; {SAME_KEY}"
    return Suggestion(line=f"{fault.name}: {kind}", note=note)


def _trainable_buffer(fault: Fault, words: Words) -> Suggestion:
    detached = words.register(f"{atom(words.value)}.detach()", persistent=fault.persistent)
    if not fault.is_leaf:
        return Suggestion(line=detached, note=f"autograd computed it, and a buffer keeps no graph; {SAME_KEY}")
    kept = SAME_KEY if fault.persistent else NEW_KEYS
    note = f"no optimizer is given a buffer: this makes it a parameter; {kept}. Not to be trained: `{detached}`"
    return Suggestion(line=words.parameter(words.value), note=note)


def _parameter_as_buffer(fault: Fault, words: Words) -> Suggestion:
    if not fault.is_parameter:
        line = words.register(f"{atom(words.value)}.detach()", persistent=fault.persistent)
        return Suggestion(line=line, note=f"what is not trained needs no nn.Parameter; {SAME_KEY}")
    kept = SAME_KEY if fault.persistent else NEW_KEYS
    line = f"{words.receiver}.{words.name} = {words.value}"
    return Suggestion(line=line, note=f"no optimizer is given a buffer: assigned, it is a parameter; {kept}")


def _uninitialised_buffer(_: Fault, words: Words) -> Suggestion:
    note = "saved, it comes with checkpoints, though not with old ones; or a reset_parameters() makes it again"
    return Suggestion(line=words.register(words.value, persistent=True), note=note)


_MENDING: dict[Holding | Misregistration, Callable[[Fault, Words], Suggestion | None]] = {
    "attribute": _unregistered,
    "cache": _unregistered,
    "state": _unregistered,
    "container": _unregistered,
    "object": _unregistered,
    "closure": _unregistered,
    "default_argument": _unregistered,
    "class_attribute": _unregistered,
    "global": _unregistered,
    "hidden_module": _hidden_module,
    "stale_alias": _stale_alias,
    "lost_parameter": _lost_parameter,
    "shadowed_by_instance": _shadowed_by_instance,
    "shadowed_by_class": _shadowed_by_class,
    "trainable_buffer": _trainable_buffer,
    "parameter_as_buffer": _parameter_as_buffer,
    "uninitialised_buffer": _uninitialised_buffer,
}
"""Kinds that are no mistake, and those that no single line mends (partials, hooks), are not here."""


def _can_be_written(inner: str) -> bool:
    """Whether the path is one that a person would write: no `list(…)` wrap, no `.__closure__[0]`."""
    return "(" not in inner and "__" not in inner
