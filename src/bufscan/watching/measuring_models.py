"""The looks at models: each structure is measured once, and what the rules say of it is kept as plain data."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import time
import traceback
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bufscan.findings import Subject
from bufscan.judging import judge
from bufscan.live.reach.registry import table_of
from bufscan.live.scanning import scan
from bufscan.rehearsal import told
from bufscan.tensor_names import without_keys
from bufscan.watching.faults import Fault, Sight, Sightings
from bufscan.watching.ownership import Ownership
from bufscan.watching.structure import name_of_class

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import torch
    from torch import nn

    from bufscan.findings import Finding, Rule
    from bufscan.inventory import Tensor
    from bufscan.rehearsal import Rehearsal
    from bufscan.watching.structure import Structure


_PYTEST_SAYS: Final = "PYTEST_CURRENT_TEST"
"""The variable of the environment with the test that runs, and its phase in parentheses."""


class Kind:
    """What is known of the models that had the same structure when they were first looked at.

    Attributes:
        key: of that structure.
        models: how many there were.
        before: names of what was not registered, before the first forward pass; None while that was not measured.
        names: of what was not registered when the first of them was looked at first.
        has_run: whether the first forward pass of one of them was seen to its end.
        faults: keys of what was found in any of them.
    """

    def __init__(self, key: int) -> None:
        self.key = key
        self.models = 0
        self.before: frozenset[str] | None = None
        self.has_run = False
        self.faults: set[str] = set()
        self.names: frozenset[str] = frozenset()


class Measurer:
    """Scans models, has the rules judge them, and tells faults apart."""

    def __init__(self, rules: Iterable[Rule], sources: Sequence[str]) -> None:
        self.is_looking = False
        self.test: str | None = None  # the one that has just been run, where none runs
        self._rules = tuple(rules)
        self._ownership = Ownership(sources)
        self._kinds: dict[int, Kind] = {}
        self._measured: set[tuple[int, int]] = set()
        self._made: dict[int, weakref.ref[torch.Tensor]] = {}  # what forward passes made
        self._seen = Sightings()
        self._shown_by: str | None = None  # the test that what is looked at belongs to
        self._outer_test = os.environ.get(_PYTEST_SAYS)  # of a pytest that has started this program

    def kind_of(self, structure: Structure) -> Kind:
        """That of a model which is met now."""
        kind = self._kinds.setdefault(structure.key, Kind(structure.key))
        kind.models += 1
        return kind

    def knows(self, structure: Structure, kind: Kind | None) -> bool:
        """Whether a look at a model of this structure, and perhaps known kind, would tell nothing new."""
        return (structure.key if kind is None else kind.key, structure.key) in self._measured

    def look(  # noqa: PLR0913 - all but the model and what it is have names and defaults
        self,
        model: nn.Module,
        structure: Structure,
        kind: Kind,
        *,
        known: Collection[int] = (),
        is_sure: bool = True,
        first_call: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
        test: str | None = None,
    ) -> None:
        """Measure the model, unless one of its kind was seen like this before.

        Args:
            model: what to look at.
            structure: what it is now.
            kind: what it was when it was met.
            known: ids of those of its modules that nothing is to be said of.
            is_sure: whether the model is known to be complete; if not, a probe that fails says nothing.
            first_call: the arguments of the forward pass that is about to run, where it is to be rehearsed.
            test: that shows the model; None for the one that runs.
        """
        if (kind.key, structure.key) in self._measured:
            return
        self._measured.add((kind.key, structure.key))
        collects = gc.isenabled()
        gc.disable()  # whatever it frees would be lost to the watch, which looks at one model at a time
        self.is_looking = True
        self._shown_by = test or self.running_test()
        try:
            rehearsal = None if first_call is None else _rehearsed(model, *first_call)
            self._measure(model, structure, kind, known, rehearsal, is_sure=is_sure)
        except Exception:  # noqa: BLE001 - the program must not fail of it; it is told as the bug that it is
            self._seen.bugs.append(traceback.format_exc())
        finally:
            self.is_looking = False
            if collects:
                gc.enable()

    def remember_before(self, kind: Kind) -> None:
        """What was measured first is how models of this kind are before their first forward pass."""
        if kind.before is None:
            kind.before = kind.names

    def sightings(self) -> Sightings:
        """Everything that was seen, with the models counted."""
        seen = self._seen
        seen.models = sum(kind.models for kind in self._kinds.values())
        for key, fault in seen.faults.items():
            fault.models = sum(kind.models for kind in self._kinds.values() if key in kind.faults)
        return seen

    def _measure(  # noqa: PLR0913 - what `look` was given
        self,
        model: nn.Module,
        structure: Structure,
        kind: Kind,
        known: Collection[int],
        rehearsal: Rehearsal | None,
        *,
        is_sure: bool,
    ) -> None:
        target = _target_of(type(model))
        with _function_modes_off():
            inventory = scan(model, target, was_made=partial(self._was_made, kind, known))
            if rehearsal is not None:
                inventory = told(inventory, rehearsal)
            said = judge([Subject(inventory=inventory, is_stand_in=True)], self._rules)
        if structure.key == kind.key:
            kind.names = frozenset(tensor.path for tensor in inventory.tensors if _was_there(tensor))
        self._seen.kinds.add(target)
        self._seen.tensors += len(inventory.tensors)
        for finding in said.findings:
            self._add(finding, target, model, kind)
        if self._ownership.package_of(None, type(model)) is None:
            for each in (*inventory.skipped, *said.skipped):
                # Of the many models of a program some cannot be rehearsed: that is told, and fails nothing.
                failed = each.failed and is_sure and not each.reason.startswith("not rehearsed")
                self._seen.skipped.add((target, each.what, each.reason, failed))

    def _was_made(
        self, kind: Kind, known: Collection[int], path: str, home: nn.Module, tensor: torch.Tensor
    ) -> bool:
        """Whether a forward pass made the tensor: it was not there before the first one of such a model."""
        made = self._made.get(id(tensor))
        if id(home) in known or (made is not None and made() is tensor):
            return True
        if kind.before is None or path in kind.before:
            return False
        self._made[id(tensor)] = weakref.ref(tensor, partial(_forget, self._made, id(tensor)))
        return True

    def _add(self, finding: Finding, target: str, model: nn.Module, kind: Kind) -> None:
        prefix, owner = _owner_of(model, finding.tensor)
        own = _seen_from(finding, prefix)
        key = _key_of(own, owner)
        kind.faults.add(key)
        sight = Sight(target=_target_of(owner), finding=own, model=target, path=finding.tensor)
        fault = self._seen.faults.get(key)
        if fault is None:
            fault = self._seen.faults[key] = Fault(
                best=sight,
                first=sight,
                names=set(),
                package=self._ownership.package_of(finding.location, owner),
                test=self._shown_by,
                at=time.time(),
            )
        fault.add(sight)

    def running_test(self) -> str | None:
        """The one that runs, or has just been run."""
        test = os.environ.get(_PYTEST_SAYS)
        return self.test if test is None or test == self._outer_test else test.rpartition(" (")[0]


def _rehearsed(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Rehearsal:
    from bufscan.rehearsing import rehearse

    return rehearse(model, args, kwargs, train=None)


def _was_there(tensor: Tensor) -> bool:
    """Whether its place was filled by something else than an earlier forward pass."""
    return tensor.role == "unregistered" and tensor.holding != "made_by_forward"


def _seen_from(finding: Finding, prefix: str) -> Finding:
    """The finding as the module of that prefix sees it, whatever model that is a part of."""
    if not prefix:
        return finding
    inner = re.compile(rf"(?<![\w.\])]){re.escape(prefix)}")
    return msgspec.structs.replace(
        finding,
        tensor=inner.sub("", finding.tensor, count=1),
        message=inner.sub("", finding.message),
    )


def _key_of(finding: Finding, owner: type) -> str:
    """What one change of the source mends."""
    inner = without_keys(finding.tensor) if finding.tensor else finding.message
    place = finding.location
    where = ":".join(name_of_class(owner)) if place is None else f"{place.file}:{place.line}"
    return f"{finding.code} {where} {inner}"


def _owner_of(model: nn.Module, path: str) -> tuple[str, type]:
    """The prefix and the class of the registered module that holds what the path names."""
    prefix, module = "", model
    for part in path.removeprefix("list(").split("."):
        child = table_of(module, "_modules").get(part)
        if child is None:
            break
        prefix, module = f"{prefix}{part}.", child
    return prefix, type(module)


def _target_of(cls: type) -> str:
    """How a target names the class: `package.models:Encoder`, or `train.py:Net` of the program itself."""
    module, name = name_of_class(cls)
    if module == "__main__":
        main: Any = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None:
            module = spec.name.removesuffix(".__main__")
        elif file is not None:
            path = Path(file).absolute()
            module = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return f"{module}:{name}"


@contextlib.contextmanager
def _function_modes_off() -> Iterator[None]:
    """Without `torch.set_default_device` and other modes of the program, which would see the looks too."""
    import torch

    if not torch._C._len_torch_function_stack():  # noqa: SLF001 - torch has no public reader
        yield
        return
    with torch._C.DisableTorchFunction():  # noqa: SLF001 - the same
        yield


def _forget(table: dict[int, Any], key: int, known: object) -> None:
    if table.get(key) is known:
        del table[key]
