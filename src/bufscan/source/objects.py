"""The objects of one construction: what their attributes hold at this point of the source, and how."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from bufscan.source.project import nodes_in
from bufscan.source.values import (
    MAY_TRAIN,
    NONE,
    UNKNOWN,
    ClassName,
    Container,
    Either,
    FileName,
    Function,
    Held,
    Instance,
    MethodOf,
    Module,
    Outside,
    Parameter,
    Plain,
    Site,
    Tensor,
    Value,
    either,
    options_of,
    signature,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.source.classes import Classes, ClassInfo, Lineage, Method
    from bufscan.source.project import Project, SourceFile
    from bufscan.source.replay import Recording
    from bufscan.source.values import Memory, Registration

MODULE_METHODS = frozenset(
    (
        *("register_buffer", "register_parameter", "register_module", "add_module", "add_state", "__setattr__"),
        *("parameters", "named_parameters", "buffers", "modules", "children", "state_dict", "apply", "get_buffer"),
        *("to", "cuda", "cpu", "eval", "train", "requires_grad_", "half", "float", "double", "type", "__init__"),
        *("register_forward_pre_hook", "register_forward_hook", "register_load_state_dict_pre_hook"),
        *(
            "load_state_dict",
            "save_hyperparameters",
            "zero_grad",
            "named_modules",
            "named_children",
            "__delattr__",
        ),
    )
)
"""What torch (or Lightning, or torchmetrics) gives every module."""

_CHANGES_NOTHING = frozenset(("to", "cuda", "cpu", "eval", "train", "requires_grad_", "half", "float", "double"))


class Frame:
    """One call: the names in it, and how it was left.

    Attributes:
        names: its local names; those of the function around it are in `around`.
        left: what each `return` gave, and the objects at that point.
    """

    def __init__(
        self, file: SourceFile, owner: ClassInfo | None, method: str, around: dict[str, Value] | None = None
    ) -> None:
        self.file, self.owner, self.method = file, owner, method
        self.around = around or {}
        self.names: dict[str, Value] = {}
        self.node: ast.AST | None = None
        self.calling: ast.stmt | None = None  # the statement that the call is part of
        self.yielded: list[Value] = []
        self.is_generator = False
        self.returned: list[Value] = []
        self.left: list[Snapshot] = []
        self.loops: list[list[Snapshot]] = []

    @property
    def method_receiver(self) -> Value | None:
        """What the first argument stands for: the object, in a method."""
        arguments = getattr(self.node, "args", None)
        if not isinstance(arguments, ast.arguments):
            return None
        first = next(iter([*arguments.posonlyargs, *arguments.args]), None)
        return None if first is None else self.names.get(first.arg)


class Snapshot(NamedTuple):
    """The local names and the attributes of all objects at one point."""

    names: dict[str, Value]
    attributes: list[dict[str, tuple[Held, ...]]]


class NamedBuffer(NamedTuple):
    """One call of `register_buffer`: with which name, and what the object had under it."""

    name: object
    site: Site
    taken_by: str | None


class Objects(ABC):
    """Attributes of objects, read and written as Python and `nn.Module` do it."""

    def __init__(self, project: Project, classes: Classes, lineage: Lineage, memory: Memory) -> None:
        self.project, self.classes, self.lineage, self.memory = project, classes, lineage, memory
        self.frames: list[Frame] = []
        self.heap: list[Instance] = []
        self.statement: ast.stmt = ast.Pass()
        self.buffers: list[NamedBuffer] = []
        self.ran: set[int] = set()
        self.recordings: list[Recording] = []
        self._globals: dict[tuple[SourceFile, str], Value] = {}

    def asked(self, owner: Instance, name: str) -> None:
        """Note that what an object has under a name counts for what is followed, or is changed by it."""
        if self.recordings:
            self.recordings[-1].asked[owner, ("attribute", name, None)] = None

    def of_class(self, cls: ClassInfo, kind: str, name: str = "", after: object = None) -> None:
        """Note the same of what its class has."""
        if self.recordings:
            self.recordings[-1].asked[cls, (kind, name, after)] = None

    @property
    def frame(self) -> Frame:
        """The call that is being followed."""
        return self.frames[-1]

    @abstractmethod
    def call(self, function: Value, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call) -> Value:
        """What a call gives, with what it does to the objects."""

    @abstractmethod
    def evaluate(self, node: ast.expr) -> Value:
        """What an expression is worth, with what evaluating it does to the objects."""

    @abstractmethod
    def block(self, body: Sequence[ast.stmt]) -> bool:
        """Follow statements in their order; gives whether what comes after them is reached."""

    @abstractmethod
    def run(self, function: Function, arguments: Sequence[Value], named: dict[str, Value]) -> Value:
        """What a function of the project gives back."""

    def site(self, value: ast.expr | None = None) -> Site:
        """The statement that is being followed; in `__setattr__` or a loose function, the one that called it."""
        frames = [*self.frames]
        statement = self.statement
        while len(frames) > 1 and (frames[-1].owner is None or frames[-1].method == "__setattr__"):
            inner = frames.pop()
            statement = inner.calling or statement
            is_assigned = inner.owner is not None and isinstance(statement, ast.Assign | ast.AnnAssign)
            value = statement.value if is_assigned else None  # type: ignore[attr-defined]
        frame = frames[-1]
        return Site(frame.file, frame.owner, frame.method, statement, value)

    # What the branches of a statement leave.

    def snapshot(self) -> Snapshot:
        """The state of names and objects here."""
        return Snapshot(dict(self.frame.names), [dict(instance.attributes) for instance in self.heap])

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a state."""
        self.frame.names = dict(snapshot.names)
        for instance, attributes in zip(self.heap, snapshot.attributes, strict=False):
            instance.attributes = dict(attributes)

    def merge(self, snapshots: Sequence[Snapshot]) -> None:
        """Go on with what any of several states has."""
        first, *others = snapshots
        self.restore(first)
        for other in others:
            for name, value in other.names.items():
                known = self.frame.names.get(name)
                self.frame.names[name] = (
                    value if known is None else known if known is value else either((known, value))
                )
            self.merge_objects(other)

    def merge_objects(self, other: Snapshot) -> None:
        """Add what the objects have in another state."""
        for instance, attributes in zip(self.heap, other.attributes, strict=False):
            for name, held in attributes.items():
                known = instance.attributes.get(name)
                if known is None:
                    instance.attributes[name] = held
                elif known != held:
                    instance.attributes[name] = (*known, *(each for each in held if each not in known))

    # Names.

    def named(self, name: str) -> Value:
        """What a name stands for in the frame."""
        frame = self.frame
        found = frame.names.get(name) or frame.around.get(name)
        return found or self.global_named(frame.file, name)

    def global_named(self, file: SourceFile, name: str) -> Value:
        """What a (dotted) name of a file stands for."""
        key = (file, name)
        if key in self.memory.globals:
            return self.memory.globals[key]
        if key not in self._globals:
            self._globals[key] = UNKNOWN
            found = self._globals[key] = self._global(file, name)
            if signature(found) is not None:
                self.memory.globals[key] = found
        return self._globals[key]

    def _global(self, file: SourceFile, name: str) -> Value:
        found = self.project.find(file, name)
        if isinstance(found, str):
            return Outside(found)
        where, own = found
        if not own:
            return FileName(where)
        if own not in where.names:
            if "." in own:
                cls = self.classes.defined(where, own)
                return UNKNOWN if cls is None else ClassName(cls)
            return Outside(own)  # Python's own
        match where.names[own]:
            case ast.ClassDef():
                cls = self.classes.defined(where, own)
                return UNKNOWN if cls is None else ClassName(cls)
            case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
                return Function(where, node)
            case ast.expr() as value:
                return self.value_in_file(where, value)
            case _:
                return UNKNOWN

    def value_in_file(self, file: SourceFile, value: ast.expr, owner: ClassInfo | None = None) -> Value:
        """What an expression in the body of a file or class is worth."""
        self.frames.append(Frame(file, owner, ""))
        try:
            return self.evaluate(value)
        finally:
            self.frames.pop()

    # Attributes.

    def attribute(self, owner: Value, name: str) -> Value:
        """What `owner.name` gives."""
        match owner:
            case Either(options=options):
                return either([self.attribute(option, name) for option in options])
            case Instance():
                return self._of_instance(owner, name)
            case FileName(file=file):
                if name in file.names or file.star_imports:
                    return self.global_named(file, name)
                inner = self.project.module(file.root, f"{file.module}.{name}")
                return UNKNOWN if inner is None else FileName(inner)
            case Outside(dotted=dotted):
                return Outside(f"{dotted}.{name}")
            case ClassName(cls=cls):
                return self._of_class(cls, name)
            case Module(cls=cls) if cls is not None and (method := self.classes.lineage(cls).method(name)):
                if method.kind in ("property", "cached_property"):
                    return MAY_TRAIN
                return Function(
                    method.owner.file, method.node, owner=method.owner, receiver=_receiver(method, owner)
                )
            case Module() | Tensor() | Parameter() | Container():
                return MethodOf(owner, name)
            case Plain():
                return MethodOf(owner, name)
            case _:
                return MAY_TRAIN if owner is not UNKNOWN or name in ("weight", "bias") else UNKNOWN

    def _of_instance(self, instance: Instance, name: str) -> Value:
        self.asked(instance, name)
        held = instance.attributes.get(name)
        if held is not None:
            return either([_seen(each, name) for each in held])
        if name in ("__dict__", "__class__"):
            return MethodOf(instance, name)
        lineage = self.lineage_of(instance)
        self.of_class(instance.cls, "method", name)
        method = lineage.method(name)
        if method is not None:
            found = Function(
                method.owner.file, method.node, owner=method.owner, receiver=_receiver(method, instance)
            )
            return self.run(found, [], {}) if method.kind in ("property", "cached_property") else found
        self.of_class(instance.cls, "value", name)
        class_value = lineage.attribute(name)
        if class_value is not None:
            cls, value = class_value
            return self.value_in_file(cls.file, value, cls)
        if name in MODULE_METHODS and instance.is_module:
            return MethodOf(instance, name)
        return UNKNOWN

    def _of_class(self, cls: ClassInfo, name: str) -> Value:
        lineage = self.classes.lineage(cls)
        self.of_class(cls, "method", name)
        self.of_class(cls, "value", name)
        method = lineage.method(name)
        if method is not None:
            receiver = ClassName(cls) if method.kind == "class" else None
            return Function(method.owner.file, method.node, owner=method.owner, receiver=receiver)
        class_value = lineage.attribute(name)
        if class_value is None:
            return Outside(f"{cls.name}.{name}") if name == "__init__" else UNKNOWN
        return self.value_in_file(class_value[0].file, class_value[1], class_value[0])

    def behind(self, after: ClassInfo, receiver: Value, name: str) -> Value:
        """What `super().name` gives."""
        if not isinstance(receiver, Instance):
            return UNKNOWN
        self.of_class(receiver.cls, "method", name, after)
        method = self.lineage_of(receiver).method(name, after)
        if method is not None:
            return Function(
                method.owner.file, method.node, owner=method.owner, receiver=_receiver(method, receiver)
            )
        return MethodOf(receiver, name)

    def lineage_of(self, instance: Instance) -> Lineage:
        """What the class of an object inherits."""
        return self.classes.lineage(instance.cls)

    def set_attribute(  # noqa: PLR0913 - the two ways to set it differ in a word
        self,
        owner: Value,
        name: str,
        value: Value,
        node: ast.expr | None,
        *,
        direct: bool = False,
        passed_on: bool = False,
    ) -> None:
        """`owner.name = value`; `passed_on` by a `__setattr__` of the class's own, if it has one."""
        for option in options_of(owner):
            if not isinstance(option, Instance):
                hold(value)
                if isinstance(option, Container):
                    option.put(value)
                continue
            self.asked(option, name)
            self.of_class(option.cls, "setter", name)
            lineage = self.lineage_of(option)
            own = lineage.method("__setattr__")
            self.of_class(option.cls, "method", "__setattr__")
            if own is not None and not direct and not passed_on:
                self._set_by(own, option, name, value)
                continue
            setter = lineage.setter(name)
            if setter is not None and not direct:
                function = Function(setter.owner.file, setter.node, owner=setter.owner, receiver=option)
                self.run(function, [value], {})
                continue
            site = self.site(node)
            known = option.attributes.get(name, ())
            held = [
                Held(each, site, self._registration(option, each, known, direct=direct))
                for each in options_of(value)
            ]
            # What is registered stays so, hidden behind what the object itself has.
            hidden = [each for each in known if each.registration not in ("plain", "direct")] if direct else []
            option.attributes[name] = (*hidden, *held)

    def _set_by(self, own: Method, instance: Instance, name: str, value: Value) -> None:
        """What a `__setattr__` of the class's own makes of it; no tensor is sure where that may be anything."""
        before = dict(instance.attributes)
        function = Function(own.owner.file, own.node, owner=own.owner, receiver=instance)
        self.run(function, [Plain(name, is_known=True), value], {})
        after = instance.attributes
        changed = {each for each in {**before, **after} if before.get(each) is not after.get(each)}
        passed_on = [held.value for held in after.get(name, ())]
        if changed != {name} or any(each not in options_of(value) for each in passed_on):
            instance.attributes = before
            kept = [
                each if isinstance(each, Plain | Parameter | Module) else UNKNOWN for each in options_of(value)
            ]
            self.set_attribute(instance, name, either(kept), None, passed_on=True)

    def _registration(
        self, instance: Instance, value: Value, known: tuple[Held, ...], *, direct: bool
    ) -> Registration:
        if direct:
            return "direct"
        if not instance.is_module:
            return "plain"
        match value:
            case Parameter():
                value.is_held = True
                return "parameter"
            case Module():
                value.is_held = True
                return "module"
            case Tensor(is_buffer=True, persistent=persistent):
                return "buffer" if persistent else "non_persistent_buffer"
            case _:
                pass
        before = [each.registration for each in known if each.registration not in ("plain", "direct")]
        if before and (isinstance(value, Tensor) or value is NONE or isinstance(value, MethodOf)):
            return before[0]
        return "plain"

    def delete_attribute(self, owner: Value, name: str) -> None:
        """`del owner.name`."""
        for option in options_of(owner):
            if isinstance(option, Instance):
                self.asked(option, name)
                option.attributes.pop(name, None)

    def register(
        self, owner: Value, name: Value, value: Value, registration: Registration, node: ast.expr | None
    ) -> None:
        """`owner.register_buffer(name, value)` and its like."""
        hold(value)
        spelled = name.constant if isinstance(name, Plain) and name.is_known else None
        for option in options_of(owner):
            if not isinstance(option, Instance):
                continue
            self.asked(option, str(spelled))
            site = self.site(node)
            if registration.endswith("buffer") and spelled is not None:
                self.buffers.append(NamedBuffer(spelled, site, self._taken(option, str(spelled))))
            if isinstance(spelled, str):
                option.attributes[spelled] = tuple(Held(each, site, registration) for each in options_of(value))

    def _taken(self, instance: Instance, name: str) -> str | None:
        """What has the name already, so that no buffer can have it."""
        self.of_class(instance.cls, "class")
        held = instance.attributes.get(name, ())
        if held and all(each.registration in ("plain", "parameter", "module") for each in held):
            return {"plain": "an attribute", "parameter": "a parameter", "module": "a module"}[
                held[0].registration
            ]
        lineage = self.lineage_of(instance)
        method = lineage.method(name)
        if method is not None and "property" in method.kind:
            return "a property" if self._surely_gives(instance, method, name) else None
        if method is not None:
            return "a method"
        if lineage.attribute(name) is not None:
            return "a class attribute"
        return "an attribute of nn.Module" if name in _NAMES_OF_MODULE else None

    def _surely_gives(self, instance: Instance, method: Method, name: str) -> bool:
        """Whether a property of that name can be read by now: one that raises hides nothing from `hasattr`."""
        for node in nodes_in(method.node):
            match node:
                case ast.Name(id="super") | ast.Constant(value="_buffers"):
                    return False
                case ast.Attribute(value=ast.Name(id="self"), attr=read):
                    is_there = read in instance.attributes or self.lineage_of(instance).has(read)
                    if read == name or not (is_there or read in _NAMES_OF_MODULE):
                        return False
                case _:
                    pass
        return True


_NAMES_OF_MODULE = frozenset(
    (
        *("add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu", "cuda"),
        *("double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state"),
        *("get_parameter", "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers"),
        *("named_children", "named_modules", "named_parameters", "parameters", "register_backward_hook"),
        *("register_buffer", "register_forward_hook", "register_forward_pre_hook", "register_module"),
        *("register_full_backward_hook", "register_parameter", "requires_grad_", "set_extra_state"),
        *("set_submodule", "share_memory", "state_dict", "to", "to_empty", "train", "training", "type", "xpu"),
        *("zero_grad", "T_destination"),
    )
)
"""What an empty `nn.Module` has: `hasattr` is what `register_buffer` asks."""


def _seen(held: Held, name: str) -> Value:
    """What reading an attribute gives: of what is registered, something that shows the same elements."""
    value = held.value
    if isinstance(value, Tensor) and held.registration in ("buffer", "non_persistent_buffer"):
        return Tensor(value.how, has_dimensions=value.has_dimensions, alias=name, grad=value.grad)
    if isinstance(value, Parameter):
        value.name = name if held.registration == "parameter" else value.name
    if held.registration == "parameter" and not isinstance(value, Parameter):
        return MAY_TRAIN
    return value


def _receiver(method: Method, owner: Value) -> Value | None:
    if method.kind == "static":
        return None
    if method.kind == "class" and isinstance(owner, Instance):
        return ClassName(owner.cls)
    return owner


def hold(value: Value) -> None:
    """Whoever takes this may register all modules and Parameters in it."""
    for each in within(value):
        if isinstance(each, Module | Parameter):
            each.is_held = True
        elif isinstance(each, Instance):
            for held in [held for kept in each.attributes.values() for held in kept]:
                if isinstance(held.value, Module | Parameter):
                    held.value.is_held = True
