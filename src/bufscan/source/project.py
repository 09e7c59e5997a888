"""Python files of a project: their text, their syntax tree, and what a name in one of them stands for."""

from __future__ import annotations

import ast
import io
import tokenize
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeAlias

from bufscan.errors import BufscanError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Definition: TypeAlias = ast.ClassDef | FunctionNode | ast.expr | str
"""What a name of a module stands for: a class, a function, the value assigned to it, or what it is imported from
(a dotted name).
"""

_LARGEST_FILE = 8 << 20
_ALWAYS_OUTSIDE = frozenset(("torch", "numpy"))  # known by tables, wherever they are installed
_MOST_STEPS = 12  # from one import to the next


class SourceFile:
    """One file.

    Attributes:
        path: as it is to be named.
        module: its dotted name; the last part alone where it lies in no package.
        package: the dotted name that relative imports start from.
        root: the folder from which dotted names are counted.
        text: the source.
        tree: its syntax.
        names: what each global name stands for, by the last line that binds it.
        assigned: every value that each global name is given, by its statement.
        star_imports: modules of which all names are imported.
    """

    def __init__(self, path: Path, text: str, tree: ast.Module) -> None:
        self.path = path
        self.text = text
        self.tree = tree
        self.module, self.package, self.root = _place_of(path)
        self.names: dict[str, Definition] = {}
        self.assigned: dict[str, list[ast.stmt]] = {}
        self.star_imports: list[str] = []
        self._bind(tree.body)

    def segment(self, node: ast.AST, limit: int = 60) -> str:
        """The source of an expression on one line, shortened where it is long."""
        text = ast.unparse(node)
        return text if len(text) <= limit else f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"

    @cached_property
    def classes(self) -> dict[str, list[ast.ClassDef]]:
        """Its classes by qualified name; several where one is redefined or chosen by an `if`."""
        found: dict[str, list[ast.ClassDef]] = {}
        for name, node in self._definitions:
            if isinstance(node, ast.ClassDef):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def functions(self) -> dict[int, FunctionNode]:
        """Its functions by the first line of their code objects, which is that of the first decorator."""
        return {
            min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]): node
            for _, node in self._definitions
            if not isinstance(node, ast.ClassDef)
        }

    @cached_property
    def _definitions(self) -> list[tuple[str, ast.ClassDef | FunctionNode]]:
        return list(definitions_in(self.tree))

    def _bind(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            match node:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    self.names[node.name] = node
                case ast.Import() | ast.ImportFrom():
                    self._bind_import(node)
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._bind_target(target, value, node)
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self._bind_target(target, value, node)
                case ast.If(body=inner, orelse=other):
                    self._bind(other)
                    self._bind(inner)
                case ast.Try(body=inner, handlers=handlers, orelse=orelse, finalbody=final):
                    for handler in handlers:
                        self._bind(handler.body)
                    self._bind([*inner, *orelse, *final])
                case ast.With(body=inner) | ast.For(body=inner) | ast.While(body=inner):
                    self._bind(inner)
                case _:
                    pass

    def _bind_target(self, target: ast.expr, value: ast.expr, statement: ast.stmt) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
            self.assigned.setdefault(target.id, []).append(statement)

    def _bind_import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.names |= self.imported(node)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            self.star_imports.append(self._absolute(node))

    def imported(self, node: ast.Import | ast.ImportFrom) -> dict[str, str]:
        """The names that an import binds, and what each stands for."""
        if isinstance(node, ast.Import):
            return {
                alias.asname or alias.name.partition(".")[0]: alias.name
                if alias.asname
                else alias.name.partition(".")[0]
                for alias in node.names
            }
        source = self._absolute(node)
        return {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names if alias.name != "*"}

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.package.split(".") if self.package else []
        kept = parts[: len(parts) - (node.level - 1)]
        return ".".join([*kept, *([node.module] if node.module else [])])


class Project:
    """Files by the modules that they are, each read when it is first asked for."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where names may be counted from too, where a file lies in no package."""
        self._folder = folder
        self._by_path: dict[Path, SourceFile | None] = {}
        self._by_module: dict[tuple[Path, str], SourceFile | None] = {}
        self._found: dict[tuple[Path, str], tuple[SourceFile, str] | str] = {}

    def read(self, path: Path, text: str | None = None) -> SourceFile:
        """The file at `path`, or `text` as if it were there.

        Raises:
            UnreadableError: it cannot be read, or is no Python.
        """
        if text is None:
            text = read_source(path)
        file = SourceFile(path, text, parse(text))
        self._by_path[path] = file
        self._by_module[file.root, file.module] = file
        return file

    def file(self, path: Path) -> SourceFile:
        """The file at a path, read once.

        Raises:
            UnreadableError: it cannot be read, or is no Python.
        """
        return self._by_path.get(path) or self.read(path)

    def with_text(self, path: Path, text: str) -> tuple[Project, SourceFile]:
        """The same project, in which one file has another text.

        Raises:
            UnreadableError: the text is no Python.
        """
        other = Project(self._folder)
        other._by_path = dict(self._by_path)
        other._by_module = {
            key: file for key, file in self._by_module.items() if file is None or file.path != path
        }
        return other, other.read(path, text)

    def module(self, root: Path, dotted: str) -> SourceFile | None:
        """The project's file of that name, below the folder that names are counted from."""
        key = (root, dotted)
        if key not in self._by_module:
            self._by_module[key] = None  # for those that import one another
            for base in (root, self._folder) if dotted else ():
                if base is not None and (found := self._below(base.joinpath(*dotted.split(".")))):
                    self._by_module[key] = found
                    break
        return self._by_module[key]

    def _below(self, base: Path) -> SourceFile | None:
        for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if path in self._by_path or path.is_file():
                return self._known(path)
        return None

    def _known(self, path: Path) -> SourceFile | None:
        if path not in self._by_path:
            try:
                self._by_path[path] = self.read(path)
            except BufscanError:
                self._by_path[path] = None
        return self._by_path[path]

    def find(self, file: SourceFile, name: str) -> tuple[SourceFile, str] | str:
        """What a dotted name in `file` stands for: a name in a file of the project, or a dotted name elsewhere."""
        head, _, rest = name.partition(".")
        found: tuple[SourceFile, str] | str = (file, head)
        if head not in file.names:
            found = self._from_stars(file, head) or found
        for _ in range(_MOST_STEPS):
            if isinstance(found, str):
                break
            where, own = found
            target = where.names.get(own)
            match target:
                case str():
                    found = self.locate(where.root, target)
                case ast.Name() | ast.Attribute() if (dotted := dotted_name(target)) and dotted != own:
                    found = self.find(where, dotted) if dotted.partition(".")[0] in where.names else found
                    break
                case _:
                    break
        return self._member(found, rest)

    def _member(self, found: tuple[SourceFile, str] | str, rest: str) -> tuple[SourceFile, str] | str:
        if not rest:
            return found
        if isinstance(found, str):
            return f"{found}.{rest}"
        where, own = found
        if own:
            return where, f"{own}.{rest}"
        head, _, deeper = rest.partition(".")
        if head not in where.names:
            inner = self.module(where.root, f"{where.module}.{head}")
            if inner is not None:
                return self._member((inner, ""), deeper)
        return self.find(where, rest)

    def locate(self, root: Path, dotted: str) -> tuple[SourceFile, str] | str:
        """A dotted name as imports write it: a file of the project (with the name in it), or a name elsewhere."""
        key = (root, dotted)
        if key not in self._found:
            self._found[key] = dotted
            self._found[key] = self._locate(root, dotted)
        return self._found[key]

    def _locate(self, root: Path, dotted: str) -> tuple[SourceFile, str] | str:
        if dotted.partition(".")[0] in _ALWAYS_OUTSIDE:
            return dotted
        whole = self.module(root, dotted)
        if whole is not None:
            return whole, ""
        source, _, name = dotted.rpartition(".")
        inner = self.module(root, source) if source else None
        if inner is None:
            return dotted
        if name in inner.names:
            return self.find(inner, name)
        return self._from_stars(inner, name) or dotted

    def _from_stars(self, file: SourceFile, name: str) -> tuple[SourceFile, str] | str | None:
        for source in file.star_imports:
            inner = self.module(file.root, source)
            if inner is not None and inner is not file and name in inner.names:
                return self.find(inner, name)
            if source in ("torch", "torch.nn", "torch.nn.modules") and inner is None:
                return f"{source}.{name}" if name[:1].isupper() or source == "torch" else None
        return None


def read_source(path: Path) -> str:
    """The text of a Python file, in the encoding that it declares.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UnreadableError("is larger than any source that is read")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot be read: {(error.strerror or 'unknown reason').lower()}") from error
    return decode(data)


def decode(data: bytes) -> str:
    """Source text from its bytes, line ends kept.

    Raises:
        UnreadableError: they are no text in the encoding that they declare.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise UnreadableError("is no Python: its encoding cannot be told") from error


def parse(text: str) -> ast.Module:
    """Its syntax.

    Raises:
        UnreadableError: it is no Python that this interpreter knows.
    """
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise UnreadableError(f"does not parse: line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError("does not parse") from error


def dotted_name(node: ast.AST) -> str | None:
    """`torch.nn.Module`; None for what is no plain chain of names."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def nodes_in(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, in the order of the source: as `ast.walk`, in a third of its time."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        below: list[ast.AST] = []
        for value in current.__dict__.values():
            if isinstance(value, ast.AST):
                below.append(value)
            elif isinstance(value, list):
                below += [each for each in value if isinstance(each, ast.AST)]
        below.reverse()
        pending += below


def definitions_in(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | FunctionNode]]:
    """Every class and function with its qualified name, those inside others too."""
    pending: list[tuple[str, ast.AST]] = [("", tree)]
    while pending:
        prefix, node = pending.pop()
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            for child in getattr(node, part, ()):
                match child:
                    case ast.ClassDef(name=name):
                        yield f"{prefix}{name}", child
                        pending.append((f"{prefix}{name}.", child))
                    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                        yield f"{prefix}{name}", child
                        pending.append((f"{prefix}{name}.<locals>.", child))
                    case _:
                        pending.append((prefix, child))


def _place_of(path: Path) -> tuple[str, str, Path]:
    """Dotted name, package and root of a file: packages are the folders around it that have an `__init__.py`."""
    package, root = _package_of(path.parent)
    if path.name == "__init__.py":
        return package, package, root
    return f"{package}.{path.stem}" if package else path.stem, package, root


@cache
def _package_of(folder: Path) -> tuple[str, Path]:
    if not (folder / "__init__.py").is_file() or not folder.name.isidentifier():
        return "", folder
    around, root = _package_of(folder.parent)
    return f"{around}.{folder.name}" if around else folder.name, root
