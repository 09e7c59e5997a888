"""Derive from torch's own stubs which of its functions and methods return tensors.

`python tests/source/derive_torch_names.py` writes `src/bufscan/source/torch_names.py` anew. The stubs are read,
not imported.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from pathlib import Path

WRITTEN = Path(__file__).parents[2] / "src" / "bufscan" / "source" / "torch_names.py"

HEAD = '''"""What of torch returns tensors: derived from its stubs by tests/source/derive_torch_names.py."""

from __future__ import annotations

'''

_ONE, _SEVERAL = "tensor", "tensors"
_RETURNED = re.compile(r"->\s*(?P<what>\(?\s*Tensor|tuple|List of Tensors)")
_NAMESPACES = ("linalg", "fft", "special")


def torch_folder() -> Path:
    """Where torch is installed."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def kind_of(annotation: ast.expr | None) -> str | None:
    """`tensor`, `tensors` for several in a tuple or list, None for anything else."""
    text = "" if annotation is None else ast.unparse(annotation).replace("torch.Tensor", "Tensor").strip("'\"")
    if text in ("Tensor", "Self"):
        return _ONE
    several = text.startswith(("torch.return_types.", "return_types.")) or (
        text.lower().startswith(("tuple[", "list[")) and "Tensor" in text
    )
    return _SEVERAL if several else None


def kinds_in(body: list[ast.stmt]) -> dict[str, set[str | None]]:
    """What each function among the statements returns, by any of its overloads."""
    found: dict[str, set[str | None]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found.setdefault(node.name, set()).add(kind_of(node.returns))
    return found


def documented_in(file: Path) -> dict[str, set[str | None]]:
    """What functions of `torch.linalg` and the like return, by the first lines of their documentation."""
    found: dict[str, set[str | None]] = {}
    for node in ast.parse(file.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[_, documentation])) if (
                not name.startswith("_")
            ):
                texts = [each for each in ast.walk(documentation) if isinstance(each, ast.Constant)]
                first = min(texts, key=lambda text: text.lineno).value if texts else ""
                if what := _RETURNED.search(" ".join(str(first).strip().splitlines()[:3])):
                    found[name] = {_ONE if what["what"] == "Tensor" else _SEVERAL}
    return found


def stubs() -> dict[str, dict[str, set[str | None]]]:
    """Functions and methods by the namespace that they are found in."""
    folder = torch_folder()
    functions = kinds_in(ast.parse((folder / "_C" / "_VariableFunctions.pyi").read_text()).body)
    written_in_python = kinds_in(ast.parse((folder / "functional.py").read_text()).body)
    functions |= {name: kinds for name, kinds in written_in_python.items() if None not in kinds}
    native = ast.parse((folder / "_C" / "__init__.pyi").read_text()).body
    base = next(node for node in native if isinstance(node, ast.ClassDef) and node.name == "TensorBase")
    found = {
        "torch": functions | {name: kinds for name, kinds in kinds_in(native).items() if name not in functions},
        "torch.Tensor": kinds_in(base.body),
        "torch.nn.functional": kinds_in(ast.parse((folder / "nn" / "functional.py").read_text()).body)
        | kinds_in(ast.parse((folder / "nn" / "functional.pyi").read_text()).body),
        "torch.nn.init": kinds_in(ast.parse((folder / "nn" / "init.py").read_text()).body),
        "torch.nn.utils.rnn": kinds_in(ast.parse((folder / "nn" / "utils" / "rnn.py").read_text()).body),
    }
    for name in _NAMESPACES:
        found[f"torch.{name}"] = documented_in(folder / name / "__init__.py")
    windows = folder / "signal" / "windows" / "windows.py"
    found["torch.signal.windows"] = kinds_in(ast.parse(windows.read_text()).body)
    return found


def written() -> str:
    """The text of the module."""
    parts = [HEAD]
    found = stubs()
    for constant, kinds, words in (
        ("ONE", {_ONE}, "One tensor, whatever the arguments are."),
        ("SEVERAL", {_SEVERAL}, "A tuple or list of tensors."),
        ("EITHER", {_ONE, _SEVERAL}, "One tensor or several, which the arguments decide."),
    ):
        lines = []
        for namespace, functions in found.items():
            names = sorted(name for name, returned in functions.items() if returned == kinds)
            if names:
                text = textwrap.fill(" ".join(names), 105, initial_indent=" " * 8, subsequent_indent=" " * 8)
                lines.append(f'    "{namespace}": frozenset(\n        """\n{text}\n        """.split()\n    ),\n')
        parts.append(f'{constant}: dict[str, frozenset[str]] = {{\n{"".join(lines)}}}\n"""{words}"""\n\n')
    return "".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(written())
