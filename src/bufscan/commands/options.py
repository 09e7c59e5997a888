"""Options that several commands share, and the words and numbers in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from bufscan.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.rehearsal import Plan

COLOR_WHEN = ("auto", "always", "never")

MOST_DIGITS = 4
"""Of a number on the command line or in the environment: more is no width and no depth."""

_ASK_FOR_IT = "ask for one with its inputs: `--rehearse 'randn(2, 16)'`"

Word = TypeVar("Word", bound=str)


def _known_color(when: str | None) -> str | None:
    return when and one_of("colour mode", when, COLOR_WHEN)


def _unless_dash(output: str | None) -> str | None:
    """A dash means standard output, as everywhere; a file of that name is `./-`."""
    return None if output == "-" else output


Color = Annotated[
    str | None,
    typer.Option(
        "--color",
        metavar="WHEN",
        help="auto, always or never; --no-color is never.",
        callback=_known_color,
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print the summary line alone.")]
# No command asks for it: `main` looks for it before the parsing, which may be what fails.
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with every failure.")]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write to FILE instead of standard output.", callback=_unless_dash
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="SPEC", help="The checkpoint's model, as `package.module:Model`."),
]
Build = Annotated[bool, typer.Option("--build", help="Build that model from the folder's config.json.")]
Device = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", help="Where models are built: cpu, meta, cuda, ...")
]
DType = Annotated[
    str | None, typer.Option("--dtype", metavar="DTYPE", help="Default dtype while models are built.")
]
Rehearse = Annotated[
    list[str] | None,
    typer.Option(
        "--rehearse",
        metavar="INPUTS",
        help="Rehearse a move, as with `randn(2, 16)`; repeatable.",
    ),
]
Method = Annotated[
    str | None, typer.Option("--method", metavar="NAME", help="Rehearse this method instead of forward.")
]
RehearseDType = Annotated[
    str | None, typer.Option("--rehearse-dtype", metavar="DTYPE", help="Cast the model as it moves: bfloat16, ...")
]
Train = Annotated[bool, typer.Option("--train", help="Rehearse in training mode, with a backward pass.")]


def one_of(kind: str, text: str, known: Sequence[Word]) -> Word:
    """`text` as one of the known words.

    Raises:
        UsageError: it is none of them.
    """
    for word in known:
        if word == text:
            return word
    meant = did_you_mean(text.lower(), known)
    choice = f"choose from {', '.join(known)}"
    raise UsageError(f"no such {kind}: `{text}`", hint=f"{meant} {choice}" if meant else choice)


def plan_of(rehearse: Sequence[str] | None, method: str | None, dtype: str | None, *, train: bool) -> Plan | None:
    """How to rehearse; None where that is not asked for.

    Raises:
        UsageError: an option says how, and none says with what; two say with what.
    """
    if rehearse:
        from bufscan.rehearsal import plan_for

        plan = plan_for(rehearse)
        return msgspec.structs.replace(plan, method=method or "forward", train=train, dtype=dtype)
    given = {"--method": method is not None, "--rehearse-dtype": dtype is not None, "--train": train}
    if unused := [option for option, is_given in given.items() if is_given]:
        raise UsageError(f"`{unused[0]}` is for a rehearsal", hint=_ASK_FOR_IT)
    return None


def count_of(what: str, text: str, *, hint: str) -> int:
    """`text` as a small whole number.

    Raises:
        UsageError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise UsageError(f"no number of {what}: `{text}`", hint=hint)
    return int(text)
