"""Classes of the project: their bases across files, their methods, and which of them are modules."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from bufscan.source.project import dotted_name
from bufscan.source.torch_facts import MOVED_BY_THEIR_BASE, is_module_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.source.project import FunctionNode, Project, SourceFile

_CONTAINERS = frozenset(
    f"torch.nn.{name}" for name in ("ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParameterDict")
)


class Method(NamedTuple):
    """A function of a class.

    Attributes:
        kind: `method`, `static`, `class`, `property`, `cached_property`, or `setter`.
    """

    owner: ClassInfo
    node: FunctionNode
    kind: str


class ClassInfo:
    """One class.

    Attributes:
        file, node, name: where it is defined, and its qualified name.
        methods: by name; the last definition counts. Setters are in `setters`.
        attributes: values that its body assigns, by name, with the statement.
        decorators: last names of its decorators.
    """

    def __init__(self, file: SourceFile, node: ast.ClassDef, name: str) -> None:
        self.file, self.node, self.name = file, node, name
        self.methods: dict[str, Method] = {}
        self.setters: dict[str, Method] = {}
        self.attributes: dict[str, tuple[ast.expr, ast.stmt]] = {}
        self.declared: set[str] = set()
        self.decorators = {last_part(decorator) for decorator in node.decorator_list}
        self._bind(node.body)

    def _bind(self, body: list[ast.stmt]) -> None:
        for node in body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    kind = _kind_of(node)
                    (self.setters if kind == "setter" else self.methods)[node.name] = Method(self, node, kind)
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        if isinstance(target, ast.Name):
                            self.attributes[target.id] = value, node
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self.attributes[name] = value, node
                case ast.AnnAssign(target=ast.Name(id=name)):
                    self.declared.add(name)
                case ast.If(body=inner, orelse=other):
                    self._bind(other)
                    self._bind(inner)
                case _:
                    pass

    def __repr__(self) -> str:
        return f"ClassInfo({self.file.module}.{self.name})"


class Lineage(NamedTuple):
    """What a class inherits.

    Attributes:
        classes: of the project, in the method resolution order, the class itself first.
        outside: dotted names of the bases outside the project.
        is_module: whether one of these is known to be a module.
        is_known: whether all of them are known.
    """

    classes: tuple[ClassInfo, ...]
    outside: tuple[str, ...]
    is_module: bool
    is_known: bool

    def method(self, name: str, after: ClassInfo | None = None) -> Method | None:
        """The method of that name, of the first class that has one (after a class in the order)."""
        return next((cls.methods[name] for cls in self._from(after) if name in cls.methods), None)

    def setter(self, name: str) -> Method | None:
        """What assigning to a property of that name runs."""
        return next((cls.setters[name] for cls in self.classes if name in cls.setters), None)

    def attribute(self, name: str) -> tuple[ClassInfo, ast.expr] | None:
        """The value that a class body gives the name."""
        return next(((cls, cls.attributes[name][0]) for cls in self.classes if name in cls.attributes), None)

    def has(self, name: str) -> bool:
        """Whether a class gives the name something, be it a method or a value."""
        return self.method(name) is not None or self.attribute(name) is not None

    def _from(self, after: ClassInfo | None) -> Iterator[ClassInfo]:
        if after is None:
            return iter(self.classes)
        place = next((place for place, cls in enumerate(self.classes) if cls is after), -1)
        return iter(self.classes[place + 1 :])

    @property
    def keeps_own_states(self) -> bool:
        """Whether a base outside moves what `add_state` makes."""
        return not MOVED_BY_THEIR_BASE.isdisjoint(self.outside)


class Classes:
    """The classes of a project, each looked at once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._infos: dict[int, ClassInfo] = {}
        self._lineages: dict[ClassInfo, Lineage] = {}

    def of(self, file: SourceFile) -> list[ClassInfo]:
        """Those that a file defines, in the order of their lines."""
        found = [self._info(file, node, name) for name, nodes in file.classes.items() for node in nodes]
        return sorted(found, key=lambda info: info.node.lineno)

    def _info(self, file: SourceFile, node: ast.ClassDef, name: str) -> ClassInfo:
        if id(node) not in self._infos:
            self._infos[id(node)] = ClassInfo(file, node, name)
        return self._infos[id(node)]

    def named(self, file: SourceFile, name: str) -> ClassInfo | str | None:
        """The class that a name stands for: one of the project, or a dotted name outside; None for no class."""
        found = self._project.find(file, name)
        if isinstance(found, str):
            return found
        where, own = found
        return self.defined(where, own)

    def defined(self, where: SourceFile, own: str) -> ClassInfo | None:
        """The class of that (dotted) name in a file."""
        head, *rest = own.split(".")
        node = where.names.get(head)
        for part in rest:
            inner = node.body if isinstance(node, ast.ClassDef) else []
            node = next((each for each in inner if isinstance(each, ast.ClassDef) and each.name == part), None)
        return self._info(where, node, own) if isinstance(node, ast.ClassDef) else None

    def lineage(self, cls: ClassInfo) -> Lineage:
        """What a class inherits; of bases that inherit each other, only itself."""
        if cls not in self._lineages:
            self._lineages[cls] = Lineage((cls,), (), is_module=False, is_known=False)
            self._lineages[cls] = self._lineage(cls)
        return self._lineages[cls]

    def _lineage(self, cls: ClassInfo) -> Lineage:
        inherited: list[Lineage] = []
        outside: list[str] = []
        is_known = True
        for base in cls.node.bases:
            found = self._base(cls.file, base)
            match found:
                case ClassInfo():
                    inherited.append(self.lineage(found))
                case str():
                    outside.append(found)
                    is_known = is_known and (is_module_class(found) or found in _HARMLESS_BASES)
                case _:
                    is_known = False
        classes = _merged(cls, [lineage.classes for lineage in inherited])
        outside += [name for lineage in inherited for name in lineage.outside]
        return Lineage(
            classes,
            tuple(dict.fromkeys(outside)),
            is_module=any(map(is_module_class, outside)),
            is_known=is_known and all(lineage.is_known for lineage in inherited),
        )

    def _base(self, file: SourceFile, node: ast.expr) -> ClassInfo | str | None:
        if isinstance(node, ast.Subscript):  # Generic[T]
            node = node.value
        name = dotted_name(node)
        return None if name is None else self.named(file, name)


_HARMLESS_BASES = frozenset(
    (
        "object",
        "abc.ABC",
        "typing.NamedTuple",
        "typing.Generic",
        "typing.Protocol",
        "typing_extensions.Protocol",
        "Generic",
        "ABC",
    )
)


def _merged(cls: ClassInfo, orders: list[tuple[ClassInfo, ...]]) -> tuple[ClassInfo, ...]:
    """The method resolution order: C3, or where that has none, depth first."""
    pending = [list(order) for order in orders]
    direct = [order[0] for order in orders]
    pending.append(direct)
    merged = [cls]
    while any(pending):
        pending = [order for order in pending if order]
        head = next(
            (order[0] for order in pending if not any(order[0] in other[1:] for other in pending)), pending[0][0]
        )
        merged.append(head)
        pending = [[each for each in order if each is not head] for order in pending]
    return tuple(merged)


def _kind_of(node: FunctionNode) -> str:
    names = {last_part(decorator) for decorator in node.decorator_list}
    for name, kind in (
        ("staticmethod", "static"),
        ("classmethod", "class"),
        ("property", "property"),
        ("cached_property", "cached_property"),
        ("setter", "setter"),
        ("lazy_property", "cached_property"),
    ):
        if name in names:
            return kind
    return "class" if node.name in ("__new__", "__init_subclass__", "__class_getitem__") else "method"


def last_part(node: ast.expr) -> str:
    """`setter` of `@loc.setter`, `cached_property` of `@functools.cached_property()`; "" for anything else."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
