"""Inspect a target: what it holds, joined to its model where one is given."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from msgspec import structs

from bufscan.bytesource import OpenFiles, is_file
from bufscan.errors import UsageError, about
from bufscan.opening.artefact import BuildOptions, is_code, open_target
from bufscan.ranks import ALONE
from bufscan.target import FolderTarget, ObjectTarget, name_of, require_target

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from bufscan.inventory import Inventory
    from bufscan.opening.artefact import Artefact
    from bufscan.ranks import Ranks
    from bufscan.rehearsal import Plan
    from bufscan.target import Given

_LARGEST_CONFIG = 1 << 20  # bytes; those of transformers have a few thousand


def inspect(  # noqa: PLR0913 - all but the target have names and defaults
    target: Given,
    *,
    model: str | nn.Module | None = None,
    from_config: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    rehearse: Plan | None = None,
    files: OpenFiles | None = None,
    ranks: Ranks = ALONE,
) -> Inventory:
    """Every tensor that the target holds, with its role and the evidence for it.

    A file or a folder is read without torch and without running anything in it. A module, or the name of one
    (`package.module:Model`, `path/to/file.py:make_model(dim=64)`), is measured as it is. A state_dict, or what
    `torch.load` gave, is read as its file would be.

    Args:
        target: a path, an address, a file opened in binary mode, a state_dict or another dict with tensors, a
            model, or the name of one.
        model: the model that a checkpoint belongs to, or its name; it makes the checkpoint's roles exact and shows
            what is missing, unexpected or of another shape. A named model is built on the meta device or,
            where its constructor reads values, on torch's default one.
        from_config: build that model from the `config.json` of the Hugging Face folder that `target` is.
        device: where a named model is built; None for torch's default.
        dtype: default dtype while a named model is built; None for torch's default.
        rehearse: how to rehearse the move of a model to another device; None not to.
        files: keeps open what is read; None to close it at the end.
        ranks: the processes that hold a model together, all of which make this call.

    Raises:
        UsageError: the target is none that can be inspected, or the options contradict it.
        UnreadableError: the target cannot be read, or a model cannot be built.
        TargetError: a file was written to while it was read.
    """
    given = require_target(target)
    build = BuildOptions(device=device, dtype=dtype)
    joins = model is not None or from_config
    if joins:
        from bufscan.joining.counterpart import require_one_model

        require_one_model(model, from_config=from_config)
    build.require_model([given], model)
    if rehearse is not None and not is_code(given):
        raise UsageError("only a model can be rehearsed, and this target is a checkpoint")
    if joins and is_code(given):
        raise UsageError("a model is joined to a checkpoint, and this target is a model itself")
    with OpenFiles() if files is None else nullcontext(files) as opened:
        with ranks.agreed(), about(name_of(given)):
            artefact = open_target(given, opened, build)
        artefact.require_same(ranks)
        if artefact.is_live and ranks.size > 1:
            from bufscan.opening.all_ranks import in_all_ranks

            artefact = artefact._replace(inventory=in_all_ranks(artefact.inventory, ranks))
        if not joins and rehearse is None:
            return _with_suggestions(_with_hint(artefact))
        with ranks.agreed():
            if rehearse is not None:
                return _with_suggestions(_rehearsed(artefact, rehearse, dtype))
            from bufscan.opening.joined import join_model

            return join_model(artefact, model, build).checkpoint


def _with_suggestions(inventory: Inventory) -> Inventory:
    """The inventory of a live model, with what to do about what it holds wrongly."""
    slots = [tensor.slot for tensor in inventory.tensors if tensor.slot is not None]
    if not slots:
        return inventory
    from bufscan.source.suggesting import Suggestions

    return Suggestions(slots).in_inventory(inventory)


def _with_hint(artefact: Artefact) -> Inventory:
    """The inventory, and how to know more where nothing is known of any role although the model is described."""
    inventory = artefact.inventory
    folder = artefact.path if isinstance(artefact.target, FolderTarget) else artefact.path and artefact.path.parent
    if folder is None or not inventory.tensors or any(each.certainty != "assumed" for each in inventory.tensors):
        return inventory
    if not _is_transformers_config(folder / "config.json"):
        return inventory
    hint = (
        f"`bufscan inspect {folder} --build` makes the roles exact: it builds the model of config.json with the "
        "installed transformers"
    )
    return structs.replace(inventory, notes=(*inventory.notes, hint))


def _is_transformers_config(path: Path) -> bool:
    """Whether it is a file of that kind, as far as its few kilobytes tell without being parsed."""
    try:
        return is_file(path) and path.stat().st_size <= _LARGEST_CONFIG and b'"model_type"' in path.read_bytes()
    except OSError:
        return False


def _rehearsed(artefact: Artefact, plan: Plan, dtype: str | None) -> Inventory:
    """What the model holds, with what its rehearsal showed."""
    from bufscan.rehearsal import told
    from bufscan.rehearsing.planned import rehearse_as

    assert artefact.model is not None  # noqa: S101 - the target is code
    target = artefact.target if isinstance(artefact.target, ObjectTarget) else None
    return told(artefact.inventory, rehearse_as(plan, artefact.model, target, dtype))
