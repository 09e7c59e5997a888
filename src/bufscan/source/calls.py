"""What calls give while an object is built: of torch's functions, of Python's, and of the project's own."""

from __future__ import annotations

import ast
from functools import partial
from typing import TYPE_CHECKING

from bufscan.source.abstract_pass import TooLongError
from bufscan.source.annotations import annotated
from bufscan.source.expressions import MOST_STEPS, Expressions, derived, starred, viewed
from bufscan.source.objects import Frame, hold
from bufscan.source.replay import Effect, Effects, Recording
from bufscan.source.torch_facts import (
    BUFFERS,
    CREATING,
    DETACHING,
    DISTRIBUTIONS,
    NEVER_SCALAR,
    OF_NUMBERS,
    PARAMETERS,
    REDUCTIONS,
    SAME_OR_MOVED,
    SIZED,
    TENSOR_CLASSES,
    VIEWS,
    function_result,
    is_module_class,
    method_result,
)
from bufscan.source.values import (
    FALSE,
    MAY_TRAIN,
    NONE,
    PLAIN,
    UNKNOWN,
    ClassName,
    Container,
    Function,
    Instance,
    MethodOf,
    Module,
    Outside,
    Parameter,
    Plain,
    Super,
    Tensor,
    Unknown,
    Value,
    either,
    options_of,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bufscan.source.classes import ClassInfo
    from bufscan.source.values import How

_MOST_STEPS_OF_CALL = 2_500
_DEEPEST = 14  # calls in one another
_PLAIN_RESULTS = frozenset(
    (
        "len",
        "int",
        "float",
        "bool",
        "str",
        "isinstance",
        "hasattr",
        "issubclass",
        "abs",
        "round",
        "range",
        "id",
        "repr",
    )
)
_IN_A_LIST = frozenset(("list", "tuple", "set", "sorted", "reversed", "collections.deque", "iter", "frozenset"))
_FALSE_WHILE_BUILDING = frozenset(
    (
        *("torch.jit.is_scripting", "torch.jit.is_tracing", "torch.onnx.is_in_onnx_export"),
        *("torch.compiler.is_compiling", "torch.compiler.is_dynamo_compiling", "torch._dynamo.is_compiling"),
        *("torch.compiler.is_exporting", "torch.overrides.is_tensor_method_or_property"),
    )
)
_DICTS = frozenset(("dict", "collections.OrderedDict", "collections.defaultdict"))
_PUTTING = {"append": 0, "appendleft": 0, "add": 0, "insert": 1, "setdefault": 1}


class Calls(Expressions):
    """Follows calls. See `Objects` for what they read and change."""

    def call(self, function: Value, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call) -> Value:
        match function:
            case Function():
                return self.run(function, arguments, named)
            case ClassName(cls=cls):
                return self._made(cls, arguments, named, node)
            case Outside(dotted=dotted):
                return self._outside(dotted, arguments, named, node)
            case MethodOf(of=of, name=name):
                return self._method(of, name, arguments, named, node)
            case Module() | Tensor() | Parameter():
                return MAY_TRAIN
            case Instance():
                called = self.lineage_of(function).method("__call__") or self.lineage_of(function).method(
                    "forward"
                )
                if called is None:
                    return UNKNOWN
                bound = Function(called.owner.file, called.node, owner=called.owner, receiver=function)
                return self.run(bound, arguments, named)
            case _:
                for value in (*arguments, *named.values()):
                    hold(starred(value) or value)
                return MAY_TRAIN if isinstance(function, Unknown) and function.may_train else UNKNOWN

    # The project's own.

    def _made(self, cls: ClassInfo, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call) -> Value:
        self.of_class(cls, "class")
        lineage = self.classes.lineage(cls)
        words = self.words(node)
        if lineage.is_module:
            for value in (*arguments, *named.values()):
                hold(starred(value) or value)
            return Module(words, cls)
        if any(info.name == "Tensor" for info in lineage.classes) or "torch.Tensor" in lineage.outside:
            return UNKNOWN
        made = Instance(cls, is_module=False)
        if lineage.outside and not lineage.is_known:
            return UNKNOWN
        self.heap.append(made)
        method = lineage.method("__init__")
        if method is not None:
            self.run(Function(method.owner.file, method.node, owner=method.owner, receiver=made), arguments, named)
        elif "typing.NamedTuple" in lineage.outside or any(
            "dataclass" in info.decorators for info in lineage.classes
        ):
            self._fill(
                made, [name for info in reversed(lineage.classes) for name in _fields(info)], arguments, named
            )
        return made

    def _fill(
        self, made: Instance, fields: list[str], arguments: Sequence[Value], named: dict[str, Value]
    ) -> None:
        for name, value in (*zip(fields, arguments, strict=False), *named.items()):
            if starred(value) is None:
                self.set_attribute(made, name, value, None)

    def run(self, function: Function, arguments: Sequence[Value], named: dict[str, Value]) -> Value:
        node = function.node
        running = next((depth for depth, frame in enumerate(self.frames) if frame.node is node), None)
        if running is not None or len(self.frames) > _DEEPEST:
            for recording in self.recordings:
                recording.is_cut = recording.is_cut or running is None or recording.depth > running
            return self._by_annotation(function)
        self.ran.add(id(node))
        for recording in self.recordings[-1:]:
            recording.ran.add(id(node))
        key = self._call_key(function, arguments, named)
        if key is not None and isinstance(function.receiver, Instance | ClassName):
            return self._repeated(function.receiver, key, partial(self._run, function, arguments, named))
        if key is not None and key in self.memory.calls:
            return self.memory.calls[key]
        found = self._run(function, arguments, named)
        if key is not None and (isinstance(found, Tensor) or signature(found) is not None):
            self.memory.calls[key] = found
        return found

    def _call_key(
        self, function: Function, arguments: Sequence[Value], named: dict[str, Value]
    ) -> tuple[object, ...] | None:
        """The same for calls that give the same, whatever is built; None where the arguments may be changed."""
        receiver = function.receiver
        if function.names is not None or not (receiver is None or isinstance(receiver, Instance | ClassName)):
            return None
        given = (*arguments, *named.values())
        signatures = [signature(value) for value in given]
        if None in signatures:
            return None
        for value in given:
            if isinstance(value, ClassName):
                self.of_class(value.cls, "class")
        is_free = self.most_steps == MOST_STEPS
        return function.node, None if receiver is None else (type(receiver), is_free), tuple(named), *signatures

    def _repeated(
        self, receiver: Instance | ClassName, key: tuple[object, ...], run: Callable[[], Value]
    ) -> Value:
        """What a method gives and does: as it did with an object that is alike, or else by following it."""
        effects = self.memory.effects.setdefault(key, Effects())
        known = effects.find(self.classes, receiver)
        if known is not None:
            return self._do(known)
        if not effects.was_followed:  # most methods are called once
            effects.was_followed = True
            return run()
        recording = Recording(receiver, len(self.heap), len(self.buffers), len(self.frames), self.steps)
        self.recordings.append(recording)
        try:
            found = run()
        finally:
            self.recordings.pop()
            for around in self.recordings[-1:]:
                around.absorb(recording)
        made, buffers = self.heap[recording.heap :], self.buffers[recording.buffers :]
        did = Effect(receiver, [], found, {}, made, buffers, recording.ran, self.steps - recording.steps)
        effects.keep(self.classes, recording, did)
        return found

    def _do(self, effect: Effect) -> Value:
        """What following a method would do."""
        self.steps += effect.steps
        if self.steps > self.most_steps:
            raise TooLongError
        receiver = effect.receiver
        for recording in self.recordings[-1:]:
            recording.ran |= effect.ran
            recording.ask(receiver, effect.questions)
        if isinstance(receiver, Instance):
            for name, several in effect.attributes.items():
                before = receiver.attributes.pop(name, ())
                if several is not None:
                    receiver.attributes[name] = tuple(
                        before[each] if isinstance(each, int) else each for each in several
                    )
        self.heap += effect.made
        self.buffers += effect.buffers
        self.ran |= effect.ran
        return effect.given

    def _run(self, function: Function, arguments: Sequence[Value], named: dict[str, Value]) -> Value:
        node = function.node
        name = "" if isinstance(node, ast.Lambda) else node.name
        frame = Frame(function.file, function.owner, name, function.names)
        frame.node = node
        frame.calling = self.statement
        given = list(arguments)
        if function.receiver is not None:
            given.insert(0, function.receiver)
        frame.names = self._bound(function, given, named)
        statement, most_steps = self.statement, self.most_steps
        # What is called from a constructor may go far afield: then that call is given up, and not the class.
        is_bounded = most_steps == MOST_STEPS and name != "__init__" and len(self.frames) > 0
        if is_bounded:
            self.most_steps = min(most_steps, self.steps + _MOST_STEPS_OF_CALL)
        self.frames.append(frame)
        depth = len(self.frames)
        try:
            found = self.evaluate(node.body) if isinstance(node, ast.Lambda) else self._ran(frame, node.body)
        except TooLongError:
            if not is_bounded or self.steps > most_steps:
                raise
            found = UNKNOWN
        finally:
            del self.frames[depth - 1 :]
            self.statement, self.most_steps = statement, most_steps
        if isinstance(found, Unknown):
            return self._by_annotation(function) if not found.may_train else found
        return found

    def _ran(self, frame: Frame, body: list[ast.stmt]) -> Value:
        goes_on = self.block(body)
        if goes_on:
            frame.returned.append(NONE)
            frame.left.append(self.snapshot())
        if not frame.left:  # it raises, always
            return UNKNOWN
        if not (goes_on and len(frame.left) == 1):
            self.merge(frame.left)
        if frame.is_generator:
            return Container("generator", frame.yielded)
        return either(frame.returned)

    def _by_annotation(self, function: Function) -> Value:
        node = function.node
        if isinstance(node, ast.Lambda) or node.returns is None:
            return UNKNOWN
        found = annotated(self, function.file, node.returns, f"`{node.name}()`")
        if not isinstance(found, Tensor) or node.name == "forward":
            return UNKNOWN
        return Tensor(f"`{node.name}()`, which is annotated to return a tensor", has_dimensions=None)

    def _bound(self, function: Function, given: list[Value], named: dict[str, Value]) -> dict[str, Value]:
        """The arguments of a call by their names."""
        spec = function.node.args
        names: dict[str, Value] = {}
        parameters = [*spec.posonlyargs, *spec.args]
        is_open = any(starred(value) for value in given) or any(key.startswith("**") for key in named)
        before = []
        for value in given:
            if starred(value) is not None:
                break
            before.append(value)
        defaults: dict[str, ast.expr] = dict(
            zip(
                [each.arg for each in parameters[len(parameters) - len(spec.defaults) :]],
                spec.defaults,
                strict=True,
            )
        )
        defaults |= {
            each.arg: default for each, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default
        }
        for parameter, value in zip(parameters, before, strict=False):
            names[parameter.arg] = value
        for parameter in (*parameters, *spec.kwonlyargs):
            name = parameter.arg
            if name in named:
                names[name] = named[name]
            elif name not in names:
                default = self._default(function, defaults.get(name))
                names[name] = either([default, UNKNOWN]) if is_open or name not in defaults else default
            names[name] = self._as_annotated(function, parameter, names[name])
        if spec.vararg:
            names[spec.vararg.arg] = Container("tuple", before[len(parameters) :]) if not is_open else UNKNOWN
        if spec.kwarg:
            known = {each.arg for each in (*parameters, *spec.kwonlyargs)}
            rest = {
                name: value for name, value in named.items() if name not in known and not name.startswith("**")
            }
            names[spec.kwarg.arg] = Container("dict", rest.values(), rest) if not is_open else UNKNOWN
        return names

    def _as_annotated(self, function: Function, parameter: ast.arg, value: Value) -> Value:
        if value is not UNKNOWN or parameter.annotation is None:
            return value
        return annotated(self, function.file, parameter.annotation, f"`{parameter.arg}`")

    def _default(self, function: Function, default: ast.expr | None) -> Value:
        return UNKNOWN if default is None else self.value_in_file(function.file, default, function.owner)

    # Of torch, and of Python.

    def _outside(self, dotted: str, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call) -> Value:
        words = self.words(node)
        if dotted in PARAMETERS:
            wants = named.get("requires_grad") or (arguments[1] if len(arguments) > 1 else PLAIN)
            is_frozen = any(
                isinstance(option, Plain) and option.is_known and option.constant is False
                for option in options_of(wants)
            )
            return Parameter(words, has_grad=not is_frozen)
        if dotted in BUFFERS:
            persistent = named.get("persistent") or (arguments[1] if len(arguments) > 1 else None)
            stays = not (isinstance(persistent, Plain) and persistent.constant is False)
            return Tensor(words, is_buffer=True, persistent=stays)
        if is_module_class(dotted):
            for value in (*arguments, *named.values()):
                hold(starred(value) or value)
            return Module(words)
        result = function_result(dotted)
        if result is not None:
            return self._of_torch(dotted.rpartition(".")[2], result, arguments, named, node)
        if dotted.startswith(DISTRIBUTIONS):
            return self._distribution(dotted, arguments, named, words)
        return self._of_python(dotted, arguments, named, node)

    def _of_torch(
        self, name: str, result: str, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call
    ) -> Value:
        words = self.words(node)
        several = result == "tensors" or (
            result == "either" and ("dim" in named or (name in ("max", "min", "median") and len(arguments) > 1))
        )
        if name in CREATING:
            wants = named.get("requires_grad")
            is_leaf = isinstance(wants, Plain) and wants.is_known and wants.constant is True
            made = Tensor(
                words,
                has_dimensions=_created_dimensions(name, arguments, named),
                grad="leaf" if is_leaf else "none",
            )
            return Container("tuple", [made]) if several else made
        inputs = [*arguments, *named.values()]
        dimensions = None
        if name in NEVER_SCALAR:
            dimensions = True
        elif name in REDUCTIONS and len(arguments) == 1 and not named:
            dimensions = False
        made = derived(inputs, words, has_dimensions=dimensions)
        if name == "where" and len(arguments) == 1:
            several = True
        return Container("tuple", [made]) if several else made

    def _distribution(self, dotted: str, arguments: Sequence[Value], named: dict[str, Value], words: How) -> Value:
        held = [option for value in (*arguments, *named.values()) for option in options_of(value)]
        tensors = [value for value in held if isinstance(value, Tensor | Container)]
        name = dotted.rpartition(".")[2]
        if name in OF_NUMBERS and held and all(isinstance(value, Plain) for value in held):
            tensors = [Tensor(words, has_dimensions=False)]
        return Container("distribution", tensors) if tensors and name[:1].isupper() else UNKNOWN

    def _of_python(
        self, dotted: str, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call
    ) -> Value:
        if dotted in _FALSE_WHILE_BUILDING:
            return FALSE
        match dotted, arguments:
            case "bool", [Plain(is_known=True, constant=constant)]:
                return Plain(bool(constant), is_known=True)
            case "super", []:
                frame = self.frame
                if frame.owner is None or frame.method_receiver is None:
                    return UNKNOWN
                return Super(frame.owner, frame.method_receiver)
            case "super", [ClassName(cls=cls), receiver]:
                return Super(cls, receiver)
            case (("setattr" | "object.__setattr__" | "torch.nn.Module.__setattr__"), [owner, name, value]):
                self._set(owner, name, value, node, direct=dotted.startswith("object"))
                return NONE
            case "getattr", [owner, Plain(is_known=True, constant=str() as name), *_]:
                return self._one_attribute_of(owner, name)
            case "delattr", [owner, Plain(is_known=True, constant=str() as name)]:
                self.delete_attribute(owner, name)
                return NONE
            case "vars", [Instance() as instance]:
                return MethodOf(instance, "__dict__")
            case "type", [Instance() as instance]:
                return ClassName(instance.cls)
            case (("copy.deepcopy" | "copy.copy"), [value]):
                return _copied(value)
            case (("zip" | "enumerate"), _):
                return self._zipped(dotted, arguments)
            case (("map" | "filter"), [function, *iterables]):
                return self._mapped(dotted, function, iterables, node)
            case "sum", [value, *_]:
                return self._summed(value, node)
            case _:
                return self._container_or_unknown(dotted, arguments, named)

    def _container_or_unknown(self, dotted: str, arguments: Sequence[Value], named: dict[str, Value]) -> Value:
        if dotted in _PLAIN_RESULTS or dotted.startswith(("math.", "numpy.", "np.", "os.", "time.")):
            return PLAIN
        if dotted in _IN_A_LIST:
            items = [item for value in arguments for item in self.items_of(value)]
            if arguments and any(isinstance(value, Unknown) for value in arguments):
                return UNKNOWN
            keys = arguments[0].keys if len(arguments) == 1 and isinstance(arguments[0], Container) else ()
            keys = keys if len(keys) == len(items) else ()
            return Container(dotted.rpartition(".")[2], items, keys)
        if dotted in _DICTS:
            found = Container("dict", named.values(), named)
            for value in arguments:
                for option in options_of(value):
                    if isinstance(option, Container):
                        for item in option.items:
                            pair = item if isinstance(item, Container) and len(item.items) == 2 else None  # noqa: PLR2004
                            found.put(item if pair is None or option.kind == "dict" else pair.items[1])
            return found
        if dotted == "functools.partial":
            return Container("partial", [*arguments[1:], *named.values()]) if arguments else UNKNOWN
        if dotted in ("print", "warnings.warn"):
            return NONE
        may_train = False
        for value in (*arguments, *named.values()):
            inner = starred(value) or value
            may_train = may_train or any(
                isinstance(option, Parameter | Module) or (isinstance(option, Tensor) and option.grad != "none")
                for option in options_of(inner)
            )
            hold(inner)
        self._give_away(arguments, named)
        return MAY_TRAIN if may_train else UNKNOWN

    def _give_away(self, arguments: Sequence[Value], named: dict[str, Value]) -> None:
        """A function that nobody can read got the object, and perhaps the names of attributes to work on."""
        given = [*arguments, *named.values()]
        instances = [value for value in given if isinstance(value, Instance)]
        for instance in instances:
            for value in given:
                if isinstance(value, Plain) and isinstance(value.constant, str):
                    self.asked(instance, value.constant)
                    instance.attributes.pop(value.constant, None)

    def _one_attribute_of(self, owner: Value, name: str) -> Value:
        return either([self.attribute(option, name) for option in options_of(owner)])

    def _set(self, owner: Value, name: Value, value: Value, node: ast.Call, *, direct: bool) -> None:
        argument = node.args[1] if len(node.args) > 1 else None
        spelled = name.constant if isinstance(name, Plain) and name.is_known else _pattern_of(argument)
        if isinstance(spelled, str):
            self.set_attribute(owner, spelled, value, node.args[2] if len(node.args) > 2 else None, direct=direct)  # noqa: PLR2004
        else:
            hold(value)

    def _zipped(self, dotted: str, arguments: Sequence[Value]) -> Value:
        columns = [self.items_of(value) for value in arguments]
        if dotted == "enumerate":
            items = columns[0] if columns else []
            return Container("list", [Container("tuple", [PLAIN, item], (0, 1)) for item in items])
        if any(isinstance(value, Container) and value.kind == "generator" for value in arguments):
            columns = [[either(column)] for column in columns]
        short = min((len(column) for column in columns), default=0)
        return Container(
            "list",
            [Container("tuple", row, range(len(row))) for row in zip(*(c[:short] for c in columns), strict=True)],
        )

    def _mapped(self, dotted: str, function: Value, iterables: list[Value], node: ast.Call) -> Value:
        items = [either(self.items_of(value) or [UNKNOWN]) for value in iterables]
        if dotted == "filter":
            return Container("generator", items)
        return Container(
            "generator", [either([self.call(option, items, {}, node) for option in options_of(function)])]
        )

    def _summed(self, value: Value, node: ast.Call) -> Value:
        items = self.items_of(value)
        if any(isinstance(option, Tensor | Parameter) for item in items for option in options_of(item)):
            return derived(items, self.words(node))
        return PLAIN if all(isinstance(item, Plain) for item in items) else UNKNOWN

    # Methods of values.

    def _method(
        self, of: Value, name: str, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call
    ) -> Value:
        match of:
            case Tensor() | Parameter():
                return self._of_tensor(of, name, arguments, named, node)
            case Container():
                return self._of_container(of, name, arguments, named)
            case Instance():
                return self._of_module(of, name, arguments, named, node)
            case Module():
                for value in (*arguments, *named.values()):
                    hold(starred(value) or value)
                return of if name in SAME_OR_MOVED or name in ("eval", "train", "apply") else MAY_TRAIN
            case MethodOf(of=Instance() as instance, name="__dict__"):
                if name == "update":
                    for key, value in named.items():
                        self.set_attribute(instance, key, value, None, direct=True)
                return UNKNOWN
            case Plain():
                return PLAIN
            case _:
                return UNKNOWN

    def _of_tensor(
        self,
        of: Tensor | Parameter,
        name: str,
        arguments: Sequence[Value],
        named: dict[str, Value],
        node: ast.Call,
    ) -> Value:
        result = method_result(name)
        if result is None:
            return PLAIN
        how = of.how if name in SAME_OR_MOVED or name in VIEWS or name.endswith("_") else self.words(node)
        if name == "requires_grad_":
            wants = arguments[0] if arguments else named.get("requires_grad")
            off = isinstance(wants, Plain) and wants.is_known and wants.constant is False
            if isinstance(of, Parameter):
                of.has_grad = not off
                return of
            return Tensor(of.how, has_dimensions=of.has_dimensions, alias=of.alias, grad="none" if off else "leaf")
        if name.endswith("_") and not name.endswith("__") and name not in DETACHING:
            return of
        if isinstance(of, Parameter) and name in (
            "to",
            "float",
            "double",
            "cpu",
            "contiguous",
            "type",
            "share_memory_",
        ):
            # The very Parameter where there is nothing to do; `.cuda()` never is.
            return either([of, Tensor(of.how, grad="computed" if of.is_held else "unsure")])
        if name in VIEWS:
            made = viewed(of, name)
        elif name.startswith("new_") or name in DETACHING:
            made = Tensor(how, has_dimensions=name != "new_tensor" or None)
        else:
            made = self._computed_by_method(of, name, how, arguments, named)
        several = result == "tensors" or (result == "either" and ("dim" in named or bool(arguments)))
        return Container("tuple", [made]) if several else made

    def _computed_by_method(
        self, of: Tensor | Parameter, name: str, how: How, arguments: Sequence[Value], named: dict[str, Value]
    ) -> Value:
        given = [*arguments, *named.values()]
        if name in SAME_OR_MOVED:
            given = []
        dimensions: bool | None = None
        if name in SAME_OR_MOVED and isinstance(of, Tensor):
            made = derived([of], how)
            return Tensor(how, has_dimensions=of.has_dimensions, grad=made.grad)
        if name in REDUCTIONS and not given:
            dimensions = False
        elif name in NEVER_SCALAR or name in ("repeat", "expand", "view", "reshape", "flatten", "unsqueeze"):
            dimensions = True
        return derived([of, *given], how, has_dimensions=dimensions)

    def _of_container(
        self, of: Container, name: str, arguments: Sequence[Value], named: dict[str, Value]
    ) -> Value:
        if name in _PUTTING:
            place = _PUTTING[name]
            if len(arguments) > place:
                key = arguments[0].constant if name == "setdefault" and isinstance(arguments[0], Plain) else None
                of.put(arguments[place], key)
                return arguments[place] if name == "setdefault" else NONE
            return NONE
        if name in ("extend", "update"):
            for value in arguments:
                for option in options_of(value):
                    for item in option.items if isinstance(option, Container) else ():
                        of.put(item)
            for key, value in named.items():
                of.put(value, key)
            return NONE
        if name == "items" and of.kind == "dict":
            keys = of.keys if len(of.keys) == len(of.items) else [None] * len(of.items)
            rows = [
                Container("tuple", [PLAIN if key is None else Plain(key, is_known=True), item], (0, 1))
                for key, item in zip(keys, of.items, strict=True)
            ]
            return Container("list", rows)
        if name == "values":
            return Container("list", of.items)
        if name == "copy":
            return Container(of.kind, of.items, of.keys)
        if name in ("get", "pop", "popleft", "__getitem__"):
            key = arguments[0].constant if arguments and isinstance(arguments[0], Plain) else None
            return of.under(key) or (either([*of.items, *arguments[1:]]) if of.items else UNKNOWN)
        return PLAIN if name in ("index", "count", "keys") else UNKNOWN

    def _of_module(
        self, of: Instance, name: str, arguments: Sequence[Value], named: dict[str, Value], node: ast.Call
    ) -> Value:
        first = arguments[0] if arguments else named.get("name", UNKNOWN)
        second = arguments[1] if len(arguments) > 1 else None
        match name:
            case "register_buffer":
                value = second or named.get("tensor") or UNKNOWN
                persistent = named.get("persistent") or (arguments[2] if len(arguments) > 2 else None)  # noqa: PLR2004
                off = isinstance(persistent, Plain) and persistent.constant is False and persistent.is_known
                self.register(
                    of, first, value, "non_persistent_buffer" if off else "buffer", _argument(node, 1, "tensor")
                )
            case "register_parameter":
                self.register(
                    of, first, second or named.get("param") or UNKNOWN, "parameter", _argument(node, 1, "param")
                )
            case "add_module" | "register_module":
                self.register(of, first, second or named.get("module") or UNKNOWN, "module", None)
            case "add_state":
                if self.lineage_of(of).keeps_own_states:
                    self.register(of, first, second or named.get("default") or UNKNOWN, "buffer", None)
            case "__setattr__" if second is not None:
                spelled = first.constant if isinstance(first, Plain) and first.is_known else None
                if isinstance(spelled, str):
                    argument = node.args[1] if len(node.args) > 1 else None
                    self.set_attribute(of, spelled, second, argument, passed_on=True)
            case "__delattr__" if isinstance(first, Plain) and isinstance(first.constant, str):
                self.delete_attribute(of, first.constant)
            case "save_hyperparameters":
                return NONE
            case "to" | "cuda" | "cpu" | "eval" | "train" | "requires_grad_" | "half" | "float" | "double":
                return of
            case _:
                for value in (*arguments, *named.values()):
                    hold(starred(value) or value)
                return MAY_TRAIN if name != "__init__" else NONE
        return NONE


def _argument(node: ast.Call, place: int, name: str) -> ast.expr | None:
    """An argument of a call by its place or its name."""
    if len(node.args) > place:
        return node.args[place]
    return next((keyword.value for keyword in node.keywords if keyword.arg == name), None)


def _pattern_of(name: ast.expr | None) -> str | None:
    """`m{i}` of `f"m{i}"`: how messages name what a loop names."""
    if not isinstance(name, ast.JoinedStr):
        return None
    text = ast.unparse(name)[2:-1]
    return text if any(isinstance(part, ast.Constant) for part in name.values) else None


def _created_dimensions(name: str, arguments: Sequence[Value], named: dict[str, Value]) -> bool | None:
    """Whether a tensor that is made from numbers has dimensions."""
    if name in ("tensor", "as_tensor", "scalar_tensor", "asarray"):
        value = arguments[0] if arguments else named.get("data", UNKNOWN)
        found = {_data_dimensions(option) for option in options_of(value)}
        return found.pop() if len(found) == 1 else None
    if name in TENSOR_CLASSES and not arguments:
        return False  # empty
    if name in SIZED or name in TENSOR_CLASSES:
        if any(isinstance(each, Plain) and each.is_known and each.constant == 0 for each in arguments):
            return name in TENSOR_CLASSES and None  # empty too
        size = arguments[0] if arguments else named.get("size", UNKNOWN)
        is_empty = isinstance(size, Container) and size.kind in ("tuple", "list") and not size.items
        return not is_empty and (not isinstance(size, Unknown) or len(arguments) > 1 or None)
    if name.endswith("_like"):
        source = arguments[0] if arguments else UNKNOWN
        return source.has_dimensions if isinstance(source, Tensor) else None
    return True if name in NEVER_SCALAR or name in TENSOR_CLASSES else None


def _data_dimensions(value: Value) -> bool | None:
    match value:
        case Container(kind="list" | "tuple", items=[]):
            return False  # it is empty, and has as little to lose
        case Plain(is_known=True, constant=int() | float() | bool()):
            return False
        case Container():
            return True
        case Tensor(has_dimensions=has_dimensions):
            return has_dimensions
        case _:
            return None


def _copied(value: Value) -> Value:
    """What `copy.deepcopy` gives: modules and Parameters of its own."""
    found: list[Value] = []
    for option in options_of(value):
        match option:
            case Module(how=how, cls=cls):
                found.append(Module(how, cls))
            case Parameter(how=how, has_grad=has_grad):
                found.append(Parameter(how, has_grad=has_grad))
            case Tensor():
                found.append(Tensor(option.how, has_dimensions=option.has_dimensions, grad=option.grad))
            case _:
                found.append(option)
    return either(found)


def _fields(cls: ClassInfo) -> list[str]:
    """The fields of a dataclass, in the order of its source."""
    return [
        node.target.id
        for node in cls.node.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
