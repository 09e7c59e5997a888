"""Every place a tensor can hide in, one at a time."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from models import holding, tensors, unregistered
from torch import nn

from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = torch.arange(5.0)
TABLES = {"sin": torch.arange(6.0)}
UNNAMED = torch.arange(7.0)
T = torch.ones(3)


def use_secret(x: torch.Tensor) -> torch.Tensor:
    return x + SECRET.sum()


@dataclasses.dataclass
class Stats:
    mean: torch.Tensor


class Slotted:
    __slots__ = ("empty", "value")

    def __init__(self, value: object) -> None:
        self.value = value


class Plain:
    def __init__(self, value: object) -> None:
        self.value = value

    def method(self) -> object:
        return self.value


class Opaque:
    """A key that Python has no way to write."""


class Row(NamedTuple):
    left: object
    right: object


class Callback:
    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self, *_: object) -> None: ...


def _closing_over(tensor: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x + tensor


def _hidden_with_plain_attribute() -> nn.Module:
    hidden = nn.ReLU()
    hidden.pe = T.clone()
    return holding(layers=[hidden])


PLACES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "attribute": (lambda: holding(pe=T.clone()), "pe", "attribute"),
    "list": (lambda: holding(pes=[1, T.clone()]), "pes[1]", "container"),
    "tuple": (lambda: holding(pes=(T.clone(),)), "pes[0]", "container"),
    "dict": (lambda: holding(cache={"k": T.clone()}), "cache['k']", "container"),
    "dict with int keys": (lambda: holding(cache={7: T.clone()}), "cache[7]", "container"),
    "dict with tuple keys": (lambda: holding(cache={(1, 2): T.clone()}), "cache[(1, 2)]", "container"),
    "dict with None for a key": (lambda: holding(cache={None: T.clone()}), "cache[None]", "container"),
    "dict with fractions for keys": (lambda: holding(cache={0.5: T.clone()}), "cache[0.5]", "container"),
    "dict with keys of keys": (
        lambda: holding(c={("a", 1): {(True,): T.clone()}}),
        "c[('a', 1)][(True,)]",
        "container",
    ),
    "dict with an object for a key": (
        lambda: holding(cache={Opaque(): T.clone()}),
        "list(cache.values())[0]",
        "container",
    ),
    "nested containers": (lambda: holding(cache={"k": [(T.clone(),)]}), "cache['k'][0][0]", "container"),
    "set": (lambda: holding(cache={T.clone()}), "list(cache)[0]", "container"),
    "frozenset": (lambda: holding(cache=frozenset([T.clone()])), "list(cache)[0]", "container"),
    "deque": (lambda: holding(queue=collections.deque([T.clone()])), "queue[0]", "container"),
    "ordered dict": (lambda: holding(c=collections.OrderedDict(a=T.clone())), "c['a']", "container"),
    "defaultdict": (lambda: holding(c=collections.defaultdict(list, a=T.clone())), "c['a']", "container"),
    "mapping proxy": (lambda: holding(c=types.MappingProxyType({"a": T.clone()})), "c['a']", "container"),
    "namedtuple": (lambda: holding(row=Row(1, T.clone())), "row.right", "container"),
    "dataclass": (lambda: holding(stats=Stats(T.clone())), "stats.mean", "object"),
    "slots": (lambda: holding(slotted=Slotted(T.clone())), "slotted.value", "object"),
    "plain object": (lambda: holding(plain=Plain(T.clone())), "plain.value", "object"),
    "object in a list": (lambda: holding(plains=[Plain([T.clone()])]), "plains[0].value[0]", "object"),
    "argparse namespace": (lambda: holding(args=argparse.Namespace(w=T.clone())), "args.w", "object"),
    "simple namespace": (lambda: holding(args=types.SimpleNamespace(w=T.clone())), "args.w", "object"),
    "user dict": (lambda: holding(c=collections.UserDict(a=T.clone())), "c.data['a']", "object"),
    "partial's keyword": (
        lambda: holding(f=functools.partial(torch.add, other=T.clone())),
        "f.keywords['other']",
        "partial",
    ),
    "partial's argument": (lambda: holding(f=functools.partial(torch.add, T.clone())), "f.args[0]", "partial"),
    "bound method": (lambda: holding(f=Plain(T.clone()).method), "f.__self__.value", "object"),
    "built-in method of a tensor": (lambda: holding(f=T.clone().__add__), "f.__self__", "object"),
    "closure": (lambda: holding(f=_closing_over(T.clone())), "f.__closure__[0].cell_contents", "closure"),
    "default argument": (
        lambda: holding(f=lambda x, t=T: x + t),
        "f.__defaults__[0]",
        "default_argument",
    ),
    "keyword default": (
        lambda: holding(f=lambda x, *, t=T: x + t),
        "f.__kwdefaults__['t']",
        "default_argument",
    ),
    "module in a list": (lambda: holding(layers=[nn.PReLU()]), "layers[0].weight", "hidden_module"),
    "module in a dict": (lambda: holding(layers={"a": nn.PReLU()}), "layers['a'].weight", "hidden_module"),
    "module in an object": (lambda: holding(helper=Plain(nn.PReLU())), "helper.value.weight", "hidden_module"),
    "module's child in a list": (
        lambda: holding(layers=[nn.Sequential(nn.ReLU(), nn.PReLU())]),
        "layers[0][1].weight",
        "hidden_module",
    ),
    "attribute of a hidden module": (_hidden_with_plain_attribute, "layers[0].pe", "hidden_module"),
    "parameter in a list": (lambda: holding(ws=[nn.Parameter(T.clone())]), "ws[0]", "container"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_hidden_tensor_is_found_named_and_measured(place: str) -> None:
    make, name, held = PLACES[place]
    model = make()
    assert {name: held} == unregistered(model)
    found = tensors(model)[name]
    assert ("exact", False, False, False) == (found.certainty, found.saved, found.moves, found.trains)
    assert "?" not in found.evidence


@pytest.mark.parametrize("place", PLACES)
def test_the_name_is_python_that_leads_to_the_tensor(place: str) -> None:
    make, name, _ = PLACES[place]
    model = make()
    expression = f"list(model.{name.removeprefix('list(')}" if name.startswith("list(") else f"model.{name}"
    reached = eval(expression, {"model": model})  # noqa: S307  # the name is the test's own
    assert isinstance(reached, torch.Tensor)


def test_an_attrs_class_is_walked_like_any_object() -> None:
    """attrs' slotted classes are plain classes with `__slots__` and a weak reference slot."""

    @dataclasses.dataclass(slots=True, weakref_slot=True)
    class Point:
        x: torch.Tensor

    assert {"point.x": "object"} == unregistered(holding(point=Point(T.clone())))


def test_a_distribution_shows_its_tensors() -> None:
    prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    assert {"prior.loc": "object", "prior.scale": "object"} == unregistered(holding(prior=prior))


def test_a_transformed_distribution_shows_the_tensors_of_its_base_and_transforms() -> None:
    base = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    transform = torch.distributions.transforms.AffineTransform(torch.zeros(2), torch.ones(2))
    found = unregistered(holding(flow=torch.distributions.TransformedDistribution(base, [transform])))
    assert {"flow.transforms[0].loc", "flow.transforms[0].scale"} <= set(found)
    assert any(name.endswith(".loc") and "base_dist" in name for name in found)


def test_hooks_of_every_kind_are_walked() -> None:
    model = holding()
    model.register_forward_hook(Callback(T.clone()))
    model.register_forward_pre_hook(Callback(T.clone()))
    model.register_full_backward_hook(Callback(T.clone()))
    expected = {
        "list(_forward_hooks.values())[0].value": "hook",
        "list(_forward_pre_hooks.values())[0].value": "hook",
        "list(_backward_hooks.values())[0].value": "hook",
    }
    assert expected == unregistered(model)


def test_a_class_attribute_is_found_once_for_all_its_instances() -> None:
    class Block(nn.Module):
        table = T.clone()
        cache: dict[str, torch.Tensor] = {"k": T.clone()}  # noqa: RUF012  # the very mistake

    expected = {"0.table": "class_attribute", "0.cache['k']": "class_attribute"}
    assert expected == unregistered(nn.Sequential(Block(), Block()))


def test_a_class_attribute_of_a_base_and_of_a_helper_object_is_found() -> None:
    class Helper:
        table = T.clone()

    class Base(nn.Module):
        shared = T.clone()

    class Derived(Base):
        def __init__(self) -> None:
            super().__init__()
            self.helper = Helper()

    assert {"shared": "class_attribute", "helper.table": "class_attribute"} == unregistered(Derived())


class NamesGlobals(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return use_secret(x) + self.UNNAMED  # an attribute, not the global

    def method(self) -> torch.Tensor:
        return sum(TABLES["sin"] for _ in range(2))

    def __init__(self) -> None:
        super().__init__()
        self.length = len(UNNAMED)  # names the global, but only while it is built


def test_globals_that_the_methods_and_their_helpers_load_are_found() -> None:
    expected = {
        "forward.__globals__['use_secret'].__globals__['SECRET']": "global",
        "method.__globals__['TABLES']['sin']": "global",
    }
    assert expected == unregistered(NamesGlobals())


class Tables:
    plain = torch.arange(8.0)
    unnamed = torch.arange(9.0)

    class Inner:
        rows = (torch.arange(10.0),)


tables = types.ModuleType("tables")
tables.Tables = Tables  # type: ignore[attr-defined]
tables.mask = torch.arange(11.0)  # type: ignore[attr-defined]
tables.made = lambda: torch.ones(1)  # type: ignore[attr-defined]


class NamesNamespaces(nn.Module):
    own = torch.arange(12.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + Tables.plain + next(Tables.Inner.rows for _ in x)[0] + NamesNamespaces.own

    def method(self, x: torch.Tensor) -> torch.Tensor:
        return tables.mask.to(x) + tables.made() + tables.Tables.Inner.rows[0] + torch.pi + self.unnamed


def test_what_the_methods_take_from_modules_and_classes_is_found_and_nothing_else_of_these() -> None:
    expected = {
        "own": "class_attribute",
        "forward.__globals__['Tables'].plain": "global",
        "forward.__globals__['Tables'].Inner.rows[0]": "global",
        "method.__globals__['tables'].mask": "global",
    }
    assert expected == unregistered(NamesNamespaces())


class Counted(nn.Module):
    instances: list[nn.Module] = []  # noqa: RUF012  # the very habit

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        Counted.instances.append(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * len(Counted.instances)


class CountsOthers(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * len(Counted.instances)


def test_the_registry_of_a_class_holds_no_part_of_the_models_that_look_at_it() -> None:
    other = Counted()
    assert {} == unregistered(Counted())
    assert {} == unregistered(CountsOthers())
    assert other in Counted.instances


def test_the_default_argument_of_forward_is_found_under_a_decorator() -> None:
    class Decorated(nn.Module):
        @torch.no_grad()
        def forward(self, x: torch.Tensor, mask: torch.Tensor = T.clone()) -> torch.Tensor:  # noqa: B008
            return x + mask

    assert ["default_argument"] == list(unregistered(Decorated()).values())


def test_one_tensor_in_two_places_is_a_tie_with_both_names() -> None:
    shared = T.clone()
    found = tensors(holding(a=shared, b=[shared]))
    assert (None, "a") == (found["a"].alias_of, found["b[0]"].alias_of)
    assert found["a"].storage == found["b[0]"].storage


def test_each_module_that_holds_the_same_tensor_names_it() -> None:
    shared = T.clone()
    found = unregistered(nn.Sequential(holding(pe=shared), holding(pe=shared)))
    assert {"0.pe": "attribute", "1.pe": "attribute"} == found


class Hostile:  # noqa: PLW1641  # it does, as one of many
    """An object that answers every polite question with an exception."""

    def __init__(self) -> None:
        object.__setattr__(self, "held", [T.clone()])

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")

    def __len__(self) -> int:
        raise AssertionError("asked for its length")

    __iter__ = __bool__ = __repr__ = __hash__ = __len__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    @property
    def __class__(self) -> type:
        raise AssertionError("asked for its class")


class HostileList(list[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("iterated")

    __len__ = __bool__ = __getitem__ = __iter__  # type: ignore[assignment]


class HostileDict(dict[str, Any]):
    def items(self) -> Any:
        raise AssertionError("iterated")

    __iter__ = __len__ = keys = values = items  # type: ignore[assignment]


class HostileMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__mro__", "__dict__", "__bases__"):
            raise AssertionError(f"the class was asked for {name}")
        return super().__getattribute__(name)

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("classes compared")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Hostile, "odd.held[0]"),
        (lambda: HostileList([T.clone()]), "odd[0]"),
        (lambda: HostileDict(a=T.clone()), "odd['a']"),
        (HostileMeta("Odd", (), {"__init__": lambda self: setattr(self, "w", T)}), "odd.w"),
    ],
    ids=["object", "list", "dict", "metaclass"],
)
def test_the_walk_asks_the_users_objects_nothing(make: Callable[[], object], name: str) -> None:
    assert [name] == list(unregistered(holding(odd=make())))


def test_properties_and_getattr_are_never_called() -> None:
    class Evil(nn.Module):
        @property
        def trap(self) -> object:
            raise AssertionError("the property was read")

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                return super().__getattr__(name)
            raise AssertionError(f"asked for {name}")

    model = Evil()
    object.__setattr__(model, "pe", T.clone())
    assert {"pe": "attribute"} == unregistered(model)


def test_cycles_and_parent_links_end() -> None:
    child = holding()
    parent = holding(child=child)
    object.__setattr__(child, "parent", parent)
    child.family = [parent, child, {"again": parent}]
    child.family.append(child.family)
    assert {} == unregistered(parent)


def test_a_vocabulary_of_a_million_strings_costs_almost_nothing() -> None:
    model = holding(vocabulary={str(number): number for number in range(1_000_000)}, pe=T.clone())
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        inventory = scan(model, "test")
    finally:
        sys.setprofile(None)
    assert calls < 20_000  # no function of Python is called for each of the strings
    assert () == inventory.skipped
    assert "pe" in [tensor.name for tensor in inventory.tensors]


def test_a_bound_that_is_hit_is_reported_and_hides_no_other_attribute() -> None:
    model = holding(big=[[[]] for _ in range(120_000)], pe=T.clone())
    inventory = scan(model, "test")
    assert [("big", True)] == [(skipped.what, skipped.failed) for skipped in inventory.skipped]
    assert "pe" in [tensor.name for tensor in inventory.tensors]


def test_a_linked_list_ends_at_the_depth_bound() -> None:
    head: Any = Plain(T.clone())
    for _ in range(1000):
        head = Plain(head)
    assert ["chain"] == [skipped.what for skipped in scan(holding(chain=head), "test").skipped]
