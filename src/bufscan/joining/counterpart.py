"""The model that a checkpoint is held against: named by the user, or described by the checkpoint's own folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.bytesource import is_file
from bufscan.errors import BufscanError, UsageError
from bufscan.target import FileTarget, FolderTarget, ObjectTarget, parse_code_or_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

    from bufscan.live.building.huggingface import Converted
    from bufscan.target import Target


class Counterpart(NamedTuple):
    """A model built for its names, shapes and roles.

    Attributes:
        model: on the meta device, unless another was asked for.
        name: what reports call it.
        converted: what loading makes of entries whose names or shapes are not the model's.
        note: what a person should know of how it was built.
    """

    model: nn.Module
    name: str
    converted: Mapping[str, Converted] | None = None
    note: str | None = None


def require_one_model(model: object, *, from_config: bool) -> None:
    """Refuse to hold a checkpoint against two models.

    Raises:
        UsageError: one is named and another described.
    """
    if model is not None and from_config:
        raise UsageError("`--model` names the model and `--build` makes another", hint="choose one of them")


def build_named(name: str, *, device: str | None, dtype: str | None) -> Counterpart:
    """The model that `--model` names.

    Raises:
        UsageError, UnreadableError: there is none, or it cannot be built; the message names it.
    """
    named = parse_code_or_target(name)
    if not isinstance(named, ObjectTarget):
        raise UsageError(f"`{name}` names no model", hint="`--model package.module:Model` does")
    from bufscan.live.building.importing import build_stand_in

    try:
        model, note = build_stand_in(named, device=device, dtype=dtype)
    except BufscanError as error:
        raise type(error)(f"`{name}`: {error.message}", hint=error.hint) from error
    return Counterpart(model, name, note=note)


def build_described(checkpoint: Target | None, names: Iterable[str]) -> Counterpart:
    """The model that the `config.json` of a Hugging Face folder describes.

    Args:
        checkpoint: the folder.
        names: of its entries, some of which transformers may rename when it loads them.

    Raises:
        UsageError, UnreadableError: it is no folder, or no model can be built from it.
    """
    if not isinstance(checkpoint, FolderTarget):
        raise UsageError(
            "only a folder can be built from its `config.json`", hint=_hint_without_folder(checkpoint)
        )
    from bufscan.live.building.huggingface import build_from_config, converted_names

    model = build_from_config(checkpoint.path)
    return Counterpart(model, str(checkpoint.path / "config.json"), converted_names(model, names))


def _hint_without_folder(checkpoint: Target | None) -> str:
    if isinstance(checkpoint, FileTarget) and is_file(checkpoint.path.parent / "config.json"):
        return f"name the folder: `{checkpoint.path.parent}`"
    return "name the model: `--model SPEC`"
