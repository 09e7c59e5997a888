"""An abstract pass through a method: what becomes of one attribute of its object.

The source is followed statement by statement, and nothing is executed. Of each value is known only whether it may
be the attribute's old one, computed from that, or neither.
"""

from __future__ import annotations

import ast
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from bufscan.source.slots import INSERTING, Receivers, last_name, slot_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bufscan.source.project import FunctionNode as Function

Origin: TypeAlias = Literal["old", "derived", "fresh"]
Value: TypeAlias = frozenset[Origin]
"""What a value may be; nothing at all where the code is not reached."""

_Part = TypeVar("_Part")

_NOWHERE: Value = frozenset()
_OLD: Value = frozenset(("old",))
_FRESH: Value = frozenset(("fresh",))
_DERIVED: Value = frozenset(("derived",))

_MOST_STEPS = 20_000
_SAME_VALUE = frozenset(
    (
        *("to", "cuda", "cpu", "xpu", "float", "double", "half", "bfloat16", "int", "long", "bool", "type"),
        *("type_as", "detach", "detach_", "clone", "contiguous", "requires_grad_", "pin_memory", "data"),
        *("tensor", "as_tensor", "deepcopy", "copy", "Parameter"),
        # What packages call their own helpers (pytorch-metric-learning, allennlp, Lightning, accelerate).
        *("to_device", "move_to_device", "move_data_to_device", "send_to_device"),
        *("list", "tuple", "dict", "zip", "enumerate", "values", "items"),
    )
)
"""What gives the same elements again, on another device or in another container."""
_NO_VALUE = frozenset(
    (
        *("dtype", "device", "shape", "ndim", "layout", "size", "dim", "numel", "stride", "is_cuda", "is_meta"),
        *("get_device", "element_size", "requires_grad", "grad", "keys", "len", "isinstance", "hasattr"),
    )
)
"""What tells of a tensor without reading its elements, as do `new_zeros` and `zeros_like`."""
_OVERWRITING = frozenset(("copy_", "zero_", "fill_", "set_", "normal_", "uniform_", "resize_", "clear"))


def combined_truth(test: ast.UnaryOp | ast.BoolOp, truth: Callable[[ast.expr], bool | None]) -> bool | None:
    """What `not`, `and` or `or` makes of what `truth` knows of its parts; None where that does not decide it."""
    if isinstance(test, ast.UnaryOp):
        known = truth(test.operand)
        return None if known is None else not known
    decisive = isinstance(test.op, ast.Or)
    truths = [truth(value) for value in test.values]
    if decisive in truths:
        return decisive
    return None if None in truths else not decisive


class Routine(NamedTuple):
    """A function that runs at every forward pass.

    Attributes:
        node: its definition.
        receivers: the names of its arguments that stand for the module.
        owner: name of the class that defines it; "" for none.
        position: of that class in the method resolution order.
    """

    node: Function
    receivers: frozenset[str]
    owner: str = ""
    position: int = -1


Lookup: TypeAlias = "Callable[[str, int], Routine | None]"
"""The method of that name, of the first class after a position in the method resolution order."""


Fate: TypeAlias = Literal["state", "renewed", "cache"]
"""`state`: computed from its own old value, or made anew while training only and used without; `renewed`: made
anew by every pass; `cache`: made anew by some.
"""


class TooLongError(Exception):
    """The source is longer than is worth following."""


def fate_of(attribute: str, routines: Sequence[Routine], methods: Lookup, *, is_tensor: bool) -> Fate | None:
    """What routines, with all the methods they call, do to an attribute; None where they do not assign it.

    None too where they cannot be followed. `is_tensor` is whether the attribute itself is a tensor, rather than a
    container of tensors.
    """
    passes = []
    for training in (True, False):
        run = Pass(attribute, methods, training=training, is_tensor=is_tensor)
        try:
            for routine in routines:
                run.enter(routine)
        except (TooLongError, RecursionError):
            return None
        passes.append(run)
    trained, evaluated = passes
    if not trained.assigned and not evaluated.assigned:
        return None
    is_learned = trained.assigned and not evaluated.assigned and evaluated.was_read
    if is_learned or "derived" in trained.value | evaluated.value:
        return "state"
    return "cache" if "old" in trained.value | evaluated.value else "renewed"


class _Call:
    """One call: what its names stand for, and what has left it."""

    def __init__(self, routine: Routine) -> None:
        self.routine = routine
        self.receivers = Receivers(set(routine.receivers), routine.owner)
        self.names: dict[str, Value] = {}
        self.returned: Value = _NOWHERE
        self.left: list[Value] = []
        self.loops: list[list[tuple[Value, dict[str, Value]]]] = []


class Pass:
    """One abstract forward pass.

    Attributes:
        value: what the attribute is at this point.
        assigned: whether some statement that was reached gives it a value.
        was_read: whether its old value was used.
    """

    def __init__(self, attribute: str, methods: Lookup, *, training: bool, is_tensor: bool) -> None:
        self.value: Value = _OLD
        self.assigned = self.was_read = False
        self._attribute, self._methods = attribute, methods
        self._training, self._is_tensor = training, is_tensor
        self._calls: list[_Call] = []
        self._steps = 0

    def enter(self, routine: Routine, arguments: Sequence[Value] = ()) -> Value:
        """Run a function; gives what it returns."""
        if any(call.routine.node is routine.node for call in self._calls):
            return _FRESH
        frame = _Call(routine)
        given = routine.node.args
        names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
        names = [name for name in names if name not in routine.receivers]
        frame.names = dict(zip(names, arguments, strict=False))
        self._calls.append(frame)
        self._block(routine.node.body)
        self._calls.pop()
        self.value = self.value.union(*frame.left)
        return frame.returned or _FRESH

    @property
    def _here(self) -> _Call:
        return self._calls[-1]

    def _block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            if not self.value:
                return
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value)
            case ast.AugAssign(target=target, value=value):
                self._store(target, _computed(self._of(target) | self._of(value)))
            case ast.Expr(value=value):
                self._of(value)
            case ast.Return(value=value):
                self._here.returned |= self._of(value) if value else _FRESH
                self._here.left.append(self.value)
                self.value = _NOWHERE
            case ast.Raise():
                self.value = _NOWHERE
            case ast.Break() | ast.Continue() if self._here.loops:
                self._here.loops[-1].append((self.value, dict(self._here.names)))
                self.value = _NOWHERE
            case _:
                self._compound(node)

    def _compound(self, node: ast.stmt) -> None:
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                self._join([partial(self._block, way) for way in self._ways(test, body, orelse)])
            case ast.For() | ast.AsyncFor():
                items = self._of(node.iter)
                self._loop(lambda: self._store(node.target, items), node.body)
                self._block(node.orelse)
            case ast.While():
                self._loop(lambda: self._of(node.test), node.body)
                self._block(node.orelse)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    value = self._of(item.context_expr)
                    if item.optional_vars is not None:
                        self._store(item.optional_vars, value)
                self._block(node.body)
            case ast.Try() | ast.TryStar():
                self._join([partial(self._block, way.body) for way in (node, *node.handlers)])
                self._block([*node.orelse, *node.finalbody])
            case ast.Match():
                self._of(node.subject)
                self._join([*(partial(self._block, case.body) for case in node.cases), _nothing])
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._join([partial(self._inner, node), _nothing])
            case _:
                pass

    def _ways(self, test: ast.expr, one: _Part, other: _Part) -> list[_Part]:
        """Which of two ways may be gone: both, unless the test asks for `self.training` alone."""
        self._of(test)
        truth = self._truth(test)
        return [one] * (truth is not False) + [other] * (truth is not True)

    def _inner(self, node: Function) -> None:
        """A function made here, called as if at once; what it returns is lost."""
        frame = self._here
        left, returned = len(frame.left), frame.returned
        self._block(node.body)
        self.value = self.value.union(*frame.left[left:])
        del frame.left[left:]
        frame.returned = returned

    def _loop(self, begin: Callable[[], object], body: list[ast.stmt]) -> None:
        """Not at all, once, and once more after that."""

        def once() -> None:
            begin()
            self._block(body)

        for _ in range(2):
            self._here.loops.append([])
            self._join([once, _nothing])
            for value, names in self._here.loops.pop():
                self._merge(value, names)

    def _join(self, ways: Sequence[Callable[[], object]]) -> None:
        """Go each way from here; afterwards all that any of them may have left holds."""
        frame = self._here
        value, names = self.value, frame.names
        ends = []
        for way in ways:
            self.value, frame.names = value, dict(names)
            way()
            ends.append((self.value, frame.names))
        self.value, frame.names = _NOWHERE, {}
        for end in ends:
            self._merge(*end)

    def _merge(self, value: Value, names: dict[str, Value]) -> None:
        if not value:
            return
        self.value |= value
        for name, known in names.items():
            self._here.names[name] = self._here.names.get(name, _NOWHERE) | known

    def _truth(self, test: ast.expr) -> bool | None:
        """What is known of a condition: `self.training` alone."""
        match test:
            case ast.Attribute(value=inner, attr="training") if self._here.receivers.of(inner):
                return self._training
            case ast.UnaryOp(op=ast.Not()) | ast.BoolOp():
                return combined_truth(test, self._truth)
            case _:
                return None

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case (
                ast.Tuple(elts=targets) | ast.List(elts=targets),
                ast.Tuple(elts=values) | ast.List(elts=values),
            ) if len(targets) == len(values):
                found = [self._of(part) for part in values]
                for part, its_value in zip(targets, found, strict=True):
                    self._store(part, its_value)
            case _:
                self._store(target, self._of(value))

    def _store(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part in targets:
                    self._store(part, value)
            case ast.Starred(value=inner):
                self._store(inner, value)
            case ast.Name(id=name):
                self._here.names[name] = value
            case _ if self._is_it(target):
                self.value, self.assigned = value, True
            case ast.Subscript() | ast.Attribute():
                found = self._here.receivers.inside(target)
                if found and found[1] == self._attribute:
                    self._write_into(value)
            case _:
                pass

    def _write_into(self, value: Value) -> None:
        """Elements of it are replaced: of a tensor, which so keeps the others; a container only takes them in."""
        self.value = _computed(self.value) if self._is_tensor else self.value | value
        self.assigned = self.assigned or not self._is_tensor

    def _is_it(self, node: ast.expr) -> bool:
        found = self._here.receivers.slot(node)
        return found is not None and found[1] == self._attribute

    def _of(self, node: ast.expr) -> Value:
        """What an expression may be, with the effects of evaluating it."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooLongError
        if self._is_it(node):
            self.was_read = self.was_read or "old" in self.value
            return self.value
        found = _FRESH
        match node:
            case ast.Name(id=name):
                found = self._here.names.get(name, _FRESH)
            case ast.Attribute(value=inner, attr=name):
                found = self._attribute_of(inner, name)
            case ast.Call():
                found = self._call(node)
            case ast.Starred(value=inner) | ast.Await(value=inner):
                found = self._of(inner)
            case ast.NamedExpr(target=target, value=value):
                found = self._of(value)
                self._store(target, found)
            case ast.Subscript(value=inner, slice=index):
                part = self._is_tensor or any(isinstance(each, ast.Slice) for each in ast.walk(index))
                found = self._of(inner) | (self._of(index) if part else _NOWHERE)
                found = _computed(found) if part else found
            case ast.Constant() | ast.JoinedStr() | ast.Lambda():
                pass
            case _:
                found = self._of_several(node)
        return found

    def _of_several(self, node: ast.expr) -> Value:
        found = _FRESH
        match node:
            case ast.IfExp(test=test, body=one, orelse=other):
                found = _NOWHERE.union(*map(self._of, self._ways(test, one, other)))
            case ast.BoolOp(values=values):
                found = _NOWHERE.union(*map(self._of, values))
            case ast.Compare(ops=[ast.Is() | ast.IsNot() | ast.In() | ast.NotIn(), *_]):
                pass
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.Dict(values=parts):
                found = self._display(parts)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                for generator in node.generators:
                    self._store(generator.target, self._of(generator.iter))
                found = self._of(node.value if isinstance(node, ast.DictComp) else node.elt)
            case _:
                found = self._computed_from(ast.iter_child_nodes(node))
        return found

    def _computed_from(self, nodes: Iterable[ast.AST]) -> Value:
        found = [self._of(node) for node in nodes if isinstance(node, ast.expr)]
        return _computed(_FRESH.union(*found))

    def _display(self, parts: Sequence[ast.expr]) -> Value:
        """A container is the old one only as a whole."""
        found = [self._of(part) for part in parts if not isinstance(part, ast.Constant)]
        together = _NOWHERE.union(*found) or _FRESH
        return _computed(together) if "old" in together and any("old" not in part for part in found) else together

    def _attribute_of(self, inner: ast.expr, name: str) -> Value:
        if self._here.receivers.of(inner):
            return self._member(name, [])
        if name in _NO_VALUE:
            return _FRESH
        found = self._of(inner)
        return found if name in _SAME_VALUE else _computed(found)

    def _member(self, name: str, arguments: Sequence[Value], after: int = -1) -> Value:
        """An attribute of the module's own: a property, or a method that is called here or handed on."""
        routine = self._methods(name, after)
        return _FRESH if routine is None else self.enter(routine, arguments)

    def _call(self, call: ast.Call) -> Value:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        match call.func, call.args:
            case ast.Name(id="setattr"), [owner, name, value] if self._here.receivers.of(owner):
                found = self._of(value)
                if slot_named(name) == self._attribute:
                    self.value, self.assigned = found, True
            case ast.Attribute(value=inner, attr=name), _ if self._here.receivers.of(inner):
                found = self._member(name, [self._of(part) for part in given])
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name), _:
                found = self._member(name, [self._of(part) for part in given], self._here.routine.position)
            case ast.Attribute(value=inner, attr=name), _ if (
                name in INSERTING and not self._is_tensor and self._is_it(inner)
            ):
                found = self._computed_from(given)
                self._write_into(found)
            case ast.Attribute(value=inner, attr=name), _ if _is_in_place(name):
                found = self._written(inner, name, self._computed_from(given))
            case ast.Attribute(value=inner, attr=name), _ if name in _SAME_VALUE and not _is_library(inner):
                found = self._of(inner)  # what else `to` and `type_as` take gives no elements
            case _:
                found = self._called(call.func, given)
        return found

    def _called(self, function: ast.expr, given: Sequence[ast.expr]) -> Value:
        """What a function makes that is none of the module's own."""
        name = last_name(function) or ""
        if name in _NO_VALUE or name.endswith("_like") or name.startswith("new_"):
            return _FRESH
        found = _NOWHERE.union(self._of(function), *map(self._of, given))
        return found if name in _SAME_VALUE else _computed(found)

    def _written(self, node: ast.expr, method: str, given: Value) -> Value:
        """What an in-place method leaves."""
        found = given if method in _OVERWRITING else _computed(self._of(node) | given)
        if self._is_it(node):
            self.value = found
        return found


def _computed(value: Value) -> Value:
    """What is computed from it."""
    return _DERIVED | (value & _FRESH) if value - _FRESH else value


def _is_in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__") and name not in _SAME_VALUE


def _is_library(node: ast.expr) -> bool:
    """Whether what it has are a library's functions: `torch.tensor(…)`, `copy.deepcopy(…)`."""
    return isinstance(node, ast.Name) and node.id in ("torch", "copy", "nn", "np")


def _nothing() -> None:
    """The way past a loop or a case."""
