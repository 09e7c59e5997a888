"""The line of source that would mend how a tensor is held, and what it means for old checkpoints.

Pure: records in, text out. Where no single line is right there is no suggestion.
"""

from __future__ import annotations

import ast
import keyword
import re
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bufscan.inventory import Holding
    from bufscan.live.origin import Assignment
    from bufscan.live.slots import Key

Container: TypeAlias = Literal["sequence", "mapping", "set"]
Misregistration: TypeAlias = Literal["trainable_buffer", "parameter_as_buffer"]

KEEPS_CHECKPOINTS = (
    "with persistent=False old checkpoints still load; persistent=True would save it too, under a key that strict "
    "loading of old checkpoints misses"
)
NEW_KEYS = "this adds keys to the state_dict: load old checkpoints once with strict=False"
NEW_PARAMETERS = f"{NEW_KEYS}, and give the optimizer the new parameters"
SAME_KEY = "the key stays the same, so old checkpoints still load"
NOTHING_SAVED = "nothing more is saved, so old checkpoints still load"


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
        owner: the user's own class of a helper object on the way, which could be made a module; else None.
        is_parameter: whether it is an `nn.Parameter`, or a leaf that requires grad and so wants to be one.
        is_leaf: False for a result of autograd.
        is_view: of a stale alias: whether it shows other elements than the buffer.
        target: of a stale alias: the buffer's path from the module that holds the alias; None where there is none.
        target_is_replaced: of a stale alias: whether the class gives the buffer another tensor later.
        persistent: of a registered buffer.
        is_module: whether it is a module rather than a tensor, or hides one.
    """

    kind: Holding | Misregistration
    name: str
    where: Literal["instance", "class", "function"] = "instance"
    inner: str = ""
    container: Container | None = None
    key: Key | None = None
    owner: str | None = None
    is_parameter: bool = False
    is_leaf: bool = True
    is_view: bool = False
    target: str | None = None
    target_is_replaced: bool = False
    persistent: bool = True
    is_module: bool = False


def suggest(
    fault: Fault,
    assignment: Assignment | None,
    *,
    has_buffer_class: bool = False,
    names_taken: Collection[str] = (),
) -> Suggestion | None:
    """The line that mends `fault`, in the words of the assignment that made it.

    Args:
        fault: what is wrong.
        assignment: where `fault.name` is assigned (a container itself, not its element); None where unknown.
        has_buffer_class: whether this torch has `nn.Buffer`, as 2.5 and later do.
        names_taken: attributes of the module's class, which `register_buffer` refuses as names.
    """
    mend = _MENDING.get(fault.kind)
    if mend is None or not all(
        part.isidentifier() and not keyword.iskeyword(part) for part in fault.name.split(".")
    ):
        return None
    return mend(fault, _Words(fault, assignment, has_buffer_class=has_buffer_class, names_taken=names_taken))


class _Words:
    """The words of a line: those of the source where it was found, the usual ones otherwise.

    Attributes:
        receiver: what the source calls the module.
        place: the attribute that holds it now.
        name: the name to register it under.
        value: the assigned expression, or a name for it where that is unknown, too long or would not be usable.
        made_empty: whether a container is made empty and filled afterwards.
        set_later: whether something later than construction assigns it.
        is_only: whether nothing else assigns it.
        before: what has to be done first, as the beginning of a note.
        flag: the last argument of `register_buffer`.
        saving: what registering it does to checkpoints.
    """

    def __init__(
        self, fault: Fault, assignment: Assignment | None, *, has_buffer_class: bool, names_taken: Collection[str]
    ) -> None:
        receiver = assignment.receiver if assignment else ""
        self.receiver = receiver if receiver.isidentifier() else "self"
        self.nn = assignment.nn if assignment else "nn"
        self.place = f"{self.receiver}.{fault.name}"
        self.quoted = assignment.value if assignment and not assignment.starts_empty else None
        self.made_empty = assignment is not None and assignment.starts_empty
        self.is_only = assignment is None or assignment.is_only
        self.set_later = assignment is not None and not assignment.in_init
        self.name, self.value, self.before = fault.name, self.quoted or fault.name, ""
        # What forward computes from its own old value is worth saving, as a BatchNorm's statistics are.
        is_state = fault.kind == "state"
        self.flag = "" if is_state else ", persistent=False"
        self.saving = NEW_KEYS if is_state else KEEPS_CHECKPOINTS
        self._given_name = fault.name if fault.where == "instance" else None
        if self.mentions(fault.name):
            self.value = fault.name  # it is built from what it replaces
        if fault.where == "function":
            last = fault.name.rpartition(".")[2]
            self.name = last.strip("_").lower() or last
            if not fault.container:
                self.name = _flat_name(self.name, fault.inner)
            self.value = self.quoted or fault.name if fault.kind == "default_argument" else fault.name
        if fault.where == "class":
            self.before = f"in __init__; delete the class attribute, which would hide `{self.place}`; "
        elif self.name in names_taken:
            self.before = f"the class has its own `{self.name}`, which register_buffer refuses; "
            self.name += "_buffer"
        if fault.where == "function":
            self.before = f"in __init__, and read `{self.receiver}.{self.name}`; {self.before}"
        self._uses_buffer_class = has_buffer_class and assignment is not None and assignment.uses_buffer_class

    def before_using(self, value: str) -> str:
        """What to do before a line that takes `value`: make it, where the source does not spell it out."""
        unmade = value == self._given_name != self.quoted and not self.made_empty
        return f"{self.before}with `{value}` made first; " if unmade else self.before

    def take_from_inside(self, fault: Fault, and_then: str = "") -> str:
        """The expression for something behind several steps, which gets a name of its own."""
        if fault.where == "function":
            return f"{self.value}{fault.inner}"
        self.name = _flat_name(self.name, fault.inner)
        self.before += f"after `{self.place}` is made{and_then and ', '}{and_then}; "
        return f"{self.place}{fault.inner}"

    def mentions(self, path: str) -> bool:
        """Whether the value is built from `path` of the same object."""
        whole = rf"(?<![\w.]){re.escape(f'{self.receiver}.{path}')}(?!\w)"
        return self.quoted is not None and re.search(whole, self.quoted) is not None

    def register(self, value: str, *, persistent: bool = False) -> str:
        """The line that registers a buffer, in the file's own style."""
        flag = "" if persistent else self.flag
        if self._uses_buffer_class and value != "None":
            return f"{self.receiver}.{self.name} = {self.nn}.Buffer({value}{flag})"
        return f'{self.receiver}.register_buffer("{self.name}", {value}{flag})'

    def parameter(self, value: str) -> str:
        """The line that registers a Parameter."""
        made = value if re.match(r"([\w.]+\.)?Parameter\(", value) else f"{self.nn}.Parameter({value})"
        return f"{self.receiver}.{self.name} = {made}"


def _unregistered(fault: Fault, words: _Words) -> Suggestion | None:
    if fault.container:
        return _in_container(fault, words)
    if fault.inner:
        return _deep_inside(fault, words)
    if words.set_later:
        saving = words.saving if fault.kind == "state" else NOTHING_SAVED
        note = f"{words.before}in __init__: the later assignment then fills the buffer; {saving}"
        return None if fault.is_parameter else Suggestion(line=words.register("None"), note=note)
    return _registered(fault, words, words.value)


def _registered(fault: Fault, words: _Words, value: str) -> Suggestion:
    before = words.before_using(value)
    if fault.is_parameter:
        return Suggestion(line=words.parameter(value), note=before + NEW_PARAMETERS)
    return Suggestion(line=words.register(value), note=before + words.saving)


def _in_container(fault: Fault, words: _Words) -> Suggestion | None:
    if fault.is_parameter:
        return _registered_container(fault, words, "Parameter")
    if words.set_later:
        return None
    source = words.place if words.made_empty else words.value
    step, items = "i", f"enumerate({source})"
    if fault.container == "mapping":
        step, items = "key", f"{_atom(source)}.items()"
    name = f'f"{words.name}_{{{step}}}"'
    if isinstance(fault.key, str) and "." in fault.key:
        name += '.replace(".", "_")'
    line = f"for {step}, tensor in {items}: {words.receiver}.register_buffer({name}, tensor{words.flag})"
    note = f"torch has no buffer list: read them with `{words.receiver}.get_buffer({name})`; {words.saving}"
    return Suggestion(line=line, note=words.before_using(source) + note)


def _deep_inside(fault: Fault, words: _Words) -> Suggestion | None:
    """Something behind several steps: the object on the way becomes a module, or the tensor an attribute."""
    if fault.owner:
        return _owner_as_module(fault, words, NEW_PARAMETERS if fault.is_parameter else KEEPS_CHECKPOINTS)
    if words.set_later or not _can_be_written(fault.inner):
        return None
    source = words.take_from_inside(fault, "and read from there")
    if fault.is_parameter:
        return Suggestion(line=f"{words.receiver}.{words.name} = {source}", note=words.before + NEW_PARAMETERS)
    return _registered(fault, words, source)


def _owner_as_module(fault: Fault, words: _Words, note: str) -> Suggestion:
    inside = "call super().__init__() first, and register its tensors there, so that they follow the model; "
    return Suggestion(line=f"class {fault.owner}({words.nn}.Module):", note=inside + note)


def _hidden_module(fault: Fault, words: _Words) -> Suggestion | None:
    if fault.container:
        return _registered_container(fault, words, "Module")
    if not fault.inner:
        note = words.before_using(words.value) + NEW_PARAMETERS
        return Suggestion(line=f"{words.receiver}.{words.name} = {words.value}", note=note)
    if fault.owner:
        return _owner_as_module(fault, words, NEW_PARAMETERS)
    if words.set_later or not _can_be_written(fault.inner):
        return None
    source = words.take_from_inside(fault)
    return Suggestion(line=f"{words.receiver}.{words.name} = {source}", note=words.before + NEW_PARAMETERS)


def _registered_container(fault: Fault, words: _Words, of: Literal["Module", "Parameter"]) -> Suggestion:
    """`nn.ModuleList`, `nn.ParameterDict` and their like: made empty, they are filled as the plain ones were."""
    value, note = "" if words.made_empty else words.value, words.before_using(words.value)
    kind = "Dict" if fault.container == "mapping" else "List"
    if kind == "Dict" and (not isinstance(fault.key, str) or "." in fault.key):
        note += "its keys must be strings without a dot; "
        key = 'key.replace(".", "_")' if isinstance(fault.key, str) else "str(key)"
        value = f"{{{key}: value for key, value in {_atom(value)}.items()}}" if value else ""
    line = f"{words.receiver}.{words.name} = {words.nn}.{of}{kind}({value})"
    return Suggestion(line=line, note=note + NEW_PARAMETERS)


def _stale_alias(fault: Fault, words: _Words) -> Suggestion | None:
    """A property reads the buffer anew each time, so `.to()` cannot leave it behind."""
    if fault.where != "instance" or fault.target is None or fault.owner:
        return None
    if fault.target_is_replaced and not fault.inner:
        note = f"a copy of its own follows the model and keeps the first values; {KEEPS_CHECKPOINTS}"
        return Suggestion(line=words.register(f"{_atom(words.value)}.clone()"), note=words.before + note)
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


def _lost_parameter(fault: Fault, words: _Words) -> Suggestion | None:
    if fault.inner:
        return None
    line = f"{words.receiver}.{words.name} = {words.nn}.Parameter({_atom(words.value)}.detach())"
    note = "nn.Parameter comes last: what is computed from one (`.to()`, `.cuda()`) is a plain tensor"
    return Suggestion(line=line, note=f"{words.before_using(words.value)}{note}; {NEW_PARAMETERS}")


def _shadowed_by_instance(fault: Fault, words: _Words) -> Suggestion:
    registered = "module" if fault.is_module else "tensor"
    note = f"an assignment goes to the registered {registered}, while __dict__ hides it; {SAME_KEY}"
    return Suggestion(line=f"{words.receiver}.{words.name} = {words.value}", note=note)


def _shadowed_by_class(fault: Fault, words: _Words) -> Suggestion | None:
    if words.quoted is None and not words.made_empty:
        return None  # no assignment in the class body: a property or a method
    registered, kind = ("module", f"{words.nn}.Module") if fault.is_module else ("tensor", "torch.Tensor")
    note = f"in the class body, without a value: the class attribute hides the registered {registered}; {SAME_KEY}"
    return Suggestion(line=f"{fault.name}: {kind}", note=note)


def _trainable_buffer(fault: Fault, words: _Words) -> Suggestion:
    detached = words.register(f"{_atom(words.value)}.detach()", persistent=fault.persistent)
    if not fault.is_leaf:
        return Suggestion(line=detached, note=f"autograd computed it, and a buffer keeps no graph; {SAME_KEY}")
    kept = SAME_KEY if fault.persistent else NEW_KEYS
    note = f"no optimizer is given a buffer: this makes it a parameter; {kept}. Not to be trained: `{detached}`"
    return Suggestion(line=words.parameter(words.value), note=note)


def _parameter_as_buffer(fault: Fault, words: _Words) -> Suggestion:
    kept = SAME_KEY if fault.persistent else NEW_KEYS
    line = f"{words.receiver}.{words.name} = {words.value}"
    return Suggestion(line=line, note=f"no optimizer is given a buffer: assigned, it is a parameter; {kept}")


_MENDING: dict[Holding | Misregistration, Callable[[Fault, _Words], Suggestion | None]] = {
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
}
"""Kinds that are no mistake, and those that no single line mends (partials, hooks), are not here."""


def _flat_name(name: str, inner: str) -> str:
    """`cache['k'][0]` as an attribute: `cache_k_0`."""
    return "_".join(part for part in re.split(r"\W+", f"{name}{inner}") if part)


def _can_be_written(inner: str) -> bool:
    """Whether the path is one that a person would write: no `list(…)` wrap, no `.__closure__[0]`."""
    return "(" not in inner and "__" not in inner


def _atom(text: str) -> str:
    """The expression, in parentheses where an attribute could not be taken of it as it stands."""
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"({text})"
    simple = (
        ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Dict | ast.DictComp | ast.List | ast.ListComp
    )
    return text if isinstance(node, simple) else f"({text})"
