"""What an expression may be worth, as far as source says: tensors, what holds them, and what makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable, Iterator

    from bufscan.source.classes import ClassInfo
    from bufscan.source.project import FunctionNode, SourceFile
    from bufscan.source.replay import Effects

Grad = Literal["none", "leaf", "computed", "lost", "unsure"]
"""`leaf`: made with `requires_grad`; `computed`: by autograd from what is registered; `lost`: from a Parameter
that nobody holds; `unsure`: from what may be one of these.
"""

Registration = Literal["plain", "direct", "parameter", "buffer", "non_persistent_buffer", "module"]
"""How an attribute holds its value; `direct`: plain, past the object's own `__setattr__`."""

_MOST_OPTIONS = 8


class Quoted:
    """The source of an expression, written out only where somebody asks for it."""

    __slots__ = ("file", "node")

    def __init__(self, file: SourceFile, node: ast.expr) -> None:
        self.file, self.node = file, node

    def __str__(self) -> str:
        return f"`{self.file.segment(self.node)}`"


How: TypeAlias = str | Quoted
"""The words that say what made a value."""


class Value:
    """Anything. What is only this is unknown."""

    __slots__ = ()


class Unknown(Value):
    """Not known.

    Attributes:
        may_train: whether it may be, or come from, a Parameter of some module.
    """

    __slots__ = ("may_train",)

    def __init__(self, *, may_train: bool = False) -> None:
        self.may_train = may_train


class Plain(Value):
    """A number, a text, a dtype, a shape: no tensor, and nothing that holds one.

    Attributes:
        is_known: whether `constant` is what it is.
    """

    __slots__ = ("constant", "is_known")

    def __init__(self, constant: object = None, *, is_known: bool = False) -> None:
        self.constant = constant
        self.is_known = is_known


class Tensor(Value):
    """A tensor.

    Attributes:
        how: the words that say so: what made it.
        has_dimensions: False for a 0-dim one, None where that is not known.
        alias: the registered name of `self` whose elements it shows.
        grad: see `Grad`.
        is_given: whether whoever builds the object hands it in.
        is_buffer: whether it is an `nn.Buffer`; `persistent` is for these.
    """

    __slots__ = ("alias", "grad", "has_dimensions", "how", "is_buffer", "is_given", "persistent")

    def __init__(  # noqa: PLR0913 - a record with defaults
        self,
        how: How,
        *,
        has_dimensions: bool | None = True,
        alias: str | None = None,
        grad: Grad = "none",
        is_given: bool = False,
        is_buffer: bool = False,
        persistent: bool = True,
    ) -> None:
        self.how = how
        self.has_dimensions = has_dimensions
        self.alias = alias
        self.grad: Grad = grad
        self.is_given = is_given
        self.is_buffer = is_buffer
        self.persistent = persistent


class Parameter(Value):
    """An `nn.Parameter`. `is_held`: some module registers it, or may."""

    __slots__ = ("has_grad", "how", "is_held", "name")

    def __init__(self, how: How, *, is_held: bool = False, has_grad: bool = True) -> None:
        self.how = how
        self.is_held = is_held
        self.has_grad = has_grad
        self.name: str | None = None


class Module(Value):
    """A module. `is_held`: another one registers it, or may; `cls` where the project defines its class."""

    __slots__ = ("cls", "how", "is_held")

    def __init__(self, how: How, cls: ClassInfo | None = None, *, is_held: bool = False) -> None:
        self.how = how
        self.cls = cls
        self.is_held = is_held


class Container(Value):
    """A list, tuple, dict or set, or an object that is known to hold what it is made of.

    Attributes:
        kind: what to call it.
        items: what lies in it, in order as far as known; it only grows.
        keys: of the items, where the source spells them.
    """

    __slots__ = ("items", "keys", "kind")

    def __init__(self, kind: str, items: Iterable[Value] = (), keys: Iterable[object] = ()) -> None:
        self.kind = kind
        self.items = list(items)
        self.keys = list(keys)

    def put(self, value: Value, key: object = None) -> None:
        """Take in one more; what would make it huge is left out."""
        if len(self.items) < _MOST_OPTIONS * 8:
            while len(self.keys) < len(self.items):
                self.keys.append(None)
            self.items.append(value)
            self.keys.append(key)

    def under(self, key: object) -> Value | None:
        """What lies under a key, where only one thing can."""
        if key is None or None in self.keys or len(self.keys) != len(self.items):
            return None
        found = [item for item, each in zip(self.items, self.keys, strict=True) if each == key]
        return found[-1] if found else None


class Site(NamedTuple):
    """Where a statement gives an attribute its value.

    Attributes:
        owner: the class that the statement stands in; None for a function.
        method: the function around it.
        statement: the whole of it.
        value: the expression that makes the value, where it is one.
    """

    file: SourceFile
    owner: ClassInfo | None
    method: str
    statement: ast.stmt
    value: ast.expr | None = None

    @property
    def line(self) -> int:
        """Of the statement, counted from 1."""
        return self.statement.lineno


class Held(NamedTuple):
    """One of the values that an attribute may have, and how it holds it."""

    value: Value
    site: Site
    registration: Registration


class Instance(Value):
    """An object of the project's own classes; its attributes are what its construction leaves."""

    __slots__ = ("attributes", "cls", "is_module", "names_deleted")

    def __init__(self, cls: ClassInfo, *, is_module: bool) -> None:
        self.cls = cls
        self.is_module = is_module
        self.attributes: dict[str, tuple[Held, ...]] = {}


class Function(Value):
    """A function of the project, perhaps bound to its first argument.

    Attributes:
        names: the names of the function around it, where it uses them.
    """

    __slots__ = ("file", "names", "node", "owner", "receiver")

    def __init__(
        self,
        file: SourceFile,
        node: FunctionNode | ast.Lambda,
        *,
        owner: ClassInfo | None = None,
        receiver: Value | None = None,
        names: dict[str, Value] | None = None,
    ) -> None:
        self.file, self.node, self.owner, self.receiver, self.names = file, node, owner, receiver, names


class ClassName(Value):
    """A class of the project."""

    __slots__ = ("cls",)

    def __init__(self, cls: ClassInfo) -> None:
        self.cls = cls


class FileName(Value):
    """A module of the project, as `import` gives it."""

    __slots__ = ("file",)

    def __init__(self, file: SourceFile) -> None:
        self.file = file


class Outside(Value):
    """Something of another package or of Python, by its dotted name."""

    __slots__ = ("dotted",)

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted


class Super(Value):
    """`super()`: the object, looked at from behind a class."""

    __slots__ = ("after", "receiver")

    def __init__(self, after: ClassInfo, receiver: Value) -> None:
        self.after = after
        self.receiver = receiver


class MethodOf(Value):
    """A method of a tensor, Parameter, module or container, or one that torch gives every module."""

    __slots__ = ("name", "of")

    def __init__(self, of: Value, name: str) -> None:
        self.of = of
        self.name = name


class Either(Value):
    """One of several, which the source does not say."""

    __slots__ = ("options",)

    def __init__(self, options: tuple[Value, ...]) -> None:
        self.options = options


UNKNOWN = Unknown()
MAY_TRAIN = Unknown(may_train=True)
PLAIN = Plain()
NONE = Plain(None, is_known=True)
FALSE = Plain(False, is_known=True)


def options_of(value: Value) -> tuple[Value, ...]:
    """Each that a value may be."""
    return value.options if isinstance(value, Either) else (value,)


def either(values: Iterable[Value]) -> Value:
    """What may be any of these."""
    values = tuple(values)
    if len(values) == 1:
        return values[0]
    found: dict[int, Value] = {}
    for value in values:
        for option in options_of(value):
            found.setdefault(_identity(option), option)
    options = tuple(found.values())
    if not options:
        return UNKNOWN
    return options[0] if len(options) == 1 else Either(options[:_MOST_OPTIONS])


def _identity(value: Value) -> int:
    """The same for what cannot be told apart."""
    if isinstance(value, Plain) and value.is_known and isinstance(value.constant, str | int | float | bool | None):
        return hash((type(value.constant), value.constant))
    return id(value)


class Memory:
    """What needs to be found out only once, whatever is built.

    Attributes:
        globals: names of files that stand for what no construction changes.
        calls: what functions give back for arguments that no construction changes.
        effects: what methods do, for arguments that no construction changes.
    """

    def __init__(self) -> None:
        self.effects: dict[tuple[object, ...], Effects] = {}
        self.globals: dict[tuple[SourceFile, str], Value] = {}
        self.calls: dict[tuple[object, ...], Value] = {}


def signature(value: Value) -> object:
    """The same for values that are alike for good; None for what a construction may change, or tell apart."""
    match value:
        case Plain(is_known=True, constant=str() | int() | float() | bool() | None as constant):
            return type(constant), constant
        case Plain(is_known=False):
            return "plain"
        case Unknown(may_train=may_train):
            return "unknown", may_train
        case Outside(dotted=dotted):
            return "outside", dotted
        case ClassName(cls=cls):
            return "class", id(cls)
        case FileName(file=file):
            return "file", id(file)
        case Function(receiver=None, names=None, node=node):
            return "function", id(node)
        case Either(options=options):
            signatures = tuple(signature(option) for option in options)
            return None if None in signatures else signatures
        case _:
            return None


def within(value: Value, depth: int = 4) -> Iterator[Value]:
    """The value, and what lies in it and in what it lies in."""
    for option in options_of(value):
        yield option
        if isinstance(option, Container) and depth:
            for item in option.items:
                yield from within(item, depth - 1)
