"""What expressions are worth while an object is built."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

from bufscan.source.abstract_pass import TooLongError, combined_truth
from bufscan.source.objects import Objects, hold
from bufscan.source.project import dotted_name
from bufscan.source.torch_facts import (
    DETACHING,
    PARAMETERS,
    SURE_VIEWS,
    TENSOR_ATTRIBUTES,
    is_module_class,
    is_tensor_class,
)
from bufscan.source.values import (
    MAY_TRAIN,
    NONE,
    PLAIN,
    UNKNOWN,
    ClassName,
    Container,
    Either,
    Function,
    Instance,
    MethodOf,
    Module,
    Outside,
    Parameter,
    Plain,
    Quoted,
    Super,
    Tensor,
    Unknown,
    Value,
    either,
    options_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bufscan.source.values import Grad, How

MOST_STEPS = 40_000
_MOST_ROUNDS = 16  # of a loop over what the source spells

_FOLDED: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
_LARGEST_FOLDED = 1 << 16


_ASKS_FOR_CLASS = frozenset(("inspect.isclass", "isclass"))


class Expressions(Objects):
    """Follows expressions. See `Objects` for what they read and change."""

    steps = 0
    most_steps = MOST_STEPS

    def evaluate(self, node: ast.expr) -> Value:
        self.steps += 1
        if self.steps > self.most_steps:
            raise TooLongError
        match node:
            case ast.Constant(value=value):
                return Plain(value, is_known=True)
            case ast.Name(id=name):
                return self.named(name)
            case ast.Attribute(value=inner, attr=name):
                return self._attribute(inner, name)
            case ast.Call():
                return self._call(node)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return self._display(node, parts)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(node, op, self.evaluate(left), self.evaluate(right))
            case ast.Subscript(value=inner, slice=index):
                return self._subscript(self.evaluate(inner), index)
            case _:
                return self._rarer(node)

    def _rarer(self, node: ast.expr) -> Value:
        match node:
            case ast.Dict(keys=keys, values=values):
                found = Container("dict")
                for key, value in zip(keys, values, strict=True):
                    if key is None:
                        for option in options_of(self.evaluate(value)):
                            for item in option.items if isinstance(option, Container) else ():
                                found.put(item)
                    else:
                        found.put(self.evaluate(value), _constant(self.evaluate(key)))
                return found
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(node, op, self.evaluate(operand))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compare(node, ops, [self.evaluate(each) for each in (left, *others)])
            case ast.IfExp(test=test, body=one, orelse=other):
                truth = self.truth(test)
                ways = [one] * (truth is not False) + [other] * (truth is not True)
                return either([self.evaluate(way) for way in ways])
            case ast.BoolOp(op=op, values=values):
                return self._bool(op, values)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                found_value = self.evaluate(value)
                self.frame.names[name] = found_value
                return found_value
            case ast.Lambda():
                return Function(self.frame.file, node, names={**self.frame.around, **self.frame.names})
            case ast.ListComp(elt=elt, generators=generators) | ast.SetComp(elt=elt, generators=generators):
                return self._comprehension("list", elt, generators)
            case ast.GeneratorExp(elt=elt, generators=generators):
                return self._comprehension("generator", elt, generators)
            case ast.DictComp(value=value, generators=generators):
                return self._comprehension("dict", value, generators)
            case ast.JoinedStr():
                return self._text(node)
            case ast.Starred(value=inner) | ast.Await(value=inner):
                return self.evaluate(inner)
            case _:
                return UNKNOWN

    def _text(self, node: ast.JoinedStr) -> Value:
        parts: list[str] = []
        for part in node.values:
            value = self.evaluate(part.value) if isinstance(part, ast.FormattedValue) else self.evaluate(part)
            spelled = _constant(value)
            is_formatted = isinstance(part, ast.FormattedValue) and (part.format_spec or part.conversion != -1)
            if not isinstance(spelled, str | int) or is_formatted:
                return PLAIN
            parts.append(str(spelled))
        return Plain("".join(parts), is_known=True)

    def _attribute(self, inner: ast.expr, name: str) -> Value:
        owner = self.evaluate(inner)
        return either([self._one_attribute(option, name) for option in options_of(owner)])

    def _one_attribute(self, owner: Value, name: str) -> Value:
        match owner:
            case Super(after=after, receiver=receiver):
                return self.behind(after, receiver, name)
            case Tensor() | Parameter() if name in TENSOR_ATTRIBUTES:
                return viewed(owner, name)
            case Tensor() | Parameter() if name in (
                "shape",
                "dtype",
                "device",
                "ndim",
                "requires_grad",
                "is_cuda",
            ):
                return PLAIN
            case _:
                return self.attribute(owner, name)

    def _call(self, node: ast.Call) -> Value:
        function = self.evaluate(node.func)
        arguments: list[Value] = []
        for argument in node.args:
            value = self.evaluate(argument)
            if isinstance(argument, ast.Starred):
                arguments.append(Container("star", [value]) if not isinstance(value, Container) else value)
                arguments[-1] = _Star(arguments[-1])
            else:
                arguments.append(value)
        named = {
            keyword.arg or f"**{place}": self.evaluate(keyword.value)
            for place, keyword in enumerate(node.keywords)
        }
        return either([self.call(option, arguments, named, node) for option in options_of(function)])

    def _display(self, node: ast.expr, parts: Sequence[ast.expr]) -> Value:
        kind = {ast.Tuple: "tuple", ast.List: "list"}.get(type(node), "set")
        found = Container(kind)
        for place, part in enumerate(parts):
            value = self.evaluate(part)
            if isinstance(part, ast.Starred):
                for item in self.items_of(value):
                    found.put(item)
            else:
                found.put(value, place)
        return found

    def _comprehension(self, kind: str, element: ast.expr, generators: list[ast.comprehension]) -> Value:
        before = dict(self.frame.names)
        found = Container(kind)
        first, *rest = generators
        rounds = self.rounds_of(first.iter)
        for item in rounds:
            self.bind(first.target, item)
            for generator in rest:
                self.bind(generator.target, either(self.items_of(self.evaluate(generator.iter)) or [UNKNOWN]))
            found.put(self.evaluate(element))
        self.frame.names = before
        return found

    def rounds_of(self, iterable: ast.expr) -> list[Value]:
        """What the target of a loop over it is, round by round where the source spells it, else once."""
        value = self.evaluate(iterable)
        if isinstance(value, Container) and value.kind in ("list", "tuple", "dict", "set") and value.items:
            if value.kind == "dict":
                keys = value.keys[:_MOST_ROUNDS]
                return [PLAIN if key is None else Plain(key, is_known=True) for key in keys]
            if len(value.items) <= _MOST_ROUNDS:
                return list(value.items)
        found = self.items_of(value)
        return [either(found)] if found else [UNKNOWN]

    def items_of(self, value: Value) -> list[Value]:
        """What going through a value gives."""
        found: list[Value] = []
        for option in options_of(value):
            match option:
                case Container(kind="dict"):
                    found += [PLAIN]
                case Container(items=items):
                    found += items
                case Tensor(how=how, grad=grad):
                    found.append(Tensor(how, has_dimensions=None, grad=grad))
                case Parameter():
                    found.append(Tensor(option.how, grad="computed"))
                case Module():
                    found.append(MAY_TRAIN)
                case Plain():
                    found.append(PLAIN)
                case _:
                    found.append(option if isinstance(option, Unknown) else UNKNOWN)
        return found

    def bind(self, target: ast.expr, value: Value) -> None:
        """Give a target of an assignment its value."""
        match target:
            case ast.Name(id=name):
                self.frame.names[name] = value
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                parts = self._unpacked(value, targets)
                for part, its_value in zip(targets, parts, strict=True):
                    self.bind(part, its_value)
            case ast.Starred(value=inner):
                self.bind(inner, Container("list", self.items_of(value)))
            case ast.Attribute(value=inner, attr=name):
                self.set_attribute(self.evaluate(inner), name, value, None)
            case ast.Subscript(value=inner, slice=index):
                self._store(self.evaluate(inner), self.evaluate(index), value)
            case _:
                pass

    def _unpacked(self, value: Value, targets: Sequence[ast.expr]) -> list[Value]:
        if isinstance(value, Either):
            rows = [self._unpacked(option, targets) for option in value.options]
            return [either(column) for column in zip(*rows, strict=True)]
        starred = any(isinstance(target, ast.Starred) for target in targets)
        if (
            isinstance(value, Container)
            and len(value.items) == len(targets)
            and not starred
            and value.kind != "dict"
        ):
            return list(value.items)
        found = either(self.items_of(value) or [UNKNOWN])
        return [found for _ in targets]

    def _store(self, container: Value, key: Value, value: Value) -> None:
        for option in options_of(container):
            match option:
                case Container():
                    option.put(value, _constant(key))
                case MethodOf(of=Instance() as instance, name="__dict__") if isinstance(_constant(key), str):
                    self.set_attribute(instance, str(_constant(key)), value, None, direct=True)
                case _:
                    hold(value)

    def _subscript(self, value: Value, index: ast.expr) -> Value:
        key = self.evaluate(index) if not isinstance(index, ast.Slice) else PLAIN
        return either([self._one_subscript(option, key, index) for option in options_of(value)])

    def _one_subscript(self, value: Value, key: Value, index: ast.expr) -> Value:
        match value:
            case Container():
                found = value.under(_constant(key))
                if found is not None:
                    return found
                if isinstance(index, ast.Slice):
                    return Container(value.kind, value.items)
                return either(value.items) if value.items else UNKNOWN
            case Tensor():
                is_view = isinstance(index, ast.Slice | ast.Constant) or (
                    isinstance(index, ast.Tuple)
                    and all(isinstance(each, ast.Slice | ast.Constant) for each in index.elts)
                )
                return Tensor(
                    value.how,
                    has_dimensions=any(isinstance(each, ast.Slice) for each in ast.walk(index)) or None,
                    alias=value.alias if is_view else None,
                    grad="computed" if value.grad == "leaf" else value.grad,
                )
            case Parameter():
                return derived([value], value.how)
            case Module():
                return MAY_TRAIN
            case Plain():
                return PLAIN
            case Outside():
                return value
            case _:
                return value if isinstance(value, Unknown) else UNKNOWN

    def _binary(self, node: ast.BinOp, op: ast.operator, left: Value, right: Value) -> Value:
        pairs = ((one, other) for one in options_of(left) for other in options_of(right))
        return either([self._one_binary(node, op, *pair) for pair in pairs])

    def _one_binary(self, node: ast.BinOp, op: ast.operator, left: Value, right: Value) -> Value:
        if isinstance(left, Tensor | Parameter) or isinstance(right, Tensor | Parameter):
            if isinstance(left, Instance | Outside) or isinstance(right, Instance | Outside):
                left, right = (UNKNOWN if isinstance(each, Instance | Outside) else each for each in (left, right))
            return derived([left, right], self.words(node))
        match left, right:
            case Container(), Container() if isinstance(op, ast.Add):
                return Container(left.kind, [*left.items, *right.items])
            case (Container() as one, _) | (_, Container() as one) if isinstance(op, ast.Mult | ast.BitOr):
                return Container(one.kind, one.items)
            case Plain(is_known=True), Plain(is_known=True):
                return _folded(op, left.constant, right.constant)
            case Plain(), Plain():
                return PLAIN
            case _:
                may_train = any(isinstance(each, Unknown) and each.may_train for each in (left, right))
                return MAY_TRAIN if may_train else UNKNOWN

    def _unary(self, node: ast.UnaryOp, op: ast.unaryop, value: Value) -> Value:
        if isinstance(op, ast.Not):
            return PLAIN
        return either([self._one_unary(node, op, option) for option in options_of(value)])

    def _one_unary(self, node: ast.UnaryOp, op: ast.unaryop, value: Value) -> Value:
        match value:
            case Tensor() | Parameter():
                return derived([value], self.words(node))
            case Plain(is_known=True, constant=int() | float() as number) if isinstance(op, ast.USub):
                return Plain(-number, is_known=True)
            case Plain():
                return PLAIN
            case _:
                return UNKNOWN

    def _compare(self, node: ast.Compare, ops: list[ast.cmpop], values: list[Value]) -> Value:
        if isinstance(ops[0], ast.Is | ast.IsNot | ast.In | ast.NotIn):
            return PLAIN
        if any(isinstance(value, Tensor) for value in values):
            return Tensor(self.words(node), has_dimensions=_dimensions(values))
        return PLAIN if all(isinstance(value, Plain) for value in values) else UNKNOWN

    def _bool(self, op: ast.boolop, values: list[ast.expr]) -> Value:
        found = [self.evaluate(value) for value in values]
        if isinstance(op, ast.Or):  # `x or default`: what is false is passed over
            *first, last = found
            kept = [option for value in first for option in options_of(value) if not _is_false(option)]
            return either([*kept, last]) if kept else last
        return either(found)

    # Conditions.

    def truth(self, test: ast.expr) -> bool | None:
        """What is known of a condition before the objects are there."""
        match test:
            case ast.UnaryOp(op=ast.Not()) | ast.BoolOp():
                return combined_truth(test, self.truth)
            case ast.Compare(
                left=left, ops=[ast.Is() | ast.IsNot() as op], comparators=[ast.Constant(value=None)]
            ):
                is_none = _is_none(self.evaluate(left))
                return None if is_none is None else is_none is isinstance(op, ast.Is)
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() as op], comparators=[right]):
                one, other = self.evaluate(left), self.evaluate(right)
                if isinstance(one, Plain) and isinstance(other, Plain) and one.is_known and other.is_known:
                    return (one.constant == other.constant) is isinstance(op, ast.Eq)
                return None
            case ast.Call(func=ast.Name(id="isinstance"), args=[value, types]):
                found = {self.fits(option, types) for option in options_of(self.evaluate(value))}
                return found.pop() if len(found) == 1 else None
            case ast.Call(func=function, args=[argument]) if dotted_name(function) in _ASKS_FOR_CLASS:
                found = {_is_class(option) for option in options_of(self.evaluate(argument))}
                return found.pop() if len(found) == 1 else None
            case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
                return False
            case _:
                return _truth_of(self.evaluate(test))

    def fits(self, value: Value, types: ast.expr) -> bool | None:
        """Whether a value is an instance of one of some types; None where nobody knows."""
        if isinstance(types, ast.BinOp):
            parts = [types.left, types.right]
        else:
            parts = types.elts if isinstance(types, ast.Tuple) else [types]
        if len(parts) > 1 or parts[0] is not types:
            found = [self.fits(value, part) for part in parts]
            return True if True in found else None if None in found else False
        match self.evaluate(types):
            case Outside(dotted=dotted):
                return _fits_type(value, dotted)
            case ClassName(cls=cls) if isinstance(value, Tensor | Parameter | Plain):
                lineage = self.classes.lineage(cls)
                may_be = not lineage.is_known or "torch.Tensor" in lineage.outside
                return None if may_be or (isinstance(value, Plain) and not value.is_known) else False
            case _:
                return None

    def words(self, node: ast.expr) -> Quoted:
        """The source that makes a value, as messages quote it."""
        return Quoted(self.frame.file, node)


class _Star(Value):
    """What `*value` hands to a call."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value


def viewed(owner: Tensor | Parameter, name: str) -> Value:
    """What an attribute or method that shows the elements again gives."""
    if isinstance(owner, Parameter):
        detached = name in DETACHING
        grad: Grad = "none" if detached else ("computed" if owner.is_held else "lost")
        return Tensor(owner.how, alias=owner.name if detached else None, grad=grad)
    alias = owner.alias if name in SURE_VIEWS else None
    grad = "none" if name in DETACHING else "computed" if owner.grad == "leaf" else owner.grad
    return Tensor(owner.how, has_dimensions=owner.has_dimensions, alias=alias, grad=grad)


def derived(inputs: Iterable[Value], how: How, *, has_dimensions: bool | None = None) -> Tensor:
    """The tensor that is computed from these."""
    inputs = list(inputs)
    flat = [each for value in inputs for option in options_of(value) for each in _flat(option)]
    grad: Grad = "none"
    for value in flat:
        grad = max(grad, _grad_of(value), key=_GRADS.index)
    dimensions = has_dimensions if has_dimensions is not None else _dimensions(flat)
    return Tensor(how, has_dimensions=dimensions, grad=grad)


_GRADS: tuple[Grad, ...] = ("none", "lost", "unsure", "leaf", "computed")


def _flat(value: Value) -> list[Value]:
    if isinstance(value, Container):
        return [option for item in value.items for option in options_of(item)]
    return [value.value] if isinstance(value, _Star) else [value]


def _grad_of(value: Value) -> Grad:
    match value:
        case Parameter(has_grad=False):
            return "none"
        case Parameter(is_held=is_held):
            return "computed" if is_held or value.name else "lost"
        case Tensor(grad=grad):
            return "computed" if grad == "leaf" else grad
        case Unknown(may_train=True) | Module() | MethodOf():
            return "unsure"
        case _:
            return "none"


def _dimensions(values: Iterable[Value]) -> bool | None:
    """Whether what is computed elementwise from these has dimensions."""
    tensors = [value for value in values if isinstance(value, Tensor | Parameter)]
    if any(isinstance(value, Parameter) or value.has_dimensions for value in tensors):
        return True
    if any(value.has_dimensions is None for value in tensors if isinstance(value, Tensor)):
        return None
    others = [value for value in values if not isinstance(value, Plain | Tensor)]
    return None if others else False


def _is_class(value: Value) -> bool | None:
    match value:
        case ClassName():
            return True
        case Function() | Plain() | Tensor() | Parameter() | Module() | Container():
            return False
        case Outside(dotted=dotted) if is_module_class(dotted):
            return True
        case _:
            return None


def _fits_type(value: Value, dotted: str) -> bool | None:
    found: bool | None = None
    match value:
        case Parameter():
            found = dotted in PARAMETERS or is_tensor_class(dotted)
        case Tensor(is_given=True):
            found = True if is_tensor_class(dotted) else None if dotted in PARAMETERS else False
        case Tensor():
            found = is_tensor_class(dotted)
        case Container(kind="list" | "tuple" | "dict" | "set" as kind):
            found = dotted == kind
        case Plain(is_known=True, constant=int() | float() | str() | bool() | None as constant):
            types = {"int": int, "float": float, "str": str, "bool": bool}
            found = isinstance(constant, types[dotted]) if dotted in types else False
        case Module() if dotted in PARAMETERS or is_tensor_class(dotted) or dotted in ("list", "tuple", "dict"):
            found = False
        case _:
            pass
    return found


def _constant(value: Value) -> object:
    return value.constant if isinstance(value, Plain) and value.is_known else None


def _is_none(value: Value) -> bool | None:
    found = {_one_is_none(option) for option in options_of(value)}
    return found.pop() if len(found) == 1 else None


def _one_is_none(value: Value) -> bool | None:
    match value:
        case Plain(is_known=True, constant=constant):
            return constant is None
        case Tensor(is_given=True) | Unknown() | Outside():
            return None
        case Plain():
            return False
        case _:
            return False


def _is_false(value: Value) -> bool:
    return isinstance(value, Plain) and value.is_known and not value.constant


def _truth_of(value: Value) -> bool | None:
    if isinstance(value, Either):
        return None
    if isinstance(value, Plain) and value.is_known:
        return bool(value.constant)
    return True if isinstance(value, Module | Parameter) else None


def _folded(op: ast.operator, one: object, other: object) -> Value:
    fold = _FOLDED.get(type(op))
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    texts = isinstance(one, str) and isinstance(other, str) and isinstance(op, ast.Add)
    if fold is None or not (numbers or texts):
        return PLAIN
    try:
        found = fold(one, other)
    except (ArithmeticError, TypeError):
        return PLAIN
    if isinstance(found, int | float) and abs(found) > _LARGEST_FOLDED:
        return PLAIN
    return Plain(found, is_known=True)


def starred(value: Value) -> Value | None:
    """What `*value` hands on; None for any other argument."""
    return value.value if isinstance(value, _Star) else None


__all__ = ["NONE", "Expressions", "derived", "starred", "viewed"]
