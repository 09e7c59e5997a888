"""From the text of a target to a module: what is imported and called, and what is said when that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from bufscan.errors import BufscanError, UnreadableError, UsageError
from bufscan.live.building.expression import parse_expression
from bufscan.live.building.importing import build, build_stand_in
from bufscan.target import ObjectTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = """
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self, dim=4, *, bias=True):
            super().__init__()
            self.linear = nn.Linear(dim, dim, bias=bias)

    def make_model(dim, layers=2):
        return nn.Sequential(*[Model(dim) for _ in range(layers)])

    class models:
        small = Model(2)
        large = Model

    class Colliding(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.ones(1)
            self.register_buffer("scale", torch.ones(1))

    class Dotted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("a.b", torch.ones(1))

    class NamedByNumber(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer(3, torch.ones(1))

    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            nn.Linear("two", 2)

    class Mistyped(nn.Module):
        def __init__(self, dim=2):
            super().__init__()
            helper(dim)

    def helper(dim, extra):
        pass

    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    def exhausted():
        raise MemoryError

    def leaves():
        raise SystemExit(3)

    def pair():
        return Model(), None

    def forgetful():
        Model()

    config = {"dim": 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def models(folder: Path) -> Path:
    return write(folder / "zoo_models.py", MODELS)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def made(source: str | Path, expression: str, **options: str) -> nn.Module:
    return build(ObjectTarget(str(source), expression), **options)


def failure(source: str | Path, expression: str, **options: str) -> BufscanError:
    with pytest.raises(BufscanError) as caught:
        made(source, expression, **options)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("by", ["name", "path"])
@pytest.mark.parametrize(
    ("expression", "parameters"),
    [
        ("Model", 2),
        ("Model()", 2),
        ("Model(dim=8, bias=False)", 1),
        ("Model(8)", 2),
        ("make_model(dim=3)", 4),
        ("make_model(3, layers=1)", 2),
        ("models.small", 2),
        ("models.large(dim=1)", 2),
    ],
    ids=str,
)
def test_classes_factories_and_objects_become_modules(
    models: Path, by: str, expression: str, parameters: int
) -> None:
    model = made("zoo_models" if by == "name" else models, expression)
    assert parameters == len(list(model.parameters()))


def test_an_object_that_is_a_module_is_taken_as_it_is(models: Path) -> None:
    assert models.is_file()
    assert made("zoo_models", "models.small") is sys.modules["zoo_models"].models.small


def test_an_installed_class_is_found_by_its_dotted_name() -> None:
    assert isinstance(made("torch.nn", "BatchNorm1d(3)"), nn.BatchNorm1d)


def test_a_submodule_nobody_imported_yet_is_reached_through_the_path(folder: Path) -> None:
    write(folder / "zoo_package" / "__init__.py", "")
    write(folder / "zoo_package" / "small.py", MODELS)
    assert 2 == len(list(made("zoo_package", "small.Model").parameters()))


def test_a_file_imports_its_neighbours_as_a_script_would(folder: Path) -> None:
    write(folder / "deep" / "zoo_layers.py", MODELS)
    target = write(folder / "deep" / "zoo_main.py", "from zoo_layers import Model\n")
    assert 2 == len(list(made(target, "Model").parameters()))


def test_two_folders_with_files_of_the_same_names_do_not_mix(folder: Path) -> None:
    for name, dim in (("one", 1), ("two", 2)):
        write(folder / name / "zoo_size.py", f"DIM = {dim}\n")
        source = "from torch import nn\nfrom zoo_size import DIM\nclass Model(nn.Linear):\n"
        write(folder / name / "zoo_same.py", source + "    def __init__(self): super().__init__(DIM, DIM)\n")
    dims = [made(folder / name / "zoo_same.py", "Model").in_features for name in ("one", "two", "one")]
    assert [1, 2, 1] == dims


def test_a_file_named_like_the_standard_library_replaces_nothing(folder: Path) -> None:
    import queue

    target = write(folder / "queue.py", MODELS)
    assert 2 == len(list(made(target, "Model").parameters()))
    assert sys.modules["queue"] is queue


def test_the_path_and_the_random_state_are_put_back(models: Path) -> None:
    torch.manual_seed(1)
    before = list(sys.path), torch.get_rng_state().tolist()
    made(models, "make_model(3)")
    assert before == (list(sys.path), torch.get_rng_state().tolist())


def test_meta_allocates_nothing(models: Path) -> None:
    assert {"meta"} == {p.device.type for p in made(models, "Model(dim=1000000)", device="meta").parameters()}


def test_a_default_dtype_holds_while_building_only(models: Path) -> None:
    assert {torch.bfloat16} == {p.dtype for p in made(models, "Model", dtype="bfloat16").parameters()}
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda:99"}, "`cuda:99` cannot be used here"),
        ({"device": "no such"}, "`no such` cannot be used here"),
        ({"dtype": "int64"}, "`int64` cannot be the default dtype"),
        ({"dtype": "float99"}, "torch has no dtype `float99`"),
        ({"dtype": "nn"}, "torch has no dtype `nn`"),
    ],
    ids=["missing device", "no device", "integer dtype", "no dtype", "something else of torch"],
)
def test_devices_and_dtypes_that_cannot_be(models: Path, options: dict[str, str], words: str) -> None:
    error = failure(models, "Model", **options)
    assert isinstance(error, UsageError)
    assert words in error.message


@pytest.mark.parametrize(
    ("expression", "kind", "words", "hint"),
    [
        ("Modle", UnreadableError, "has no `Modle`", "did you mean `Model`?"),
        ("zzz", UnreadableError, "has no `zzz`", "it has the modules Model, Colliding"),
        ("models.tiny", UnreadableError, "has no `models.tiny`", None),
        ("models.smal", UnreadableError, "has no `models.smal`", "did you mean `small`?"),
        ("make_model", UsageError, "missing a required argument: 'dim'", "it takes (dim, layers=2)"),
        ("make_model()", UsageError, "missing a required argument: 'dim'", "it takes (dim, layers=2)"),
        ("Model(width=3)", UsageError, "unexpected keyword argument 'width'", "it takes (dim=4, *, bias=True)"),
        ("models.small()", UsageError, "already is a module", "leave the parentheses out"),
        ("config", UnreadableError, "`config` is a dict, not a module", None),
        ("pair", UnreadableError, "`pair` gives a tuple, not a torch.nn.Module", "returns the module alone"),
        ("forgetful", UnreadableError, "`forgetful` returns None, not a torch.nn.Module", None),
        ("Huge", UnreadableError, "can't allocate memory", "`--device meta`"),
        ("exhausted", UnreadableError, "raised MemoryError", "`--device meta`"),
        ("leaves", UnreadableError, "called sys.exit(3)", "__main__"),
        (
            "Colliding",
            UnreadableError,
            "`scale`: it was assigned as a plain attribute before (zoo_models.py:20) (zoo_models.py:21)",
            "remove that assignment",
        ),
        ("Dotted", UnreadableError, "the name of a buffer cannot contain a dot", "write an underscore instead"),
        ("NamedByNumber", UnreadableError, "must be a string, not an int (zoo_models.py:31)", None),
        ("Mistyped", UnreadableError, "raised TypeError: helper() missing 1 required", None),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_what_cannot_be_built_is_said_in_one_line(
    models: Path, expression: str, kind: type[BufscanError], words: str, hint: str | None
) -> None:
    error = failure(models, expression)
    assert isinstance(error, kind)
    assert words in error.message
    assert (hint or "") in (error.hint or "")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("Colliding", 'self.register_buffer("scale"'),
        ("Failing", 'nn.Linear("two", 2)'),
        ("Mistyped", "helper(dim)"),
    ],
)
def test_the_line_named_is_the_innermost_of_the_users_own(models: Path, expression: str, text: str) -> None:
    lines = models.read_text(encoding="utf-8").splitlines()
    number = next(index for index, line in enumerate(lines, 1) if text in line)
    assert failure(models, expression).message.endswith(f"(zoo_models.py:{number})")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\nimport no_such_package\n", "raised ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = (\n", "raised SyntaxError: '(' was never closed (zoo_broken.py:1)"),
        ("x = 1\nraise SystemExit(2)\n", "called sys.exit(2)"),
        ("x = 1\n1 / 0\n", "raised ZeroDivisionError: division by zero"),
    ],
    ids=["missing dependency", "syntax", "no main guard", "error"],
)
def test_an_import_that_fails_names_cause_and_line(folder: Path, text: str, words: str) -> None:
    path = write(folder / "zoo_broken.py", text)
    message = failure(path, "Model").message
    assert words in message
    assert "zoo_broken.py:" in message
    assert "zoo_broken" not in sys.modules


RELATIVE = "from .zoo_layers import Model\n"


def test_a_file_of_a_package_gets_the_hint_how_to_name_it(folder: Path) -> None:
    for name in ("zoo_outer/__init__.py", "zoo_outer/inner/__init__.py"):
        write(folder / name, "")
    write(folder / "zoo_outer" / "inner" / "zoo_layers.py", MODELS)
    target = write(folder / "zoo_outer" / "inner" / "models.py", RELATIVE)
    assert "it is part of a package: name it `zoo_outer.inner.models`" == failure(target, "Model").hint
    assert 2 == len(list(made("zoo_outer.inner.models", "Model").parameters()))


def test_a_package_elsewhere_is_named_with_the_folder_that_it_lies_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "src" / "zoo_elsewhere" / "__init__.py", RELATIVE)
    hint = f"it is part of a package: name it `zoo_elsewhere` and set `PYTHONPATH={folder / 'src'}`"
    assert hint == failure("src/zoo_elsewhere/__init__.py", "Model").hint
    monkeypatch.syspath_prepend(folder / "src")
    assert hint.partition(" and ")[0] == failure("src/zoo_elsewhere/__init__.py", "Model").hint


def test_a_file_that_imports_from_the_current_folder_gets_the_hint_how_to_name_it(folder: Path) -> None:
    write(folder / "zoo_beside.py", MODELS)
    target = write(folder / "deep" / "zoo_models.py", "from zoo_beside import Model\n")
    assert "`zoo_beside` lies in the current folder: name it `deep.zoo_models`" == failure(target, "Model").hint
    assert 2 == len(list(made("deep.zoo_models", "Model").parameters()))


@pytest.mark.parametrize("text", [RELATIVE, "import no_such_package\n", "raise ImportError\n"])
def test_a_file_that_no_other_name_would_help_gets_no_such_hint(folder: Path, text: str) -> None:
    assert failure(write(folder / "deep" / "zoo_alone.py", text), "Model").hint is None


def test_the_current_folder_is_put_back(folder: Path) -> None:
    (folder / "away").mkdir()
    leave = "import os\nos.chdir('away')\n"
    write(folder / "zoo_away.py", f"{leave}from torch import nn\nclass Model(nn.ReLU): ...\n")
    write(folder / "zoo_there.py", "from torch import nn\nclass Model(nn.ReLU): ...\n")
    write(folder / "zoo_lost.py", f"{leave}1 / 0\n")
    for name in ("zoo_away.py", "zoo_there.py"):
        assert "Model" == type(made(name, "Model")).__name__
    assert failure("zoo_lost.py", "Model").message.endswith("division by zero (zoo_lost.py:3)")
    assert folder == Path.cwd()


def test_what_does_not_exist_is_told_from_what_fails(folder: Path) -> None:
    assert "no module named `no_such_module`" == failure("no_such_module", "Model").message
    assert "no module named `torch.no_such`" == failure("torch.no_such", "Model").message
    assert "no such Python file" == failure(folder / "none.py", "Model").message


@pytest.mark.parametrize(
    "text",
    [
        "Model(__import__('os'))",
        "Model(dim=dim)",
        "Model(dim=2 ** 9)",
        "Model(**{'dim': 1})",
        "Model(*[1])",
        "Model()()",
        "Model().linear",
        "Model[0]",
        "Model if 1 else 2",
        "Model(",
        "lambda: 0",
        "Model(f'{1}')",
    ],
)
def test_only_attribute_paths_and_literals_are_accepted(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_expression(text)
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("text", "args", "kwargs"),
    [
        ("f(1, -2.5, 'a', None, True)", (1, -2.5, "a", None, True), {}),
        ("f(sizes=[1, (2, 3)], extra={'k': {1}})", (), {"sizes": [1, (2, 3)], "extra": {"k": {1}}}),
        ("f( b = b'x' )", (), {"b": b"x"}),
    ],
    ids=["positional", "nested", "spaces"],
)
def test_literals_of_every_kind_are_passed(text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    expression = parse_expression(text)
    assert (args, kwargs, True) == (expression.args, expression.kwargs, expression.called)


def test_what_the_users_code_prints_stays_out_of_standard_output(folder: Path) -> None:
    write(
        folder / "zoo_chatty.py",
        """
        import os, sys
        from torch import nn
        print("at import")
        sys.__stdout__.write("into the stream itself\\n")
        os.system("echo from a child process")
        def make():
            print("while building")
            return nn.Linear(1, 1)
        """,
    )
    script = """if True:
        from bufscan.live.building.importing import build
        from bufscan.target import ObjectTarget
        build(ObjectTarget("zoo_chatty.py", "make"))
        print("the result")
    """
    command = [sys.executable, "-W", "ignore", "-c", script]
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=settings, check=True)
    assert "the result\n" == done.stdout
    for words in ("at import", "into the stream itself", "from a child process", "while building"):
        assert words in done.stderr


def test_a_stand_in_is_made_again_where_values_are_read_but_imported_once(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(
        folder / "zoo_rates.py",
        """
        import torch
        from torch import nn
        print("at import")
        class Rates(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList(nn.Dropout(x.item()) for x in torch.linspace(0, 1, 3))
        """,
    )
    model, note = build_stand_in(ObjectTarget("zoo_rates.py", "Rates"))
    assert [0.0, 0.5, 1.0] == [block.p for block in model.blocks]
    assert note is not None
    assert note.startswith("the model was built with all its values: on the meta device `Rates()` raised")
    assert "at import\n" == capfd.readouterr().err


def test_a_stand_in_whose_import_fails_is_imported_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder / "zoo_fails.py", "print('at import')\nimport not_installed_anywhere")
    with pytest.raises(UnreadableError, match="not_installed_anywhere"):
        build_stand_in(ObjectTarget("zoo_fails.py", "Model"))
    assert "at import\n" == capfd.readouterr().err


def test_a_lazy_module_that_lies_around_is_not_woken_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise ImportError(f"asked for {name}")

    (folder / "awake.py").write_text("from torch import nn\nclass Model(nn.Module): ...\n")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lazily", Lazy("lazily"))
        model = build(ObjectTarget("awake.py", "Model"))
    assert "Model" == type(model).__name__
