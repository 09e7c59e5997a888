"""Which models a watch looks at, when, and what it says of what a forward pass made."""

from __future__ import annotations

import copy
import gc
import random
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from watched import found_in, result_of, watching


class Forgetful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pe = torch.zeros(4)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x + self.pe)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pe


class Own(nn.Module):
    """As a package that does not go through `nn.Module.__call__`."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward(x)


class OwnCall(Own):
    def __init__(self) -> None:
        super().__init__()
        self.helper = Helper()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.helper.remember(x)
        return x


class Helper:
    """An object that is no module, such as a library's."""

    def __init__(self) -> None:
        self.memo: dict[str, torch.Tensor] = {}

    def remember(self, x: torch.Tensor) -> None:
        self.memo["last"] = x.detach().clone()


PE = ("BUF001", "error", "pe")


def call(module: nn.Module) -> nn.Module:
    module(torch.zeros(2, 4))
    return module


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda: call(Forgetful()), id="called and kept"),
        pytest.param(lambda: call(Forgetful()) and None, id="called and freed"),
        pytest.param(Forgetful, id="kept until the end"),
        pytest.param(lambda: Forgetful() and None, id="freed before anyone called it"),
        pytest.param(lambda: Forgetful().encode(torch.zeros(4)), id="used by a method"),
        pytest.param(lambda: call(nn.Sequential(nn.Sequential(Forgetful()))), id="registered in another"),
        pytest.param(lambda: [call(Forgetful()) for _ in range(3)] and None, id="made thrice"),
        pytest.param(lambda: Forgetful().layer(torch.zeros(4)), id="a part of it is called"),
        pytest.param(lambda: call(torch.compile(Forgetful(), backend="eager")), id="compiled"),
    ],
)
def test_a_model_is_looked_at_whatever_becomes_of_it(run: Any) -> None:
    assert [PE] == found_in(run)


def test_what_the_collector_finds_is_looked_at_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection may happen anywhere, in Python's own parser too, which does not bear another parse."""
    from bufscan.watching import measuring_models

    collects, during = [False], []
    scan = measuring_models.scan

    def noting(model: nn.Module, *args: Any, **kwargs: Any) -> object:
        during.append(collects[0])
        return scan(model, *args, **kwargs)

    def note(phase: str, _: object) -> None:
        collects[0] = phase == "start"

    def run() -> None:
        model = Forgetful()
        model.itself = [model]
        del model
        gc.collect()

    monkeypatch.setattr(measuring_models, "scan", noting)
    gc.callbacks.append(note)
    try:
        assert [PE] == found_in(run)
    finally:
        gc.callbacks.remove(note)
    assert [False] == during


def test_models_are_counted_and_the_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[nn.Module]:
        monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/test_a.py::test_b[1 (x)] (call)")
        return [call(Forgetful()), call(nn.Sequential(Forgetful())), Forgetful()]

    result = result_of(run)
    (seen,) = [finding.seen for finding in result.findings]
    assert seen is not None
    assert result.watched is not None
    assert (3, "pe", 3, 2) == (seen.models, seen.path, result.watched.models, result.watched.classes)
    assert "tests/test_a.py::test_b[1 (x)]" == seen.test


def test_no_models_are_a_failure() -> None:
    result = result_of(lambda: None)
    assert 2 == result.exit_code


def test_what_a_pass_makes_in_an_object_is_no_fault() -> None:
    assert [] == found_in(lambda: call(OwnCall()))


def test_what_was_there_before_the_pass_is_one() -> None:
    def run() -> nn.Module:
        model = OwnCall()
        model.helper.remember(torch.zeros(3))
        return call(model)

    assert [("BUF001", "error", "helper.memo['last']")] == found_in(run)


def test_a_later_pass_may_make_more() -> None:
    def run() -> nn.Module:
        call(OwnCall())
        model = call(OwnCall())
        model.helper.memo["more"] = torch.zeros(5)
        return model

    assert [] == found_in(run)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        now = x.detach().mean(0)
        self.mean = now if self.mean is None else 0.9 * self.mean + 0.1 * now
        return x - self.mean


def test_state_is_an_error_although_a_pass_makes_it() -> None:
    assert [("BUF001", "error", "mean")] == found_in(lambda: call(Counting()))


class Latest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = x.detach() * 2
        return x


def test_what_every_pass_makes_anew_is_none() -> None:
    assert [] == found_in(lambda: call(Latest()))


class Keeping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            self.table = torch.arange(4.0)
        return x + self.table


def test_what_a_pass_on_another_device_would_still_use_is_a_warning() -> None:
    assert [("BUF001", "warning", "table")] == found_in(lambda: call(Keeping()))


def test_a_hook_that_notes_the_latest_activation_is_quiet() -> None:
    def run() -> nn.Module:
        notes: dict[str, torch.Tensor] = {}
        model = nn.Sequential(nn.Linear(4, 4))

        def note(_module: nn.Module, _args: object, out: torch.Tensor) -> None:
            notes["last"] = out.detach()

        model[0].register_forward_hook(note)
        call(model)
        return call(nn.Sequential(model))  # the same notes, in another model

    assert [] == found_in(run)


class Measured(nn.Module):
    """Called while it is made, to learn a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        width = self.body(torch.zeros(1, 4)).shape[1]
        self.head = nn.Linear(width, 2)
        self.scale = torch.ones(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x) * self.scale)


def test_a_model_is_not_measured_while_it_is_made() -> None:
    result = result_of(lambda: call(Measured()))
    assert [("BUF001", "error", "scale")] == [(each.code, each.severity, each.tensor) for each in result.findings]
    assert result.watched is not None
    assert 1 == result.watched.models


def test_only_one_of_a_structure_is_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    from bufscan.watching import measuring_models

    scanned: list[object] = []
    scan = measuring_models.scan

    def counting(model: nn.Module, *args: object, **kwargs: Any) -> object:
        scanned.append(type(model))
        return scan(model, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring_models, "scan", counting)
    found_in(lambda: [call(Latest()) for _ in range(5)])
    assert [Latest, Latest] == scanned  # before the pass, and after it


def test_two_of_a_class_that_differ_are_both_scanned() -> None:
    def run() -> list[nn.Module]:
        plain, odd = Latest(), Latest()
        odd.mask = torch.ones(4)
        return [call(plain), call(odd)]

    assert [("BUF001", "error", "mask")] == found_in(run)


def test_a_loop_is_no_longer_listened_to() -> None:
    before = nn.Module.__call__
    with watching() as watch:
        model = Forgetful()
        assert nn.Module.__call__ is not before
        for _ in range(2500):
            model.layer(torch.zeros(4))
        assert nn.Module.__call__ is before
        watch.settle()


def test_torch_is_left_as_it_was() -> None:
    before = dict(vars(nn.Module)), dict(vars(Own))
    found_in(lambda: call(OwnCall()))
    assert before == (dict(vars(nn.Module)), dict(vars(Own)))


def test_nothing_is_kept_alive() -> None:
    with watching():

        class Local(Forgetful):
            """As tests define them."""

        model = call(Local())
        tensor = model.pe
        weak = [weakref.ref(model), weakref.ref(tensor), weakref.ref(Local)]
        del model, tensor, Local
        gc.collect()
        assert [None, None, None] == [each() for each in weak]


def test_results_random_numbers_and_gradients_stay() -> None:
    def train() -> list[torch.Tensor]:
        torch.manual_seed(0)
        random.seed(0)
        model = nn.Sequential(Forgetful(), nn.Dropout(0.5), nn.BatchNorm1d(4), Keeping())
        optimizer = torch.optim.Adam(model.parameters())
        losses = []
        for _ in range(5):
            loss = model(torch.randn(8, 4)).square().mean() * (1 + random.random())  # noqa: S311
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [*losses, *model.state_dict().values(), torch.rand(3)]

    alone = train()
    with watching():
        watched = train()
    assert all(map(torch.equal, alone, watched))


def test_copies_and_exceptions_are_those_of_the_program() -> None:
    class Failing(Forgetful):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("of the program")

    with watching():
        model = Failing()
        twin = copy.deepcopy(model)
        with pytest.raises(RuntimeError, match="of the program"):
            call(model)
        assert set(vars(twin)) == set(vars(model)) == set(vars(nn.Module())) | {"pe"}


def test_code_of_installed_packages_is_counted_apart(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "bought_models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import torch\nfrom torch import nn\nclass Bought(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.t = torch.zeros(3)\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    import bought_models  # type: ignore[import-not-found]

    result = result_of(lambda: [nn.Sequential(bought_models.Bought()), Forgetful()])
    assert [PE] == [(each.code, each.severity, each.tensor) for each in result.findings]
    assert result.watched is not None
    assert {"bought_models": 1} == result.watched.installed
    wanted = result_of(lambda: [nn.Sequential(bought_models.Bought()), Forgetful()], sources=["bought_models"])
    assert [("bought_models:Bought", "t")] == [
        (target.target, finding.tensor) for target in wanted.targets for finding in target.findings
    ]


def test_an_observer_is_told_of_first_passes() -> None:
    told: list[tuple[type, type, int]] = []

    class Observing:
        def before_first_pass(
            self, model: nn.Module, called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> None:
            told.append((type(model), type(called), len(args) + len(kwargs)))

    def run() -> None:
        for _ in range(2):
            call(call(nn.Sequential(Forgetful())))
        model = Forgetful()
        model.layer(torch.zeros(4))

    found_in(run, observers=[Observing()])
    assert [(nn.Sequential, nn.Sequential, 1), (Forgetful, nn.Linear, 1)] == told


def test_a_bug_of_a_look_does_not_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr("bufscan.watching.measuring_models.scan", failing)
    result = result_of(lambda: call(Forgetful()))
    assert 2 == result.exit_code
    (failure,) = [target.failure for target in result.targets]
    assert failure is not None
    assert "bug in bufscan: AssertionError: a bug" in failure.message


class Follows(Forgetful):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = getattr(self, "pe")  # noqa: B009 - so that the source does not tell
        return self.layer(x + table.to(x.device))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        pytest.param(Forgetful, [("BUF001", "error", "pe"), ("BUF202", "error", "pe")], id="breaks"),
        pytest.param(Follows, [("BUF001", "warning", "pe")], id="carried over"),
        pytest.param(lambda: nn.Linear(4, 4), [], id="moves"),
    ],
)
def test_first_passes_are_rehearsed_with_their_own_inputs(model: Any, found: list[tuple[str, str, str]]) -> None:
    assert found == found_in(lambda: call(model()), rehearses=True)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_what_cannot_be_rehearsed_is_told_and_fails_nothing() -> None:
    result = result_of(lambda: call(Lazy()), rehearses=True)
    reasons = [skipped.reason for target in result.targets for skipped in target.skipped]
    assert ["not rehearsed: `layer.weight` has no shape until the first forward pass"] == reasons
    assert 0 == result.exit_code


def test_what_looks_on_is_no_part_of_a_model() -> None:
    """A class with a `__call__` of its own is listened to there, while another model waits for its last look."""

    def run() -> None:
        model = OwnCall()
        other = Helper()
        other.itself = other  # type: ignore[attr-defined]  # only the collector frees it, and the model in it
        other.model = nn.Sequential(nn.Linear(2, 2))  # type: ignore[attr-defined]
        del other
        gc.collect()
        call(model)

    assert [] == found_in(run)


class Remembering(nn.Module):
    """Its cache is filled from afar, by a function that no class shows."""

    def __init__(self) -> None:
        super().__init__()
        self.helper: Helper | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.helper is None:
            self.helper = Helper()
        remember(self.helper, x)
        return x


def remember(helper: Helper, x: torch.Tensor) -> None:
    memo = vars(helper).setdefault("others", {})
    memo[len(memo), "twice"] = x * 2


def test_a_cache_that_is_filled_from_afar_is_one_fault_of_all_subclasses() -> None:
    class First(Remembering):
        pass

    class Second(Remembering):
        pass

    result = result_of(lambda: [call(First()), call(Second())])
    (finding,) = result.findings
    assert finding.location is not None
    assert finding.location.file.endswith("test_watch.py")
    assert 2 == finding.seen.models  # type: ignore[union-attr]
    assert (finding.suggestion_note or "").startswith("make the object a module")


class Wrapper(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def test_what_a_pass_made_is_known_however_many_wrappers_the_model_outlives() -> None:
    def run() -> nn.Module:
        model = call(OwnCall())
        for width in range(3):
            wrapper = Wrapper(model)
            wrapper.width = list(range(width))  # type: ignore[assignment]  # another structure each
            call(wrapper)
            del wrapper
        return model

    assert [] == found_in(run)
