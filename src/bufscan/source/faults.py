"""What is wrong with the tensors of a class, as its source says."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from bufscan.source.abstract_pass import TooLongError
from bufscan.source.code_globals import code_tensors
from bufscan.source.construction import Construction
from bufscan.source.lifetime import (
    Upkeep,
    derived_in,
    initialises_after,
    is_assigned_plain,
    looks_into_its_dict,
)
from bufscan.source.project import nodes_in
from bufscan.source.torch_facts import has_no_tensors
from bufscan.source.values import (
    Container,
    Function,
    Held,
    Instance,
    Memory,
    Module,
    Outside,
    Parameter,
    Plain,
    Site,
    Tensor,
    Unknown,
    Value,
    options_of,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Literal

    from bufscan.source.classes import Classes, ClassInfo, Lineage
    from bufscan.source.code_globals import CodeTensor
    from bufscan.source.project import Project

    Severity = Literal["error", "warning", "note"]
    Measured = Mapping[tuple[Path, str], Mapping[str, Value]]
    """What live models show of attributes that source may not tell of: by file, class and name."""

_LOSS = "it is not saved and does not move with the model"
_LOSSES = "they are not saved and do not move with the model"
_DEEPEST = 3
_MOST_BUILT = 6  # modules in modules, to see whether there are tensors


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        code: of the rule.
        severity: error, warning or note.
        name: `Class.attribute`, or what else it is about.
        message: one sentence.
        site: the statement to change.
        attribute: of `self`.
        kind: what a fix has to know: how the tensor is held.
        sites: all statements that give the attribute such a value.
        is_sure: whether the attribute can be registered there: nothing that is no tensor is ever assigned to it,
            and the module has been initialised by then.
    """

    code: str
    severity: Severity
    name: str
    message: str
    site: Site
    attribute: str
    kind: str
    sites: tuple[Site, ...] = ()
    is_sure: bool = False


class Reader:
    """Reads the classes of a project."""

    def __init__(self, project: Project, classes: Classes, measured: Measured | None = None) -> None:
        self._project, self._classes = project, classes
        self._measured = measured or {}
        self._memory = Memory()
        self._tensors: dict[ClassInfo, bool] = {}

    def faults(self, cls: ClassInfo) -> Iterator[Fault]:
        """What is wrong with a class of modules, and with what its construction runs.

        Raises:
            TooLongError: its construction is longer than is worth following.
        """
        construction = Construction(self._project, self._classes, cls, self._memory)
        try:
            instance = construction.build()
        except RecursionError as error:
            raise TooLongError from error
        upkeep = Upkeep(construction.lineage, _keys_in(instance))
        for name, read in instance.attributes.items():
            held = self._as_measured(name, read, construction.lineage)
            kinds = {each.registration for each in held}
            if "direct" in kinds and kinds - {"plain", "direct"}:
                yield from _of_hidden(cls, name, held)
            elif kinds == {"plain"} or not upkeep.sets_attributes_itself:
                for each in held:
                    # What somebody hands in, and is registered in another case, hardly ever comes to this one.
                    is_given = isinstance(each.value, Tensor) and each.value.is_given
                    if not is_given or kinds == {"plain"}:
                        for fault in self._of_plain(cls, name, each, upkeep):
                            if upkeep.looks_after(name):
                                break
                            sites, is_sure = _sites_of(name, each, held, construction)
                            yield fault._replace(sites=sites, is_sure=is_sure)
            for each in held:
                yield from _of_registered(cls, name, each)
                yield from _of_uninitialised(cls, name, each, upkeep)
        yield from _of_names(cls, construction)
        yield from self._of_class_body(cls, construction)
        for found in code_tensors(construction, cls, construction.lineage):
            yield _of_code(cls, found)

    def _as_measured(self, name: str, held: tuple[Held, ...], lineage: Lineage) -> tuple[Held, ...]:
        """What an attribute holds; where source does not say what that is, what a live model shows."""
        telling = (Tensor, Parameter, Module, Instance)
        if not self._measured or any(isinstance(inner, telling) for each in held for inner in within(each.value)):
            return held
        measured = (self._measured.get((cls.file.path, cls.name), {}) for cls in lineage.classes)
        shown = next((of_class[name] for of_class in measured if name in of_class), None)
        return held if shown is None else _shown_as(shown, held)

    # What is held without being registered.

    def _of_plain(self, cls: ClassInfo, name: str, held: Held, upkeep: Upkeep) -> Iterator[Fault]:
        if held.registration not in ("plain", "direct") or isinstance(held.value, Plain | Unknown | Outside):
            return
        shown = f"{_owner(cls, held.site)}.{name}"
        match held.value:
            case Tensor() as tensor:
                yield from _of_tensor(shown, name, tensor, held.site, upkeep)
            case Parameter(is_held=False) as parameter:
                message = f"`{shown}`, {parameter.how}, is kept where no module looks: no optimizer sees it"
                yield Fault("BUF002", "error", shown, message, held.site, name, "direct")
            case Container() as container:
                yield from self._of_container(shown, name, container, held, upkeep)
            case Instance() as instance if not instance.is_module:
                yield from self._of_object(shown, name, instance, held)
            case Function() as function:
                for used, captured in _captured(function):
                    message = f"`{shown}` is a function that keeps `{used}`, a tensor: {_LOSS}"
                    yield Fault("BUF001", _severity(captured), shown, message, held.site, name, "closure")
            case _:
                pass

    def _of_container(
        self, shown: str, name: str, container: Container, held: Held, upkeep: Upkeep
    ) -> Iterator[Fault]:
        inner = list(_inside(container))
        kind = container.kind if container.kind in ("list", "tuple", "dict", "set") else f"{container.kind} object"
        kind = "partial" if container.kind == "partial" else kind
        tensors = [value for value in inner if isinstance(value, Tensor) and _counts(value)]
        parameters = [value for value in inner if isinstance(value, Parameter) and not value.is_held]
        modules = [
            value for value in inner if isinstance(value, Module) and not value.is_held and self.has_tensors(value)
        ]
        where = f"{shown}[\N{HORIZONTAL ELLIPSIS}]"
        if tensors:
            fate = upkeep.fate(name, is_tensor=False)
            severity = _severity(*tensors)
            severity = "warning" if severity == "error" and fate in ("cache", "renewed") else severity
            message = f"`{shown}` is a plain {kind} of tensors, made by {tensors[0].how}: {_LOSSES}"
            yield Fault("BUF001", severity, where, message, held.site, name, "container")
        if parameters:
            message = (
                f"`{shown}` is a plain {kind} of Parameters, made by {parameters[0].how}: "
                f"they are not saved, do not move with the model and are seen by no optimizer"
            )
            yield Fault("BUF002", "error", where, message, held.site, name, f"{kind} of parameters")
        if modules:
            message = (
                f"`{shown}` is a plain {kind} of modules, made by {modules[0].how}: no module registers them, so "
                f"their tensors are not saved, not moved with the model and not trained"
            )
            yield Fault("BUF003", "error", where, message, held.site, name, f"{kind} of modules")

    def _of_object(self, shown: str, name: str, instance: Instance, held: Held) -> Iterator[Fault]:
        if "__call__" in instance.cls.methods and not instance.attributes:
            return
        found = list(_in_object(instance, shown, 0))
        for path, value in found:
            match value:
                case Tensor() if _counts(value):
                    message = f"`{path}` lies in a plain object, made by {value.how}: {_LOSS}"
                    yield Fault("BUF001", _severity(value), path, message, held.site, name, "object")
                case Parameter(is_held=False):
                    message = f"`{path}`, {value.how}, lies in a plain object: no optimizer sees it"
                    yield Fault("BUF002", "error", path, message, held.site, name, "object")
                case Module(is_held=False) if self.has_tensors(value):
                    message = (
                        f"no module registers `{path}`, a module in a plain object: "
                        f"its tensors are not saved, not moved with the model and not trained"
                    )
                    yield Fault("BUF003", "error", path, message, held.site, name, "object")

    def has_tensors(self, module: Module, depth: int = 0) -> bool:
        """Whether a module has Parameters or buffers, as far as its source is known."""
        if module.cls is None:
            return not has_no_tensors(str(module.how))
        if depth > _MOST_BUILT:
            return False
        if module.cls not in self._tensors:
            self._tensors[module.cls] = False  # for those that build each other
            self._tensors[module.cls] = self._builds_tensors(module.cls, depth)
        return self._tensors[module.cls]

    def _builds_tensors(self, cls: ClassInfo, depth: int) -> bool:
        try:
            built = Construction(self._project, self._classes, cls, self._memory).build()
        except (TooLongError, RecursionError):
            return False
        for held in (each for several in built.attributes.values() for each in several):
            if held.registration in ("parameter", "buffer", "non_persistent_buffer"):
                return True
            match held:
                case Held(value=Module() as child, registration="module") if self.has_tensors(child, depth + 1):
                    return True
        return False

    def _of_class_body(self, cls: ClassInfo, construction: Construction) -> Iterator[Fault]:
        for name, (value, statement) in cls.attributes.items():
            found = [
                option
                for option in options_of(construction.value_in_file(cls.file, value, cls))
                if isinstance(option, Tensor | Parameter | Module)
            ]
            for tensor in found:
                shown = f"{cls.name}.{name}"
                site = Site(cls.file, cls, "", statement, value)
                if isinstance(tensor, Module):
                    if self.has_tensors(tensor):
                        message = (
                            f"`{shown}` is a module in the body of a class: no module registers it, so its "
                            f"tensors are not saved, not moved with the model and not trained"
                        )
                        yield Fault("BUF003", "error", shown, message, site, name, "class")
                    continue
                severity = _severity(tensor) if isinstance(tensor, Tensor) else "error"
                message = f"`{shown}` is a class attribute, shared by all objects of the class: {_LOSS}"
                yield Fault("BUF005", severity, shown, message, site, name, "class")


def _is_none(value: Value) -> bool:
    return isinstance(value, Plain) and value.is_known and value.constant is None


def _shown_as(shown: Value, held: tuple[Held, ...]) -> tuple[Held, ...]:
    """The same, in which what is unknown is what a model shows; `None` alone is what something replaces later."""
    unknown = [each for each in held if not isinstance(each.value, Plain)] or [
        each for each in held if _is_none(each.value)
    ]
    return tuple(
        each
        if each not in unknown
        else each._replace(value=Container(each.value.kind, [*each.value.items, shown]))
        if isinstance(each.value, Container)
        else each._replace(value=shown)
        for each in held
    )


def _of_code(cls: ClassInfo, found: CodeTensor) -> Fault:
    shown = f"{cls.name}.{found.name}" if found.is_default else found.name
    kind = (
        "a default argument, made once for all calls" if found.is_default else f"a global that `{found.user}` uses"
    )
    site = Site(found.file, None, "", found.statement)
    message = f"`{shown}` is {kind}: {_LOSS}"
    return Fault("BUF005", _severity(found.tensor), shown, message, site, found.name, "code")


def _of_tensor(shown: str, name: str, tensor: Tensor, site: Site, upkeep: Upkeep) -> Iterator[Fault]:
    if tensor.alias is not None and tensor.grad == "none":
        if tensor.alias == name:
            return
        message = (
            f"`{shown}` shares its elements with `{tensor.alias}` only until the model moves: "
            f"`.to()` leaves it behind with the old values"
        )
        yield Fault("BUF004", _severity(tensor), shown, message, site, name, "alias")
        return
    if tensor.grad == "lost":
        message = (
            f"`{shown}` became a plain tensor when something was computed from {tensor.how}: "
            f"{_LOSS}, and no optimizer sees it"
        )
        yield Fault("BUF002", "error", shown, message, site, name, "lost")
        return
    if not _counts(tensor):
        return
    severity = _severity(tensor)
    fate = upkeep.fate(name, is_tensor=True)
    held = "is a plain attribute"
    if fate in ("cache", "renewed"):
        severity = "warning" if severity == "error" else severity
        held = "is a plain attribute that the forward pass assigns anew"
    elif fate == "state":
        held = "is state that the forward pass keeps in a plain attribute"
    if upkeep.moves_by_itself(name) and severity == "error":
        severity = "warning"
    yield Fault(
        "BUF001",
        severity,
        shown,
        f"`{shown}` {held}, {_made_by(tensor)}: {_LOSS}",
        site,
        name,
        "leaf" if tensor.grad == "leaf" else fate or "plain",
    )


def _made_by(tensor: Tensor) -> str:
    return f"given as {str(tensor.how).removesuffix(',')}" if tensor.is_given else f"made by {tensor.how}"


def _of_registered(cls: ClassInfo, name: str, held: Held) -> Iterator[Fault]:
    if held.registration not in ("buffer", "non_persistent_buffer"):
        return
    shown = f"{_owner(cls, held.site)}.{name}"
    match held.value:
        case Parameter() as parameter:
            message = f"`{shown}` is an nn.Parameter registered as a buffer: no optimizer sees it"
            severity: Severity = "error" if parameter.has_grad else "note"
            yield Fault("BUF102", severity, shown, message, held.site, name, "buffer")
        case Tensor(grad="leaf"):
            message = f"the buffer `{shown}` requires grad, but an optimizer of parameters() does not train it"
            yield Fault("BUF101", "error", shown, message, held.site, name, "buffer")
        case _:
            pass


def _of_uninitialised(cls: ClassInfo, name: str, held: Held, upkeep: Upkeep) -> Iterator[Fault]:
    """A buffer that no checkpoint fills, in a file that gives models memory by `to_empty()`."""
    if held.registration != "non_persistent_buffer" or not isinstance(held.value, Tensor):
        return
    if ".to_empty(" in held.site.file.text and not upkeep.makes_again(name):
        shown = f"{_owner(cls, held.site)}.{name}"
        message = f"`{shown}` is not saved: nothing fills it after the to_empty() of this file"
        yield Fault("BUF204", "warning", shown, message, held.site, name, "uninitialised")


def _of_hidden(cls: ClassInfo, name: str, held: Iterable[Held]) -> Iterator[Fault]:
    registered = [each for each in held if each.registration not in ("plain", "direct")]
    is_buffer = all(each.registration in ("buffer", "non_persistent_buffer") for each in registered)
    for each in held:
        if each.registration == "direct" and isinstance(each.value, Tensor | Parameter):
            shown = f"{_owner(cls, each.site)}.{name}"
            kind = "hidden buffer" if is_buffer and isinstance(each.value, Tensor) else "hidden"
            message = f"`{shown}` is registered, but an attribute of the object hides it: they are two tensors"
            yield Fault("BUF006", "error", shown, message, each.site, name, kind)


def _of_names(cls: ClassInfo, construction: Construction) -> Iterator[Fault]:
    for name, site, taken in construction.buffers:
        why = None
        if not isinstance(name, str):
            why = f"is no text but {name!r}"
        elif not name:
            why = "is empty"
        elif "." in name:
            why = "has a dot in it"
        elif taken:
            why = f"is that of {taken}"
        if why is not None:
            shown = f"{_owner(cls, site)}.{name}"
            message = f"the name of the buffer `{name}` {why}: `register_buffer` raises"
            yield Fault("BUF104", "error", shown, message, site, str(name), "name")


def _owner(cls: ClassInfo, site: Site) -> str:
    return cls.name if site.owner is None else site.owner.name


def _counts(tensor: Tensor) -> bool:
    """Whether it is surely a tensor that should be registered, and not what autograd computed."""
    return tensor.grad in ("none", "leaf") and tensor.alias is None and not tensor.is_buffer


def _severity(*tensors: Tensor) -> Severity:
    """0-dim tensors lose least; where the number of dimensions is not known, it may be so."""
    if all(tensor.has_dimensions is False for tensor in tensors):
        return "note"
    return "error" if any(tensor.has_dimensions for tensor in tensors) else "warning"


def _inside(container: Container, depth: int = 0) -> Iterator[Value]:
    for item in container.items:
        for option in options_of(item):
            yield option
            if isinstance(option, Container) and depth < _DEEPEST:
                yield from _inside(option, depth + 1)


def _in_object(instance: Instance, shown: str, depth: int) -> Iterator[tuple[str, Value]]:
    for name, held in instance.attributes.items():
        for each in held:
            path = f"{shown}.{name}"
            match each.value:
                case Container() as container:
                    inner = f"{path}[\N{HORIZONTAL ELLIPSIS}]"
                    yield from ((inner, value) for value in _inside(container))
                case Instance() as deeper if depth < _DEEPEST and not deeper.is_module and deeper is not instance:
                    yield from _in_object(deeper, path, depth + 1)
                case value:
                    yield path, value


def _sites_of(
    name: str, chosen: Held, held: Iterable[Held], construction: Construction
) -> tuple[tuple[Site, ...], bool]:
    """The statements of one file that give an attribute tensors, and whether these can be registered instead."""
    same = [each for each in held if each.site.file is chosen.site.file and isinstance(each.value, Tensor)]
    sites = {id(each.site.statement): each.site for each in same}
    values = [each.value for each in held if id(each.site.statement) in sites]
    fits = all(isinstance(value, Tensor) and not value.is_given for value in values)
    classes = construction.lineage.classes
    hinders = (
        is_assigned_plain(cls.node, name) or initialises_after(cls.node, site.statement)
        for cls in classes
        for site in sites.values()
    )
    derived = derived_in(chosen.site.file.tree, {cls.node for cls in classes})
    hindered_otherwise = any(is_assigned_plain(node, name) for node in derived) or any(
        looks_into_its_dict(node) for node in (*derived, *(cls.node for cls in classes))
    )
    return tuple(sites.values()), fits and not hindered_otherwise and not any(hinders)


def _keys_in(instance: Instance) -> dict[str, frozenset[str]]:
    """The keys of the dicts that an object holds, by attribute."""
    return {
        name: frozenset(key for key in each.value.keys if isinstance(key, str))
        for name, held in instance.attributes.items()
        for each in held
        if isinstance(each.value, Container) and each.value.kind == "dict"
    }


def _captured(function: Function) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a function keeps of the call that made it."""
    if not function.names:
        return
    parameters = function.node.args
    own = {each.arg for each in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)}
    body: Iterable[ast.AST] = [function.node.body] if isinstance(function.node, ast.Lambda) else function.node.body
    used = {
        node.id: isinstance(node.ctx, ast.Store)
        for part in body
        for node in nodes_in(part)
        if isinstance(node, ast.Name)
    }
    for name in used:
        for option in options_of(function.names.get(name, Value())):
            if isinstance(option, Tensor) and name not in own and _counts(option) and not option.is_given:
                yield name, option
