"""A saved optimizer: its state_dict, or the object itself. What it says of the parameters that it was made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.formats.pickle.pickle_values import Instance, Pairs, elements_of, lookup, pairs_of
from bufscan.inventory import Optimizer, OptimizerGroup

if TYPE_CHECKING:
    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.tensors.rebuilding import Rebuilder

# Before torch 1.5, optimizers numbered parameters by their addresses. Integers that are longer than their own hash
# could be made to collide in a dict.
_MOST_INDEX = 1 << 61
_STEPS_PER_COPY = 6  # what is copied into the inventory takes memory as well as time

# Fields of an optimizer's state that have the shape of the parameter (torch.optim; Muon included).
_SHAPED_LIKE_PARAMETER = frozenset(
    {
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "exp_inf",
        "momentum_buffer",
        "square_avg",
        "acc_delta",
        "grad_avg",
        "sum",
        "prev",
        "ax",
    }
)


_NOT_SETTINGS = frozenset({"params", "param_names"})
_LONGEST_SETTING = 80  # characters
_MOST_PARTS = 4  # of a tuple: two betas, three of Adafactor

_ADAMS = "Adam or AdamW"
_KINDS = (
    ({"exp_avg", "exp_avg_sq", "mu_product"}, "NAdam"),
    ({"exp_avg", "exp_inf"}, "Adamax"),
    ({"exp_avg", "exp_avg_sq"}, _ADAMS),
    ({"square_avg", "acc_delta"}, "Adadelta"),
    ({"square_avg"}, "RMSprop"),
    ({"prev", "step_size"}, "Rprop"),
    ({"eta", "mu", "ax"}, "ASGD"),
    ({"sum"}, "Adagrad"),
    ({"momentum_buffer"}, "SGD with momentum"),
)
"""What the classes of torch.optim keep for each parameter (torch 2.13), the more telling first."""


def optimizer_fields(value: Any) -> Pairs | None:
    """The state_dict of an optimizer, or the attributes of one that was saved whole; None for anything else."""
    fields = value.state if type(value) is Instance and value.items is None else pairs_of(value)
    if (
        type(fields) is Pairs
        and lookup(fields, "param_groups") is not None
        and lookup(fields, "state") is not None
    ):
        return fields
    return None


class OptimizerReader:
    """Reads one optimizer.

    Attributes:
        contents: everything in it as `Optimizer.state_dict()` has it: state by the number of the parameter. Only
            the parameters themselves stand where their numbers would.
    """

    def __init__(self, fields: Pairs, rebuilder: Rebuilder, allowance: Allowance) -> None:
        self._rebuilder = rebuilder
        self._allowance = allowance
        self._groups = [pairs_of(group) or Pairs() for group in self._elements(lookup(fields, "param_groups"))]
        self._parameters = [self._elements(lookup(group, "params")) for group in self._groups]
        self._numbers = self._number_parameters()
        self._state = self._state_by_number(fields)
        entries = (["state", self._state] if key == "state" else [key, held] for key, held in fields.entries())
        self.contents = Pairs(part for entry in entries for part in entry) if self._numbers else fields

    def _elements(self, value: Any) -> list[Any] | tuple[Any, ...]:
        """Elements that go into the inventory, counted among what the file can make bufscan copy."""
        elements = elements_of(value) or ()
        self._allowance.look_at(_STEPS_PER_COPY * len(elements))
        return elements

    def _number_parameters(self) -> dict[int, int]:
        """Running numbers of the parameters, by identity; none in a state_dict, which has the numbers alone."""
        numbers: dict[int, int] = {}
        for parameters in self._parameters:
            for parameter in parameters:
                if type(parameter) is Instance:
                    numbers.setdefault(id(parameter), len(numbers))
        return numbers

    def _state_by_number(self, fields: Pairs) -> Pairs:
        state = pairs_of(lookup(fields, "state")) or Pairs()
        self._allowance.look_at(_STEPS_PER_COPY * len(state))
        if not self._numbers:
            return state
        entries = ((self._numbers.get(id(key), key), held) for key, held in state.entries())
        return Pairs(part for entry in entries for part in entry)

    def evidence(self, section: str) -> Optimizer:
        """What the optimizer, which lies in `section`, says of its parameters."""
        shapes: dict[int | str, tuple[int, ...]] = {}
        for index, fields in self._state.entries():
            shape = self._shape_in_state(pairs_of(fields))
            if _is_index(index) and shape is not None:
                shapes[index] = shape
        groups = []
        for group, parameters in zip(self._groups, self._parameters, strict=True):
            indices = (self._numbers.get(id(each), each) for each in parameters)
            names = lookup(group, "param_names")
            if names is None and all(type(each) is str for each in parameters):
                names = parameters  # torch.distributed.checkpoint numbers parameters by their names
            groups.append(
                OptimizerGroup(
                    shapes=tuple(shapes.get(index) if _is_index(index) else None for index in indices),
                    names=None if names is None else tuple(n for n in self._elements(names) if type(n) is str),
                    settings=self._settings(group),
                )
            )
        return Optimizer(section=section, groups=tuple(groups), kind=self._kind())

    def _kind(self) -> str | None:
        """The class, as far as one parameter's state and the first group tell it."""
        first = next((fields for _, held in self._state.entries() if (fields := pairs_of(held))), None)
        group = self._groups[0] if self._groups else Pairs()
        if first is None:
            return "SGD" if {"lr", "momentum", "dampening", "nesterov"} <= _keys(group) else None
        kind = next((kind for kept, kind in _KINDS if kept <= _keys(first)), None)
        if kind != _ADAMS:
            return kind
        decoupled = lookup(group, "decoupled_weight_decay")  # AdamW says it since torch 2.7
        if "amsgrad" not in _keys(group):
            return None if decoupled is None else "RAdam"  # other libraries keep such a state too
        return kind if decoupled is None else "AdamW" if decoupled is True else "Adam"

    def _settings(self, group: Pairs) -> dict[str, str]:
        """The scalars of a group, and short tuples of them."""
        settings: dict[str, str] = {}
        for key, value in group.entries():
            if type(key) is str and key not in _NOT_SETTINGS and len(key) <= _LONGEST_SETTING:
                self._allowance.look_at(_STEPS_PER_COPY)
                parts = value if type(value) is tuple and len(value) <= _MOST_PARTS else (value,)
                if all(map(_is_short_scalar, parts)):
                    settings[key] = value if type(value) is str else repr(value)
        return settings

    def _shape_in_state(self, fields: Pairs | None) -> tuple[int, ...] | None:
        """The shape of the parameter that an optimizer keeps this state for, where the state shows it."""
        for name, value in fields.entries() if fields is not None else ():
            if type(name) is str and name in _SHAPED_LIKE_PARAMETER and self._rebuilder.is_tensor(value):
                return self._rebuilder.shape_of(value)
        return None


def _is_short_scalar(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < _MOST_INDEX  # Python refuses to print an integer of many digits
    return type(value) in (float, bool) or (type(value) is str and len(value) <= _LONGEST_SETTING)


def _keys(fields: Pairs) -> set[str]:
    return {key for key, _ in fields.entries() if type(key) is str}


def _is_index(value: Any) -> bool:
    return type(value) is str or (type(value) is int and 0 <= value < _MOST_INDEX)
