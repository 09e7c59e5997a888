"""From `pkg.module:expression` to a module: imports and calls the user's own code, because they ask for it."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import random
import sys
from importlib import machinery
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from bufscan.bytesource import is_file
from bufscan.dtypes import ALIASES
from bufscan.errors import BufscanError, UnreadableError, UsageError
from bufscan.live.building.config_defaults import config_classes, required
from bufscan.live.building.expression import Expression, parse_expression
from bufscan.live.building.standard_output import diverted_to_stderr
from bufscan.live.building.user_code import failure_of
from bufscan.live.reach.anatomy import module_dict
from bufscan.source.files import is_installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from bufscan.target import ObjectTarget

# What a constructor may raise is the user's to choose; a script without a main guard leaves by SystemExit.
_USER_FAILURES = (Exception, SystemExit)

_MOST_NAMES = 5  # in a hint


def build(
    target: ObjectTarget, *, device: str | None = None, dtype: str | None = None, configs: bool = False
) -> nn.Module:
    """Import the target and make its module.

    A class or a factory is called, with the literal arguments of the expression or with none; an object that
    already is a module is taken as it is.

    Args:
        target: what to import and call.
        device: built under `torch.device(device)` (`meta` allocates nothing). What the import itself makes
            stays where the user's code puts it.
        dtype: torch's name of the default dtype while building (`bfloat16`).
        configs: whether arguments that are missing and are configurations are given, with all their defaults.

    Raises:
        UsageError: the expression, the arguments, `device` or `dtype` make no sense.
        UnreadableError: the import or the constructor failed, or the result is no module.
    """
    with diverted_to_stderr(), _surroundings_kept():
        found, expression = _find(target)
        if configs and callable(found):
            expression = _with_configs(found, expression)
        return _make(target, found, expression, device, dtype)


def build_stand_in(
    target: ObjectTarget, *, device: str | None = None, dtype: str | None = None
) -> tuple[nn.Module, str | None]:
    """Make a target's module for its names and roles: on the meta device, where that can be done.

    Many constructors read values (`x.item() for x in torch.linspace(...)`), which a meta tensor has not. Then the
    module is made once more, on torch's default device, and the second result says why.

    Raises:
        UsageError, UnreadableError: as `build`.
    """
    with diverted_to_stderr(), _surroundings_kept():
        found = _find(target)
        if device is not None:
            return _make(target, *found, device, dtype), None
        try:
            return _make(target, *found, "meta", dtype), None
        except UnreadableError as error:
            with_values = _make(target, *found, None, dtype)
            return with_values, f"the model was built with all its values: on the meta device {error.message}"


def import_torch() -> ModuleType:
    """torch, which is the user's: files are read without it.

    Raises:
        UnreadableError: it is not there, or cannot be imported.
    """
    try:
        import torch
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            hint = "`pip install 'bufscan[torch]'`, or run bufscan in the environment of the model"
            raise UnreadableError("models need torch", hint=hint) from error
        raise UnreadableError(f"torch cannot be imported: {error}") from error
    return torch


def call_target(target: ObjectTarget) -> Any:
    """Import the target and call it, with the literal arguments of the expression or with none.

    Raises:
        UsageError: the expression or the arguments make no sense.
        UnreadableError: the import or the call failed.
    """
    with diverted_to_stderr(), _surroundings_kept():
        found, expression = _find(target)
        if not callable(found):
            raise UnreadableError(f"`{expression.name}` is {_article(type(found))}, not a function")
        return _called(found, expression)


def import_source(source: str) -> ModuleType:
    """Import a dotted module name or a Python file, as `build` does, and make nothing of it.

    Raises:
        UnreadableError: the import failed.
    """
    with diverted_to_stderr(), _surroundings_kept():
        return _import(source)


@contextlib.contextmanager
def _surroundings_kept() -> Iterator[None]:
    """The current folder, `sys.path` and the random states, all of which the user's code may change."""
    torch = import_torch()
    folder, path = Path.cwd(), list(sys.path)
    python_state = random.getstate()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            sys.path[:] = path
            with contextlib.suppress(FileNotFoundError):  # the user's code has removed it
                os.chdir(folder)


@contextlib.contextmanager
def _building_under(device: str | None, dtype: str | None) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    if dtype is not None:
        wanted = getattr(torch, ALIASES.get(dtype, dtype), None)
        hint = "name a floating-point type: float32, bfloat16"
        if not isinstance(wanted, torch.dtype):
            raise UsageError(f"torch has no dtype `{dtype}`", hint=hint)
        try:
            torch.set_default_dtype(wanted)
        except TypeError as error:
            raise UsageError(f"`{dtype}` cannot be the default dtype", hint=hint) from error
    try:
        with _device_context(device):
            yield
    finally:
        torch.set_default_dtype(before)


def _device_context(device: str | None) -> contextlib.AbstractContextManager[Any]:
    import torch

    if device is None:
        return contextlib.nullcontext()
    try:
        context = torch.device(device)
        torch.empty(0, device=context)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"the device `{device}` cannot be used here", hint="`--device cpu` and `--device meta` work everywhere"
        ) from error
    return context


def _import(source: str) -> ModuleType:
    path, here = Path(source), Path.cwd()
    folder = path.parent.resolve() if source.endswith(".py") else here
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return _import_file(path) if source.endswith(".py") else _import_named(source, folder)
    except BufscanError:
        raise
    except _USER_FAILURES as error:
        os.chdir(here)  # it may have gone elsewhere, and its lines are named from here
        failure = failure_of(f"importing `{source}`", error)
        raise UnreadableError(failure.message, hint=failure.hint or _module_hint(path, error)) from error


def _module_hint(path: Path, error: BaseException) -> str | None:
    """How to name a file by its module where that helps: it belongs to a package, or imports from this folder."""
    if path.suffix != ".py" or not isinstance(error, ImportError):
        return None
    here, path = Path.cwd(), path.resolve()
    if "relative import" in str(error):
        why = "it is part of a package"
        root = next((folder for folder in path.parents if not (folder / "__init__.py").exists()), path.parent)
    else:
        first = (error.name or "").partition(".")[0]
        why, root = f"`{first}` lies in the current folder", here
        if not first or machinery.PathFinder.find_spec(first, [str(here)]) is None:
            return None
    if root == path.parent or not path.is_relative_to(root):
        return None
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    reached = root == here or str(root) in sys.path
    return f"{why}: name it `{name}`" + ("" if reached else f" and set `PYTHONPATH={root}`")


def _import_file(path: Path) -> ModuleType:
    if not is_file(path):
        raise UnreadableError("no such Python file", hint="name an existing file before the colon")
    path = path.resolve()
    _forget_namesakes(path.parent)
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or name in sys.stdlib_module_names:
        name = f"{name}_target"  # the name belongs to an installed module that others need
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnreadableError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up while it is still loading
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _import_named(name: str, folder: Path) -> ModuleType:
    _forget_namesakes(folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the target itself is a mistake in the target; a missing dependency is the user's code failing.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UnreadableError(
                f"no module named `{error.name}`", hint=f"looked in `{folder}` and the installed packages"
            ) from error
        raise


def _forget_namesakes(folder: Path) -> None:
    """Drop modules that an earlier target imported from another folder under a name that `folder` has too."""
    for name in [name for name, module in sys.modules.items() if _is_namesake(name, module, folder)]:
        for loaded in [other for other in sys.modules if other == name or other.startswith(name + ".")]:
            del sys.modules[loaded]


def _is_namesake(name: str, module: object, folder: Path) -> bool:
    # From the namespace itself: asking a lazy module by name would have it import what it stands for.
    file = module_dict(module).get("__file__") if isinstance(module, ModuleType) else None
    if "." in name or name == "__main__" or not isinstance(file, str) or name in sys.stdlib_module_names:
        return False
    here = next((path for path in (folder / f"{name}.py", folder / name / "__init__.py") if path.is_file()), None)
    return here is not None and not is_installed(file) and Path(file).resolve() != here.resolve()


def _find(target: ObjectTarget) -> tuple[Any, Expression]:
    """What the target names, imported, and how it is to be called."""
    expression = parse_expression(target.expression)
    return _attribute(_import(target.source), expression, target.source), expression


def _with_configs(found: Any, expression: Expression) -> Expression:
    """The call with a configuration for each argument that is one and is missing."""
    given = len(expression.args)
    names = [each.name for each in required(found)][given:]
    made = {}
    for name, cls in config_classes(found).items():
        if name in names and name not in expression.kwargs:
            try:
                made[name] = cls()
            except _USER_FAILURES as error:
                raise failure_of(f"`{cls.__name__}()`", error) from error
    return msgspec.structs.replace(expression, kwargs={**expression.kwargs, **made})


def _attribute(module: ModuleType, expression: Expression, source: str) -> Any:
    """Follow the attribute path; a submodule that nobody has imported yet is imported."""
    found: Any = module
    for name in expression.path:
        try:
            found = getattr(found, name)
        except AttributeError as error:
            if inspect.ismodule(found) and _has_submodule(found, name):
                found = importlib.import_module(f"{found.__name__}.{name}")
                continue
            raise UnreadableError(
                f"`{source}` has no `{expression.name}`", hint=_names_hint(found, name)
            ) from error
    return found


def _has_submodule(module: ModuleType, name: str) -> bool:
    return hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{name}") is not None


def _names_hint(found: Any, name: str) -> str | None:
    from torch import nn

    # `dir` names the submodules of a module too; it may run the user's code, as all that is done here.
    close = difflib.get_close_matches(name, dir(found), n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    members = vars(found) if isinstance(found, ModuleType) else {}
    models = [
        member for member, value in members.items() if inspect.isclass(value) and issubclass(value, nn.Module)
    ]
    more = f" and {len(models) - _MOST_NAMES} more" if len(models) > _MOST_NAMES else ""
    return f"it has the modules {', '.join(models[:_MOST_NAMES])}{more}" if models else None


def _make(
    target: ObjectTarget, found: Any, expression: Expression, device: str | None, dtype: str | None
) -> nn.Module:
    with _building_under(device, dtype):
        made = _made(found, expression)
    return _require_module(made, target)


def _made(found: Any, expression: Expression) -> Any:
    from torch import nn

    name = expression.name
    if isinstance(found, nn.Module):
        if expression.called:
            raise UsageError(f"`{name}` already is a module", hint=f"leave the parentheses out: `{name}`")
        return found
    if not callable(found):
        raise UnreadableError(f"`{name}` is {_article(type(found))}, not a module, a class or a factory")
    return _called(found, expression)


def _called(found: Any, expression: Expression) -> Any:
    _require_arguments(found, expression)
    try:
        return found(*expression.args, **expression.kwargs)
    except BufscanError:
        raise
    except _USER_FAILURES as error:
        raise failure_of(
            f"`{expression.name}(…)`" if expression.args or expression.kwargs else f"`{expression.name}()`", error
        ) from error


def _require_arguments(found: Any, expression: Expression) -> None:
    """Say before the call what arguments are wrong, so that a TypeError from inside it is not mistaken for one."""
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):  # some callables written in C have none
        return
    try:
        signature.bind(*expression.args, **expression.kwargs)
    except TypeError as error:
        raise UsageError(
            f"`{expression.name}` cannot be called so: {error}", hint=f"it takes {_shown(signature)}"
        ) from error


class _Elided:
    """Stands for a default whose repr can fill a page."""

    def __repr__(self) -> str:
        return "…"


def _shown(signature: inspect.Signature) -> str:
    """The signature without annotations, and with those defaults that are short."""
    parameters = []
    for parameter in signature.parameters.values():
        is_short = isinstance(parameter.default, (int, float, str, bool, type(None)))
        default = parameter.default if is_short or parameter.default is parameter.empty else _Elided()
        parameters.append(parameter.replace(annotation=parameter.empty, default=default))
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def _require_module(made: Any, target: ObjectTarget) -> nn.Module:
    from torch import nn

    if isinstance(made, nn.Module):
        return made
    if made is None:
        raise UnreadableError(f"`{target.expression}` returns None, not a torch.nn.Module")
    raise UnreadableError(
        f"`{target.expression}` gives {_article(type(made))}, not a torch.nn.Module",
        hint="name a factory that returns the module alone",
    )


def _article(kind: type) -> str:
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
