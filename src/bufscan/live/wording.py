"""The words of a mending line and its note: those of the source where it was found, the usual ones otherwise."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from bufscan.inventory import Location
    from bufscan.live.origin import Assignment
    from bufscan.live.suggestion import Fault

KEEPS_CHECKPOINTS = (
    "with persistent=False old checkpoints still load; persistent=True would save it too, under a key that strict "
    "loading of old checkpoints misses"
)
NEW_KEYS = "this adds keys to the state_dict: load old checkpoints once with strict=False"
NEW_PARAMETERS = f"{NEW_KEYS}, and give the optimizer the new parameters"
STAYS_COMPLEX = "a real dtype in `.to(dtype)` makes a complex buffer real: torch.view_as_real of it is kept whole"
SAME_KEY = "the key stays the same, so old checkpoints still load"
NOTHING_SAVED = "nothing more is saved, so old checkpoints still load"


class Setting(NamedTuple):
    """What a line has to fit into.

    Attributes:
        found_at: where the fault is shown (at an element, say): the line takes its place, unless the note says so.
        has_buffer_class: whether this torch has `nn.Buffer`, as 2.5 and later do.
        names_taken: attributes of the module's class, which `register_buffer` refuses as names.
        names_held: attributes of the module itself, which it refuses too unless they are replaced.
    """

    found_at: Location | None = None
    has_buffer_class: bool = False
    names_taken: Container[str] = ()
    names_held: Container[str] = ()


class Words:
    """What a line is put together from.

    Attributes:
        receiver: what the source calls the module.
        place: the attribute that holds it now.
        name: the name to register it under.
        value: the assigned expression, or a name for it where that is unknown, too long or would not be usable.
        quoted: the assigned expression, where it is one that can be repeated.
        made_empty: whether a container is made empty and filled afterwards.
        set_later: whether something later than construction assigns it.
        is_only: whether nothing else assigns it.
        before: what has to be done first, as the beginning of a note.
        flag: the last argument of `register_buffer`.
        saving: what registering it does to checkpoints.
    """

    def __init__(self, fault: Fault, assignment: Assignment | None, setting: Setting) -> None:
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
        if fault.is_complex and not fault.is_parameter:
            self.saving = f"{STAYS_COMPLEX}; {self.saving}"
        uses_buffer_class = assignment is not None and assignment.uses_buffer_class
        self._uses_buffer_class = setting.has_buffer_class and uses_buffer_class
        self._where, self._assignment, self._setting = fault.where, assignment, setting
        if self.mentions(fault.name):
            self.value = fault.name  # it is built from what it replaces
        match fault.where:
            case "function":
                self._as_own(fault)
            case "class":
                self.before = f"in __init__; delete the class attribute, which would hide `{self.place}`; "
            case "instance":
                self._in_its_place()

    def _as_own(self, fault: Fault) -> None:
        """A name of the module's own for what a function knows by another."""
        last = fault.name.rpartition(".")[2]
        self.name = last.strip("_").lower() or last
        if not fault.container:
            self.name = _flat_name(self.name, fault.inner)
        is_default = fault.kind == "default_argument"
        self.value = self.quoted or fault.name if is_default else fault.name
        unmade = f"with `{fault.name}` made first, " if is_default and not self.quoted else ""
        refused = self._rename_if_taken()
        self.before = f"in __init__, {unmade}and read `{self.receiver}.{self.name}`; {refused}"

    def _in_its_place(self) -> None:
        """Where the line goes, if not simply in place of the one that was found."""
        source = self._assignment
        if source is not None and source.is_cached_property:
            self.before = f"in __init__, in place of the cached_property on line {source.location.line}; "
            return
        self.before = self._rename_if_taken()
        if source is None:
            return
        if source.initialised_at is not None:
            self.before += f"after line {source.initialised_at}, which runs super().__init__(); "
        if source.shares == "statement":
            self.before += f"in place of its part of line {source.location.line}; "
        if source.shares == "value":
            self.value = source.twin or self.name
            there = "left out there" if source.twin else f"replaced by `{self.value}` there"
            self.before += f"after line {source.location.line}, with `{self.place}` {there}; "

    def _rename_if_taken(self) -> str:
        """Another name, where `register_buffer` would refuse it; says why."""
        is_own = self._where == "instance" and self.place.endswith(f".{self.name}")
        if self.name not in self._setting.names_taken and (is_own or self.name not in self._setting.names_held):
            return ""
        owner = "class" if self.name in self._setting.names_taken else "model"
        refused = f"the {owner} has its own `{self.name}`, which register_buffer refuses; "
        self.name += "_buffer"
        return refused

    def before_using(self, value: str) -> str:
        """What to do before a line that takes `value`: make it, where the source does not spell it out."""
        source = self._assignment
        is_made = self.made_empty or (source is not None and source.shares == "value")
        unmade = self._where == "instance" and not is_made and value == self.place_name != self.quoted
        return f"{self.before}with `{value}` made first; " if unmade else self.before

    @property
    def place_name(self) -> str:
        """The last part of `place`."""
        return self.place.rpartition(".")[2]

    def before_registering(self, value: str) -> str:
        """As `before_using`, for a line that registers a buffer: torch refuses a name that is set already."""
        emptied = self._assignment.emptied_at if self._assignment else None
        delete = f"delete line {emptied}, which sets it first; " if emptied is not None else ""
        return self.before_using(value) + delete

    @property
    def instead_of_none(self) -> str:
        """Which line sets it to nothing, for a buffer to be registered as None there."""
        emptied = self._assignment.emptied_at if self._assignment else None
        return f"in place of line {emptied}" if emptied is not None else ""

    @property
    def instead(self) -> str:
        """Which line is replaced, where that is not the one that was found."""
        elsewhere = self._elsewhere
        return f"in place of {elsewhere}; " if elsewhere and self._where == "instance" else ""

    @property
    def _elsewhere(self) -> str:
        """The line that assigns it, where another one was found: that of an element, say."""
        source, found_at = self._assignment, self._setting.found_at
        if source is None or source.shares or found_at == source.location:
            return ""
        file = f" of {source.location.file}" if found_at and found_at.file != source.location.file else ""
        return f"line {source.location.line}{file}"

    def keep_local(self, once: str, until: str) -> str:
        """Leave what holds the tensors out of the module, where they would be their buffers' stale aliases."""
        match self._where:
            case "function":
                return self.value
            case "instance":
                held = f"`{self.place}`" + f" on {self._elsewhere}" * bool(self._elsewhere)
                self.before = f"{once} a local `{self.place_name}` in place of {held}{until}; "
            case "class":
                self.before = (
                    f"in __init__, {once} a local `{self.place_name}` in place of the class attribute{until}; "
                )
        return self.place_name

    def take_from_inside(self, fault: Fault, *, as_buffer: bool) -> str:
        """The expression for something behind several steps, which gets a name of its own."""
        if self._where == "function":
            return f"{self.value}{fault.inner}"
        self.name = _flat_name(self.name, fault.inner)
        if not as_buffer:
            self.before += f"after `{self.place}` is made; "
            return f"{self.place}{fault.inner}"
        source = self.keep_local("with", ", which forward makes anew from the buffers")
        self.before += self._rename_if_taken()
        return f"{source}{fault.inner}"

    def mentions(self, path: str) -> bool:
        """Whether the value is built from `path` of the same object."""
        whole = rf"(?<![\w.]){re.escape(f'{self.receiver}.{path}')}(?!\w)"
        return self.quoted is not None and re.search(whole, self.quoted) is not None

    def register(self, value: str, *, persistent: bool = False) -> str:
        """The line that registers a buffer, in the file's own style."""
        flag = "" if persistent else self.flag
        computed = self._assignment.computed_name if self._assignment else None
        if computed is not None and self._where == "instance" and self.place_name == self.name:
            return f"{self.receiver}.register_buffer({computed}, {value}{flag})"
        if self._uses_buffer_class and value != "None":
            return f"{self.receiver}.{self.name} = {self.nn}.Buffer({value}{flag})"
        return f'{self.receiver}.register_buffer("{self.name}", {value}{flag})'

    def parameter(self, value: str) -> str:
        """The line that registers a Parameter."""
        made = value if re.match(r"([\w.]+\.)?Parameter\(", value) else f"{self.nn}.Parameter({value})"
        return f"{self.receiver}.{self.name} = {made}"


def _flat_name(name: str, inner: str) -> str:
    """`cache['k'][0]` as an attribute: `cache_k_0`."""
    return "_".join(part for part in re.split(r"\W+", f"{name}{inner}") if part)


def atom(text: str) -> str:
    """The expression, in parentheses where an attribute could not be taken of it as it stands."""
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"({text})"
    simple = (
        ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Dict | ast.DictComp | ast.List | ast.ListComp
    )
    return text if isinstance(node, simple) else f"({text})"
