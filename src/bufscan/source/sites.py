"""Every place in a class or module that gives a named slot its value: pure syntax, nothing is resolved or run."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal, NamedTuple

from bufscan.source.slots import INSERTING, PLAIN_NAMES, Receivers, constant_key, last_name, slot_named

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator

    from bufscan.source.project import FunctionNode
    from bufscan.source.slots import Key, Slot

Kind = Literal["whole", "augmented", "element", "registration", "field"]
_REGISTERING = {"register_buffer", "register_parameter", "register_module", "add_module"}
_DIRECT = {"__setattr__", "update"}  # `object.__setattr__(self, …)`, `self.__dict__.update(…)`
_EMPTY_WITHOUT_ARGUMENTS = {"list", "dict", "set", "tuple", "deque", "OrderedDict"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEEPEST_LITERAL = 20  # a literal nested deeper is taken to hold a tensor


class Site(NamedTuple):
    """One place that gives a slot (an attribute, or a module's global) its value.

    Attributes:
        line: of the target, counted from 1 in the file.
        kind: `whole` sets the slot; `augmented` is `+=` and its like; `element` puts something into what the slot
            holds; `registration` is a call like `register_buffer`; `field` only declares (`x: Tensor`).
        value: what is assigned, put in or registered, where that is one expression.
        method: the method it stands in; None in a class or module body.
        on_class: whether the class itself gets the slot, rather than an instance.
        key: of an element, where the source spells it.
        is_direct: whether it goes past the object's own `__setattr__`, straight into the instance dict.
    """

    line: int
    kind: Kind
    value: ast.expr | None
    method: str | None
    on_class: bool = False
    key: Key | None = None
    is_direct: bool = False


class References(NamedTuple):
    """Names of methods a method may call: on its own instance, on `super()`, and on a class by name."""

    own: set[str]
    parent: set[str]
    named: set[tuple[str, str]]


class Sites:
    """The sites of one class or module, by slot.

    Attributes:
        methods: what each of its methods refers to.
    """

    def __init__(self) -> None:
        self.methods: dict[str, References] = {}
        self._by_slot: dict[str, list[Site]] = {}
        self._by_pattern: list[tuple[re.Pattern[str], Site]] = []

    def of(self, slot: str) -> list[Site]:
        """Sites that spell the slot's name."""
        return self._by_slot.get(slot, [])

    def computing(self, slot: str) -> list[Site]:
        """Sites that may compute the slot's name (`setattr(self, f"mask_{i}", …)`), by most literal text."""
        fitting = [(pattern.pattern, site) for pattern, site in self._by_pattern if pattern.fullmatch(slot)]
        longest = max((len(pattern) for pattern, _ in fitting), default=0)
        return [site for pattern, site in fitting if len(pattern) == longest]

    def add(self, found: Iterable[tuple[Slot, Site]]) -> None:
        """Take in what a walk has found."""
        for slot, site in found:
            if isinstance(slot, str):
                self._by_slot.setdefault(slot, []).append(site)
            else:
                self._by_pattern.append((slot, site))


def sites_in_class(node: ast.ClassDef) -> Sites:
    """Index a class: its body and all its methods, but not the classes inside it."""
    sites = Sites()
    body = list(walk(node.body, into_functions=False))
    sites.add(_found(body, PLAIN_NAMES, on_class=True))
    for statement in body:
        if isinstance(statement, _FUNCTIONS):
            _add_method(sites, statement, node.name)
    return sites


def sites_in_module(tree: ast.Module) -> Sites:
    """Index a module's globals, those that a function declares `global` included."""
    sites = Sites()
    body = list(walk(tree.body, into_functions=False))
    sites.add(_found(body, PLAIN_NAMES))
    for statement in body:
        if isinstance(statement, _FUNCTIONS):
            inside = list(walk(statement.body))
            declared = {name for node in inside if isinstance(node, ast.Global) for name in node.names}
            if declared:
                found = _found(inside, PLAIN_NAMES, method=statement.name)
                sites.add((slot, site) for slot, site in found if slot in declared)
    return sites


def sites_on_class_name(tree: ast.Module, name: str) -> Sites:
    """Index what a module's body assigns to a class from outside: `Model.table = torch.ones(3)`."""
    sites = Sites()
    sites.add(_found(list(walk(tree.body, into_functions=False)), Receivers({name}), on_class=True))
    return sites


def _add_method(sites: Sites, function: FunctionNode, owner: str) -> None:
    nodes = list(walk(function.body))
    instances, classes = _receivers_of(function, nodes, owner)
    sites.add(_found(nodes, Receivers(instances, owner), method=function.name))
    sites.add(_found(nodes, Receivers(classes, owner, instances), method=function.name, on_class=True))
    references = sites.methods.setdefault(function.name, References(set(), set(), set()))
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=method) if name in instances | classes:
                references.own.add(method)
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=method):
                references.parent.add(method)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=base), attr=method), args=[ast.Name(id=name), *_]
            ) if name in instances:
                references.named.add((base, method))


def _receivers_of(function: FunctionNode, nodes: list[ast.AST], owner: str) -> tuple[set[str], set[str]]:
    """The names that stand for an instance and for the class in a method; `self` is only the usual one."""
    instances: set[str] = set()
    classes = {owner}
    decorators = {last_name(decorator) for decorator in function.decorator_list}
    parameters = [*function.args.posonlyargs, *function.args.args]
    if parameters and "staticmethod" not in decorators:
        takes_class = "classmethod" in decorators or function.name in {"__new__", "__init_subclass__"}
        (classes if takes_class else instances).add(parameters[0].arg)
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=alias)], value=ast.Name(id=name)) if name in instances:
                instances.add(alias)
            case ast.Assign(targets=[ast.Name(id=made)], value=ast.Call(func=ast.Attribute(attr="__new__"))):
                instances.add(made)
            case ast.Assign(targets=[ast.Name(id=made)], value=ast.Call(func=ast.Name(id=name))) if (
                name in classes
            ):
                instances.add(made)
    return instances, classes


def may_hold_tensor(value: ast.expr | None, depth: int = 0) -> bool:
    """Whether an expression could be a tensor or hold one: constants and empty containers cannot."""
    if value is None or depth > _DEEPEST_LITERAL:
        return True
    parts: list[ast.expr]
    match value:
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            parts = elements
        case ast.Dict(values=values):
            parts = values
        case ast.UnaryOp(operand=inner) | ast.Starred(value=inner):
            parts = [inner]
        case ast.BinOp(left=ast.List() | ast.Tuple() as repeated, op=ast.Mult()):
            parts = [repeated]
        case ast.IfExp(body=one, orelse=other):
            parts = [one, other]
        case ast.Call(args=[], keywords=[]) if last_name(value.func) in _EMPTY_WITHOUT_ARGUMENTS:
            parts = []
        case ast.Call() if last_name(value.func) == "defaultdict":
            parts = []
        case ast.Constant() | ast.JoinedStr():
            parts = []
        case _:
            return True
    return any(may_hold_tensor(part, depth + 1) for part in parts)


def _found(
    nodes: list[ast.AST], receivers: Receivers, *, method: str | None = None, on_class: bool = False
) -> Iterator[tuple[Slot, Site]]:
    """Sites among `nodes`, statements and calls alike."""
    for node in nodes:
        for target, value, kind in _bindings(node):
            if found := receivers.slot(target):
                is_direct = isinstance(target, ast.Subscript)
                yield found[1], Site(target.lineno, kind, value, method, on_class, None, is_direct)
            elif inner := receivers.inside(target):
                yield inner[1], Site(target.lineno, "element", value, method, on_class, inner[2])
        if isinstance(node, ast.Call):
            for slot, kind, value, key in _called(node, receivers):
                is_direct = kind == "whole" and last_name(node.func) in _DIRECT and not _is_super(node.func)
                yield slot, Site(node.lineno, kind, value, method, on_class, key, is_direct)


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None, Kind]]:
    """What a statement (or walrus) assigns, to what, and how."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _unpacked(target, value)
        case ast.AnnAssign(target=target, value=value):
            yield target, value, "field" if value is None else "whole"
        case ast.AugAssign(target=target, value=value):
            yield target, value, "augmented"
        case ast.NamedExpr(target=target, value=value):
            yield target, value, "whole"
        case (
            ast.For(target=target) | ast.AsyncFor(target=target) | ast.withitem(optional_vars=ast.expr() as target)
        ):
            yield from _unpacked(target, None)
        case ast.comprehension(target=ast.Attribute() | ast.Subscript() as target):  # a plain name stays inside
            yield target, None, "whole"
        case _:
            pass


def _unpacked(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[ast.expr, ast.expr | None, Kind]]:
    """Pair the parts of a tuple target with those of a tuple value of the same length."""
    match target:
        case ast.Starred(value=inner):
            yield from _unpacked(inner, None)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            values: list[ast.expr | None] = [None] * len(targets)
            if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(targets):
                starred = any(isinstance(part, ast.Starred) for part in [*targets, *value.elts])
                values = values if starred else list(value.elts)
            for part, its_value in zip(targets, values, strict=True):
                yield from _unpacked(part, its_value)
        case _:
            yield target, value, "whole"


def _called(call: ast.Call, receivers: Receivers) -> Iterator[tuple[Slot, Kind, ast.expr | None, Key | None]]:
    """Slot, kind, value and key of what a call assigns, registers or puts into a container."""
    match call:
        case (
            ast.Call(func=ast.Name(id="setattr"), args=[owner, name, value])
            | ast.Call(func=ast.Attribute(attr="__setattr__"), args=[owner, name, value])
        ) if receivers.of(owner) and (slot := slot_named(name)):
            yield slot, "whole", value, None
        case ast.Call(func=ast.Attribute(value=owner, attr="__setattr__"), args=[name, value]) if (
            _is_super(owner) or receivers.of(owner)
        ) and (slot := slot_named(name)):
            yield slot, "whole", value, None
        case ast.Call(func=ast.Attribute(value=owner, attr=method)) if method in _REGISTERING and (
            _is_super(owner) or receivers.of(owner)
        ):
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
            if arguments and (slot := slot_named(arguments[0])):
                yield slot, "registration", arguments[1] if len(arguments) > 1 else None, None
        case ast.Call(func=ast.Attribute(value=namespace, attr="update")) if (
            receivers.of_namespace(namespace) is not None
        ):
            for name_set, value_set in _items(call):
                yield name_set, "whole", value_set, None
        case ast.Call(func=ast.Attribute(value=container, attr=method)) if method in INSERTING:
            yield from _inserted(call, container, method, receivers)


def _inserted(
    call: ast.Call, container: ast.expr, method: str, receivers: Receivers
) -> Iterator[tuple[Slot, Kind, ast.expr | None, Key | None]]:
    found = receivers.slot(container) or receivers.inside(container)
    if not found:
        return
    slot = found[1]
    if method == "update":
        for name, its_value in _items(call):
            yield slot, "element", its_value, name
    key = constant_key(call.args[0]) if method == "setdefault" and call.args else None
    position = INSERTING[method]
    value = call.args[position] if len(call.args) > position else None
    yield slot, "element", value, key


def _items(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Keys and values of `update({"k": v}, k=v)` where the source spells them."""
    for argument in call.args:
        if isinstance(argument, ast.Dict):
            for key, value in zip(argument.keys, argument.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg, keyword.value


def _is_super(node: ast.expr) -> bool:
    """Whether it is `super()`, or an attribute of it."""
    node = node.value if isinstance(node, ast.Attribute) else node
    return isinstance(node, ast.Call) and last_name(node.func) == "super"


def walk(body: Iterable[ast.AST], *, into_functions: bool = True) -> Iterator[ast.AST]:
    """Nodes in the order of the source; a function's inside only where asked for, a class's never."""
    closed = () if into_functions else (*_FUNCTIONS, ast.Lambda)
    pending = list(body)[::-1]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.ClassDef):
            continue
        yield node
        if not isinstance(node, closed):
            pending.extend(list(ast.iter_child_nodes(node))[::-1])
