"""From a Hugging Face folder's config.json to the model it describes, built by transformers on the meta device.

Only classes that transformers itself maps are built. Code that a folder brings (`auto_map`) is never looked at,
and nothing is fetched.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.errors import UnreadableError, UsageError
from bufscan.live.building.importing import import_torch
from bufscan.live.building.standard_output import diverted_to_stderr
from bufscan.live.building.user_code import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from torch import nn

_MOST_BYTES = 16 << 20
_COUNTS = re.compile(r"(layers?|experts?|blocks|depths?)")
_MOST_PARTS = 10_000
_SHOWN = 80


class Converted(NamedTuple):
    """What transformers makes of an entry of a checkpoint when it loads it.

    Attributes:
        names: of the model's entries.
        reshaped: whether it is cut, joined with others or turned on the way.
    """

    names: tuple[str, ...]
    reshaped: bool


class _Named(NamedTuple):
    """What a config names, as plain strings: nothing has been looked up yet."""

    model_type: str
    architecture: str


def build_from_config(folder: Path) -> nn.Module:
    """Build the model that `folder/config.json` describes; its tensors are all on the meta device.

    Raises:
        UsageError: transformers is not installed.
        UnreadableError: the config is missing, broken, or describes what the installed transformers cannot build.
    """
    config = _read_config(folder / "config.json")
    named = _names_in(config)
    with _offline(), diverted_to_stderr():
        return _build(config, named)


def converted_names(model: nn.Module, names: Iterable[str]) -> dict[str, Converted]:
    """The entries of a checkpoint that transformers renames or rebuilds when it loads them into `model`.

    A checkpoint keeps the names that its model had when it was published: `LayerNorm.gamma`, one entry an expert.
    """
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            dot_natural_key,
            rename_source_key,
        )
    except ImportError:  # a release before 5, whose models have the names of their checkpoints
        return {}
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    targets = {source: rule.target_patterns for rule in converters for source in rule.source_patterns}
    prefix, keys = getattr(model, "base_model_prefix", None) or None, model.state_dict()
    found: dict[str, Converted] = {}
    for name in sorted(names, key=dot_natural_key):
        if rename_source_key(name, renamings, converters)[0] == name:
            continue
        renamed, source = rename_source_key(name, renamings, converters, prefix, keys)
        first, *others = targets.get(source, [""])
        made = (renamed, *(renamed.replace(first, other, 1) for other in others))
        if renamed in keys:
            found[name] = Converted(tuple(key for key in made if key in keys), reshaped=source is not None)
    return found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise UnreadableError(
                f"there is no config.json in `{path.parent}`",
                hint="`--build` needs the config of a Hugging Face model",
            )
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"`{path}` cannot be read: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise UnreadableError(f"`{path}` is over 16 MiB, far more than a config takes")
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"`{path}` is no JSON") from error
    if not isinstance(config, dict):
        raise UnreadableError(f"`{path}` is no JSON object")
    return _without_code(config, path)


def _without_code(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The config without what could make transformers run or fetch anything, and with sizes that can be built."""
    pending: list[Any] = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            for key in ("auto_map", "attn_implementation", "_attn_implementation", "experts_implementation"):
                value.pop(key, None)
            for key, inner in value.items():
                if _COUNTS.search(key) and _largest_in(inner) > _MOST_PARTS:
                    raise UnreadableError(f"`{path}` asks for {_largest_in(inner):,} at `{_shortened(key)}`")
            pending.extend(value.values())
    return config


def _largest_in(value: Any) -> int:
    values = value if isinstance(value, list) else [value]
    return max((item for item in values if isinstance(item, int)), default=0)


def _names_in(config: dict[str, Any]) -> _Named:
    model_type, architectures = config.get("model_type"), config.get("architectures")
    if not isinstance(model_type, str):
        raise UnreadableError("config.json names no model_type")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise UnreadableError(
            "config.json names no architecture", hint="build the model yourself and name it with `--model`"
        )
    return _Named(model_type, architectures[0])


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Have huggingface_hub refuse every request, as HF_HUB_OFFLINE does when it is set before the import."""
    try:
        from huggingface_hub import constants
    except ImportError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _build(config: dict[str, Any], named: _Named) -> nn.Module:
    torch = import_torch()
    try:
        import transformers
        from transformers.models.auto import configuration_auto, modeling_auto
    except ImportError as error:
        raise UsageError("transformers is not installed", hint="pip install transformers") from error
    mapped = set(_mapped_names(vars(modeling_auto)))
    if named.model_type not in configuration_auto.CONFIG_MAPPING_NAMES:
        raise _unknown("model type", named.model_type, transformers.__version__)
    if named.architecture not in mapped:
        raise _unknown("architecture", named.architecture, transformers.__version__)
    try:
        model_class = getattr(transformers, named.architecture)
        made = configuration_auto.CONFIG_MAPPING[named.model_type].from_dict(config)
        made._attn_implementation = "eager"  # noqa: SLF001 - the one that every model has; the others need a kernel
        with torch.device("meta"):
            # What AutoModel.from_config calls, less its way to a folder's own code.
            model: nn.Module = model_class._from_config(made)  # noqa: SLF001
    except Exception as error:  # a constructor raises what it likes at a config that does not fit
        raise failure_of(f"building {named.architecture} from config.json", error) from error
    return model


def _mapped_names(namespace: dict[str, Any]) -> Iterator[str]:
    """Every model class that transformers maps a model type to."""
    for name, mapping in namespace.items():
        if name.endswith("_MAPPING_NAMES"):
            for value in mapping.values():
                yield from (value,) if isinstance(value, str) else value


def _unknown(what: str, name: str, version: str) -> UnreadableError:
    return UnreadableError(
        f"transformers {version} has no {what} `{_shortened(name)}`",
        hint="code that a folder brings is never run: name the model with `--model package.module:Model`",
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
