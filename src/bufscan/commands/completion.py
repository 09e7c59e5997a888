"""`bufscan completion`: what a shell offers where the tab key is pressed."""

from __future__ import annotations

import ast
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bufscan.commands.config import FORMATS
from bufscan.commands.options import COLOR_WHEN, Debug, one_of
from bufscan.commands.outcome import Outcome
from bufscan.findings import SEVERITIES
from bufscan.help import topics
from bufscan.inventory import ROLES
from bufscan.report import CHECK_REPORTS, DIFF_REPORTS, INSPECT_REPORTS
from bufscan.report.inspect.selecting import SORT_KEYS
from bufscan.report.reference.pages import title_of
from bufscan.report.reference.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

EXAMPLES = """
Examples:

\b
  eval "$(bufscan completion bash)"      in ~/.bashrc
  eval "$(bufscan completion zsh)"       in ~/.zshrc, below compinit
  bufscan completion fish | source       in ~/.config/fish/config.fish
"""

# Each calls this command with the words up to the cursor, and offers files where it says nothing. bash gives the
# whole line, for it takes `:` and `=` for the ends of words.
_SCRIPTS = {
    "bash": """\
_bufscan() {
    local IFS=$'\\n'
    COMPREPLY=($(bufscan completion bash -- "${COMP_LINE:0:COMP_POINT}"))
}
complete -o default -o nosort -F _bufscan bufscan
""",
    "zsh": """\
_bufscan() {
    local -a found
    found=(${(f)"$(bufscan completion zsh -- "${(@)words[1,CURRENT]}")"})
    if (( ${#found} )); then _describe bufscan found; else _files; fi
}
compdef _bufscan bufscan
""",
    "fish": """\
complete --command bufscan --arguments \\
    '(bufscan completion fish -- (commandline -co) (commandline -ct))'
""",
}

_IN_MODULE = re.compile(r"(?P<source>[^:]+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):\w*")

_WORDS: dict[str, Iterable[str]] = {
    "--color": COLOR_WHEN,
    "--fail-on": SEVERITIES,
    "--role": ROLES,
    "--sort": SORT_KEYS,
    "completion": _SCRIPTS,
    "schema": SCHEMAS,
}
"""What options, and commands themselves, can be given."""

_FORMATS: dict[str, Iterable[str]] = {"inspect": INSPECT_REPORTS, "diff": DIFF_REPORTS, "config": FORMATS}
"""Of commands that have not those of the check."""

_OF_RULES = {("--ignore", "check"), ("--ignore", "lint"), ("--ignore", "run"), ("", "explain")}

Offer = tuple[str, str]
"""What can stand there, and what it is."""


def completion(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help=f"One of {', '.join(_SCRIPTS)}.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS", help="A command line, to print what may come next."),
    ] = None,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Print the script that teaches a shell to complete commands, options, values, rules and classes of models."""
    shell = one_of("shell", shell, tuple(_SCRIPTS))
    if words is None:
        return Outcome(_SCRIPTS[shell])
    if shell == "bash":
        words = re.split(r"\s+", words[0])
    *before, begun = words[1:] or [""]
    found = [offer for offer in _offers(context, before, begun) if offer[0].startswith(begun)]
    shown = {"bash": _for_bash(begun), "zsh": _for_zsh, "fish": "\t".join}[shell]
    return Outcome("".join(f"{shown(offer)}\n" for offer in found))


def _for_bash(begun: str) -> Callable[[Offer], str]:
    start = len(begun) - len(re.split("[:=]", begun)[-1])
    return lambda offer: offer[0][start:]


def _for_zsh(offer: Offer) -> str:
    value, meaning = offer
    return f"{value.replace(':', chr(92) + ':')}:{meaning}"


def _offers(context: typer.Context, before: Sequence[str], begun: str) -> Iterable[Offer]:
    """What may come next; nothing where that is a file."""
    group: Any = context.find_root().command
    commands = group.list_commands(context)
    chosen = next((word for word in before if word in commands), None)
    option, has_value, _ = begun.partition("=")
    if begun.startswith("-") and not has_value:
        return _options((group if chosen is None else group.get_command(context, chosen)).params)
    if chosen is None and before[-1:] != ["--color"]:
        return ((name, group.get_command(context, name).short_help) for name in commands if name.startswith(begun))
    chosen = chosen or ""
    if has_value:
        return ((f"{option}={value}", meaning) for value, meaning in _values_of(option, chosen))
    if before[-1].startswith("-") and (values := _values_of(before[-1], chosen)):
        return values
    return _values_of("", chosen) or _classes(begun)


def _options(parameters: Iterable[Any]) -> Iterator[Offer]:
    for parameter in parameters:
        for name in parameter.opts if parameter.param_type_name == "option" else ():
            if name.startswith("--"):
                yield name, parameter.help or ""


def _values_of(option: str, command: str) -> list[Offer]:
    """What an option of a command can be given; for no option, the command itself. Nothing where that is open."""
    if option == "--select" or (option, command) in _OF_RULES:
        from bufscan.rules import RULES

        return [(word, rule.summary) for rule in RULES for word in (rule.code, rule.name)]
    if option in ("--format", "-f"):
        return [(name, "") for name in _FORMATS.get(command, CHECK_REPORTS)]
    if (option, command) == ("", "help"):
        return [(name, title_of(page)) for name, page in topics().items()]
    return [(word, "") for word in _WORDS.get(option or command, ())]


def _classes(begun: str) -> Iterator[Offer]:
    """Classes with a base, of the module or file before the colon; nothing is imported for it."""
    named = _IN_MODULE.fullmatch(begun)
    if named is None:
        return
    source = named["source"]
    base = Path(source).with_suffix("") if source.endswith(".py") else Path(*source.split("."))
    for folder in (Path(), Path("src"), *map(Path, sys.path)):
        for file in (folder / base.with_suffix(".py"), folder / base / "__init__.py"):
            with suppress(OSError, SyntaxError, ValueError):
                for statement in ast.parse(file.read_bytes()).body:
                    if isinstance(statement, ast.ClassDef) and statement.bases:
                        yield f"{source}:{statement.name}", f"class in {file}"
                return
