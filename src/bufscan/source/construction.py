"""Follow the construction of an object through its source, statement by statement. Nothing is executed."""

from __future__ import annotations

import ast
from functools import partial
from typing import TYPE_CHECKING

from bufscan.source.annotations import annotated
from bufscan.source.calls import Calls
from bufscan.source.expressions import derived
from bufscan.source.values import (
    NONE,
    UNKNOWN,
    ClassName,
    Container,
    Either,
    FileName,
    Function,
    Instance,
    Memory,
    Outside,
    Parameter,
    Plain,
    Tensor,
    Unknown,
    Value,
    either,
    options_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bufscan.source.classes import Classes, ClassInfo, Method
    from bufscan.source.project import Project

_ANY_TENSOR = Tensor("a tensor that is handed in", has_dimensions=None, grad="unsure")

AFTERWARDS = ("reset_parameters", "setup", "configure_model", "post_init", "__post_init__")
"""Methods that run while a model is made, after `__init__`, whoever calls them."""


class Construction(Calls):
    """The construction of one object. After `build`, `instance` holds what it leaves."""

    def __init__(self, project: Project, classes: Classes, cls: ClassInfo, memory: Memory | None = None) -> None:
        super().__init__(project, classes, classes.lineage(cls), memory or Memory())
        self.instance = Instance(cls, is_module=self.lineage.is_module)
        self.heap.append(self.instance)

    def build(self) -> Instance:
        """Follow `__init__` and what runs after it.

        Raises:
            TooLongError: that is longer than is worth following.
        """
        method = self.lineage.method("__init__")
        if method is not None:
            self._enter(method)
        for name in AFTERWARDS:
            later = self.lineage.method(name)
            if later is not None and id(later.node) not in self.ran:
                self._maybe(later)
        return self.instance

    def _enter(self, method: Method) -> None:
        function = Function(method.owner.file, method.node, owner=method.owner, receiver=self.instance)
        self.run(function, *self._arguments(method))

    def _maybe(self, method: Method) -> None:
        before = [dict(instance.attributes) for instance in self.heap]
        self._enter(method)
        for instance, attributes in zip(self.heap, before, strict=False):
            for name, held in attributes.items():
                known = instance.attributes.get(name, ())
                if not known:
                    instance.attributes[name] = held

    def _arguments(self, method: Method) -> tuple[list[Value], dict[str, Value]]:
        """What anybody may hand over: by annotation, or the default and more."""
        spec = method.node.args
        parameters = [*spec.posonlyargs, *spec.args][1:]
        defaults: list[ast.expr | None] = [None] * (len(parameters) - len(spec.defaults)) + list(spec.defaults)
        defaults = defaults[-len(parameters) :] if parameters else []
        positional = [
            self._given(method, parameter, default)
            for parameter, default in zip(parameters, defaults, strict=True)
        ]
        named = {
            parameter.arg: self._given(method, parameter, default)
            for parameter, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
        }
        return positional, named

    def _given(self, method: Method, parameter: ast.arg, default: ast.expr | None) -> Value:
        file = method.owner.file
        promised: Value = UNKNOWN
        if parameter.annotation is not None:
            promised = annotated(self, file, parameter.annotation, f"`{parameter.arg}`")
        if default is None:
            return promised
        usual = self.value_in_file(file, default, method.owner)
        return usual if isinstance(usual, Function | ClassName) else either([usual, promised])

    # Statements. Each gives whether the next one is reached.

    def block(self, body: Sequence[ast.stmt]) -> bool:
        """Follow statements in their order."""
        return all(self._statement(statement) for statement in body)

    def _statement(self, node: ast.stmt) -> bool:
        self.statement = node
        self.steps += 1
        match node:
            case ast.Expr(value=ast.Yield(value=value)):
                self.frame.is_generator = True
                self.frame.yielded.append(NONE if value is None else self.evaluate(value))
            case ast.Expr(value=value):
                self.evaluate(value)
            case ast.Assign(targets=targets, value=value):
                found = self.evaluate(value)
                for target in targets:
                    self._assign(target, value, found)
            case ast.AnnAssign(target=target, value=ast.expr() as value, annotation=annotation):
                found = self.evaluate(value)
                if found is UNKNOWN:
                    found = annotated(self, self.frame.file, annotation, f"`{self.frame.file.segment(target)}`")
                    found = _not_given(found)
                self._assign(target, value, found)
            case ast.AugAssign():
                self._augment(node)
            case ast.Return(value=value):
                self.frame.returned.append(NONE if value is None else self.evaluate(value))
                self.frame.left.append(self.snapshot())
                return False
            case ast.Raise():
                return False
            case ast.Break() | ast.Continue() if self.frame.loops:
                self.frame.loops[-1].append(self.snapshot())
                return False
            case ast.Delete(targets=targets):
                for target in targets:
                    if isinstance(target, ast.Attribute):
                        self.delete_attribute(self.evaluate(target.value), target.attr)
            case _:
                return self._compound(node)
        return True

    def _compound(self, node: ast.stmt) -> bool:
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                return self._if(test, body, orelse)
            case (
                ast.For(target=target, iter=iterable, body=body, orelse=orelse)
                | ast.AsyncFor(target=target, iter=iterable, body=body, orelse=orelse)
            ):
                for item in self.rounds_of(iterable):
                    self._loop(partial(self.bind, target, item), body)
                return self.block(orelse)
            case ast.While(test=test, body=body, orelse=orelse):
                self._loop(partial(self.evaluate, test), body)
                return self.block(orelse)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for entered in items:
                    value = self.evaluate(entered.context_expr)
                    if entered.optional_vars is not None:
                        self.bind(entered.optional_vars, value if not isinstance(value, Tensor) else UNKNOWN)
                return self.block(body)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                ways = [partial(self.block, [*body, *orelse])]
                ways += [partial(self.block, handler.body) for handler in handlers]
                return self._branch(ways) and self.block(final)
            case ast.Match(subject=subject, cases=cases):
                self.evaluate(subject)
                return self._branch([*(partial(self.block, case.body) for case in cases), lambda: True])
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names = {**self.frame.around, **self.frame.names}
                self.frame.names[node.name] = Function(self.frame.file, node, owner=self.frame.owner, names=names)
            case ast.ClassDef():
                self.frame.names[node.name] = UNKNOWN
            case ast.Import() | ast.ImportFrom():
                for name, dotted in self.frame.file.imported(node).items():
                    self.frame.names[name] = self._imported(dotted)
            case _:
                pass
        return True

    def _imported(self, dotted: str) -> Value:
        found = self.project.locate(self.frame.file.root, dotted)
        if isinstance(found, str):
            return Outside(found)
        where, own = found
        return self.global_named(where, own) if own else FileName(where)

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> bool:
        truth = self.truth(test)
        if truth is not None:
            return self.block(body if truth else orelse)
        self.evaluate(test)
        return self._branch([partial(self._way, test, True, body), partial(self._way, test, False, orelse)])

    def _way(self, test: ast.expr, truth: bool, body: list[ast.stmt]) -> bool:
        self._narrow(test, truth)
        return self.block(body)

    def _narrow(self, test: ast.expr, truth: bool) -> None:
        """What a name may be where a condition holds, or does not."""
        match test:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._narrow(operand, not truth)
            case ast.BoolOp(op=ast.And(), values=values) if truth:
                for value in values:
                    self._narrow(value, True)
            case ast.BoolOp(op=ast.Or(), values=values) if not truth:
                for value in values:
                    self._narrow(value, False)
            case ast.Compare(
                left=left, ops=[ast.Is() | ast.IsNot() as op], comparators=[ast.Constant(value=None)]
            ):
                self._narrow_to_none(left, truth is isinstance(op, ast.Is))
            case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=name), types]) if (
                name in self.frame.names
            ):
                options = options_of(self.frame.names[name])
                kept = [option for option in options if self.fits(option, types) is not (not truth)]
                is_tensor = truth and self.fits(_ANY_TENSOR, types)
                # Only if somebody hands a tensor in: nothing that comes of it is sure.
                self.frame.names[name] = either(
                    [_ANY_TENSOR if is_tensor and isinstance(option, Unknown) else option for option in kept]
                )
            case ast.Name() | ast.Attribute() if truth:
                self._narrow_to_none(test, False)
            case _:
                pass

    def _narrow_to_none(self, node: ast.expr, is_none: bool) -> None:
        match node:
            case ast.Name(id=name) if name in self.frame.names:
                value = self.frame.names[name]
                if is_none:
                    self.frame.names[name] = NONE
                elif isinstance(value, Either):
                    self.frame.names[name] = either([option for option in value.options if option is not NONE])
            case ast.Attribute(value=ast.Name() as inner, attr=name):
                for owner in options_of(self.evaluate(inner)):
                    if isinstance(owner, Instance):
                        self.asked(owner, name)
                    if isinstance(owner, Instance) and name in owner.attributes:
                        held = owner.attributes[name]
                        kept = tuple(each for each in held if _may_be_none(each.value) is not (not is_none))
                        owner.attributes[name] = kept or held
            case _:
                pass

    def _branch(self, ways: Sequence[Callable[[], bool]]) -> bool:
        start = self.snapshot()
        ends = []
        for way in ways:
            self.restore(start)
            if way():
                ends.append(self.snapshot())
        if not ends:
            return False
        self.merge(ends)
        return True

    def _loop(self, begin: Callable[[], object], body: list[ast.stmt]) -> None:
        """Once, or not at all."""
        before = self.snapshot()
        self.frame.loops.append([])
        begin()
        goes_on = self.block(body)
        ends = [*([self.snapshot()] if goes_on else []), *self.frame.loops.pop()]
        self.merge([*ends, before])

    def _assign(self, target: ast.expr, node: ast.expr, value: Value) -> None:
        match target:
            case ast.Attribute(value=inner, attr=name):
                self.set_attribute(self.evaluate(inner), name, value, node)
            case ast.Tuple(elts=targets) | ast.List(elts=targets) if (
                isinstance(node, ast.Tuple | ast.List)
                and isinstance(value, Container)
                and len(node.elts) == len(targets) == len(value.items)
            ):
                for part, part_node, part_value in zip(targets, node.elts, value.items, strict=True):
                    self._assign(part, part_node, part_value)
            case _:
                self.bind(target, value)

    def _augment(self, node: ast.AugAssign) -> None:
        value = self.evaluate(node.value)
        target = node.target
        load: ast.expr = target
        old = self.evaluate(load)
        for option in options_of(old):
            if isinstance(option, Container) and isinstance(value, Container):
                for item in value.items:
                    option.put(item)
                return
        if isinstance(target, ast.Name):
            self.frame.names[target.id] = either(
                [self._added(one, other, node) for one in options_of(old) for other in options_of(value)]
            )

    def _added(self, one: Value, other: Value, node: ast.AugAssign) -> Value:
        if isinstance(one, Tensor | Parameter) or isinstance(other, Tensor | Parameter):
            how = one.how if isinstance(one, Tensor | Parameter) else self.words(node.value)
            return derived([one, other], how)
        return Plain() if isinstance(one, Plain) and isinstance(other, Plain) else UNKNOWN


def _may_be_none(value: Value) -> bool | None:
    if value is NONE or (isinstance(value, Plain) and value.is_known and value.constant is None):
        return True
    return None if not isinstance(value, Tensor | Parameter | Container | Instance) else False


def _not_given(value: Value) -> Value:
    """An annotated local value: nobody hands it in."""
    return either(
        [
            Tensor(option.how, has_dimensions=None) if isinstance(option, Tensor) else option
            for option in options_of(value)
        ]
    )
