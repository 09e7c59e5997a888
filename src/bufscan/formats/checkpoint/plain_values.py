"""Everything in a pickle that is no tensor, as inert values with their paths: `diff` compares them too."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.checkpoint_parts import metadata_of
from bufscan.formats.checkpoint.module_instance import module_state
from bufscan.formats.pickle.object_graph import MAX_DEPTH
from bufscan.formats.pickle.pickle_values import (
    Global,
    Instance,
    Pairs,
    PersistentId,
    elements_of,
    is_dict_class,
    is_set,
    named_class,
)
from bufscan.formats.tensors.numpy_arrays import bytes_of, scalar_of
from bufscan.inventory import PlainValue
from bufscan.tensor_names import spell_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.tensors.rebuilding import Rebuilder

_LONGEST = 200  # characters of a value as it is; a longer one is told by its length and hash
_LONGEST_PATH = 1000
_MEMORY = 320  # bytes of a record and its place in all lists, beyond its texts
_STEPS = 12  # to find out what a value is, and its path

_LONG_RUN = 1000  # numbers in a list that are told as one value: a permutation, the state of a generator
_NUMBERS = frozenset({int, float, bool, type(None)})
_MOST_TRAINING = 300  # values that say how a checkpoint was trained
_MOST_TRAINING_STEPS = 3000

_SCALARS = frozenset({int, float, complex, bool, str, bytes, type(None)})


class _Place(NamedTuple):
    """A value on the way: where it lies, and the ids of what it lies in. `origin` as in `PlainValue`."""

    value: Any
    path: str
    above: tuple[int, ...]
    origin: Literal["version", "module"] | None = None

    def leaf(self, kind: str, text: str) -> PlainValue:
        """What lies here."""
        return PlainValue(path=self.path, kind=kind, text=text, origin=self.origin)

    def unknown(self, reason: str) -> PlainValue:
        """That nobody knows what lies here."""
        return PlainValue(path=self.path, reason=reason, origin=self.origin)


def plain_values(root: Any, rebuilder: Rebuilder, allowance: Allowance) -> tuple[PlainValue, ...]:
    """Every leaf below `root` that no tensor record holds, in order.

    A pickle can hold one object in many places. It counts in each of them, for whether two equal values are one
    object is nothing that anybody saved on purpose; what holds itself is told by how far up that is.
    """
    found: list[PlainValue] = []
    waiting = [_Place(root, "", ())] if root or type(root) not in (Pairs, list, tuple) else []
    try:
        while waiting and allowance.memory >= 0:
            place = waiting.pop()
            allowance.look_at(_STEPS)
            if type(place.value) in (list, tuple) and len(place.value) > _LONG_RUN:
                allowance.look_at(len(place.value))
            leaf = _leaf(place, rebuilder)
            if leaf is not None:
                allowance.memory -= _MEMORY + len(leaf.path) + len(leaf.text)
                found.append(leaf)
            elif not _is_tensor(place.value, rebuilder):
                waiting += reversed(list(_inside(place)))
            else:
                waiting += _attributes_of_tensor(place)
    except UnreadableError:
        allowance.memory = -1
    if allowance.memory < 0:
        reason = "its pickle shows more values than a file of its size can hold"
        found.append(PlainValue(path="the rest of its plain values", reason=reason))
    return tuple(found)


def training_values(
    root: Any, rebuilder: Rebuilder, outside: Collection[int]
) -> tuple[tuple[PlainValue, ...], bool]:
    """The leaves of a training checkpoint that say how it was trained, and whether these are all.

    They are as in `plain_values`, but no more than a few, and what lies deeper comes later.

    Args:
        root: the checkpoint, a dict.
        rebuilder: knows what a tensor is.
        outside: ids of what is not entered: models, optimizers and whatever else has its own place in a report.
    """
    found: list[PlainValue] = []
    waiting = deque([_Place(root, "", ())])
    is_whole = True
    for _ in range(_MOST_TRAINING_STEPS):
        if not waiting or len(found) == _MOST_TRAINING:
            break
        place = waiting.popleft()
        if id(place.value) in outside or place.origin is not None or _is_tensor(place.value, rebuilder):
            continue
        leaf = _leaf(place, rebuilder)
        if leaf is None:
            inside = list(islice(_inside(place), _MOST_TRAINING + 1))
            is_whole = is_whole and len(inside) <= _MOST_TRAINING
            waiting += inside[:_MOST_TRAINING]
        elif leaf.kind not in ("class", "empty") and leaf.reason is None:
            found.append(leaf)
    return tuple(found), is_whole and not waiting


def text_of(value: Any) -> str:
    """A scalar as exact text; what is long by its length and hash."""
    if type(value) in (str, bytes) and len(value) > _LONGEST:
        data = value if type(value) is bytes else value.encode("utf-8", "surrogatepass")
        return f"{type(value).__name__} of {len(value):,}, {_hash([data])}"
    text = repr(value)
    return text if len(text) <= 2 * _LONGEST else f"{text[:20]}… of {len(text):,} digits, {_hash([text.encode()])}"


def _hash(pieces: Iterable[bytes]) -> str:
    from hashlib import sha256  # brings OpenSSL, which most files do without

    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return f"SHA-256 {digest.hexdigest()[:16]}"


def _is_tensor(value: Any, rebuilder: Rebuilder) -> bool:
    return rebuilder.is_tensor(value) or rebuilder.storages.keeps(value)


def _leaf(place: _Place, rebuilder: Rebuilder) -> PlainValue | None:
    """The value as a leaf; None for a tensor, and for what has something inside."""
    value, _, above, _ = place
    kind = type(value)
    if kind in _SCALARS:
        return place.leaf("None" if value is None else kind.__name__, text_of(value))
    if (named := named_class(value)) is not None:
        # NumPy 2 renamed the package of its classes.
        return place.leaf("class", text_of(named.qualified.replace("numpy._core.", "numpy.core.")))
    if len(above) > MAX_DEPTH:
        return place.unknown(f"nested more than {MAX_DEPTH} deep")
    if id(value) in above:
        return place.leaf("object", f"the object {len(above) - above.index(id(value))} levels up")
    return _leaf_of_instance(place, rebuilder) if kind is Instance else _leaf_of_container(place)


def _leaf_of_container(place: _Place) -> PlainValue | None:
    """One that is empty, or a long row of numbers; None for any other."""
    value = place.value
    if type(value) in (Pairs, list, tuple) and not value:
        return place.leaf("empty", "{}" if type(value) is Pairs else repr(value))
    if type(value) in (list, tuple) and len(value) > _LONG_RUN and _NUMBERS.issuperset(map(type, value)):
        pieces = (f"{number!r},".encode() for number in value)
        return place.leaf("numbers", f"{len(value):,} numbers, {_hash(pieces)}")
    return None


def _leaf_of_instance(place: _Place, rebuilder: Rebuilder) -> PlainValue | None:
    value = place.value
    if (number := scalar_of(value)) is not None:
        return place.leaf(f"NumPy {number.code}", text_of(number.value))
    for kind, held in (("bytes", value), ("BytesIO", _stream_of(value))):
        if (data := bytes_of(held)) is not None:
            return place.leaf(kind, text_of(data))
    if is_set(value):
        elements = elements_of(value) or ()
        if all(type(each) in _SCALARS for each in elements):
            return place.leaf("set", _bounded("{" + ", ".join(sorted(map(text_of, elements))) + "}"))
        return place.unknown("a set of objects: nothing says which of them is which")
    if not _is_tensor(value, rebuilder) and not any(True for _ in _inside(place)):
        return place.leaf("empty", "{}" if is_dict_class(value.func) else f"{_spelled(value.func)}()")
    return None


def _stream_of(value: Instance) -> Any:
    """What an `io.BytesIO` is filled with: of its state (bytes, position, attributes) the bytes."""
    is_stream = value.is_call_of("_io", "BytesIO") and type(value.state) is tuple and value.state
    return value.state[0] if is_stream else None


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{len(text):,} characters, {_hash([text.encode()])}"


def _spelled(func: Any) -> str:
    return func.qualified[:_LONGEST] if type(func) is Global else "an object"


def _inside(place: _Place) -> Iterator[_Place]:
    """What a container or an object holds."""
    origin = place.origin or (None if module_state(place.value) is None else "module")
    versions = None if metadata_of(place.value) is None else f"{place.path}._metadata".removeprefix(".")
    held = _held_by(place.value, place.path, (*place.above, id(place.value)))
    if origin is versions is None:
        yield from held
    else:
        for each in held:
            yield each._replace(origin="version" if each.path == versions else origin)


def _held_by(value: Any, path: str, below: tuple[int, ...]) -> Iterator[_Place]:
    if type(value) is Pairs:
        yield from _entries(value, path, below)
    elif type(value) in (list, tuple):
        yield from _elements(value, path, below)
    elif type(value) is PersistentId:
        yield _Place(value.value, path, below)
    elif type(value) is Instance:
        elements = elements_of(value)
        if not (is_dict_class(value.func) or elements is not None):
            yield _Place(value.func, f"{path}.__class__".removeprefix("."), below)
        if value.elements is None and elements is not None:
            yield from _elements(elements, path, below)
        elif not (is_dict_class(value.func) and value.items is not None):
            yield from _elements(value.args, f"{path}.__args__".removeprefix("."), below)
        yield from _elements(value.elements, path, below)
        if value.items is not None:
            yield from _entries(value.items, path, below)
        yield from _state(value.state, path, below)


def _entries(pairs: Pairs, path: str, above: tuple[int, ...]) -> Iterator[_Place]:
    last = {key: held for key, held in pairs.entries() if type(key) is str}  # what a dict would keep
    for position, (key, held) in enumerate(pairs.entries()):
        if type(key) is not str:
            yield _Place(held, f"{path}[{spell_key(key) or f'key {position}'}]"[:_LONGEST_PATH], above)
            if spell_key(key) is None:
                yield _Place(key, f"{path}[key {position}].key"[:_LONGEST_PATH], above)
        elif key in last:
            yield _Place(last.pop(key), _dotted(path, key), above)


def _dotted(path: str, key: str) -> str:
    if len(key) > _LONGEST:
        key = f"{key[:_LONGEST]}… {_hash([key.encode()])}"
    return (f"{path}.{key}" if path else key)[:_LONGEST_PATH]


def _elements(values: Any, path: str, above: tuple[int, ...]) -> Iterator[_Place]:
    for index, held in enumerate(values if type(values) in (list, tuple) else ()):
        yield _Place(held, f"{path}[{index}]"[:_LONGEST_PATH], above)


def _state(state: Any, path: str, above: tuple[int, ...]) -> Iterator[_Place]:
    parts = state if type(state) is tuple else (state,)
    if all(type(part) is Pairs or part is None for part in parts):  # the dict, and that of the slots
        for part in parts:
            if part is not None:
                yield from _entries(part, path, above)
    else:
        yield _Place(state, f"{path}.__state__" if path else "__state__", above)


def _attributes_of_tensor(place: _Place) -> list[_Place]:
    """What somebody set on a Parameter or a tensor: the state that its call is given last."""
    value = place.value
    if type(value) is Instance and type(value.func) is Global and type(value.args) is tuple:
        below = (*place.above, id(value))
        if value.func.name in ("_rebuild_parameter_with_state", "_rebuild_from_type_v2") and value.args:
            return list(_state(value.args[-1], place.path, below))
        if value.func.name == "_rebuild_parameter" and value.args:
            return [_Place(value.args[0], place.path, below)]
    return []
