"""The text of suggested lines, for each way of holding a tensor."""

from __future__ import annotations

from typing import Any

import pytest

from bufscan.inventory import Location
from bufscan.live.origin import Assignment
from bufscan.live.suggestion import Fault, suggest
from bufscan.live.wording import KEEPS_CHECKPOINTS, Setting


def assigned(value: str | None, **words: Any) -> Assignment:
    return Assignment(location=Location(file="model.py", line=3), value=value, **words)


LINES: dict[str, tuple[Fault, Assignment | None, str]] = {
    "value as written": (
        Fault(kind="attribute", name="pe"),
        assigned("build(dim)"),
        'self.register_buffer("pe", build(dim), persistent=False)',
    ),
    "value too long to repeat": (
        Fault(kind="attribute", name="pe"),
        assigned(None),
        'self.register_buffer("pe", pe, persistent=False)',
    ),
    "source not found": (
        Fault(kind="attribute", name="pe"),
        None,
        'self.register_buffer("pe", pe, persistent=False)',
    ),
    "value built from the attribute itself": (
        Fault(kind="attribute", name="pe"),
        assigned("self.pe.unsqueeze(0)"),
        'self.register_buffer("pe", pe, persistent=False)',
    ),
    "value built from an attribute with a longer name": (
        Fault(kind="attribute", name="pe"),
        assigned("self.pe_base.unsqueeze(0)"),
        'self.register_buffer("pe", self.pe_base.unsqueeze(0), persistent=False)',
    ),
    "another receiver": (
        Fault(kind="attribute", name="pe"),
        assigned("build()", receiver="this"),
        'this.register_buffer("pe", build(), persistent=False)',
    ),
    "receiver that is no name": (
        Fault(kind="class_attribute", name="pe", where="class"),
        assigned("build()", receiver="type(self)"),
        'self.register_buffer("pe", build(), persistent=False)',
    ),
    "file that uses nn.Buffer": (
        Fault(kind="attribute", name="pe"),
        assigned("build()", uses_buffer_class=True, nn="torch.nn"),
        "self.pe = torch.nn.Buffer(build(), persistent=False)",
    ),
    "leaf that requires grad": (
        Fault(kind="attribute", name="w", is_parameter=True),
        assigned("torch.zeros(3)"),
        "self.w = nn.Parameter(torch.zeros(3))",
    ),
    "Parameter that nothing registers": (
        Fault(kind="attribute", name="w", is_parameter=True),
        assigned("nn.Parameter(torch.zeros(3))"),
        "self.w = nn.Parameter(torch.zeros(3))",
    ),
    "cache that forward fills": (
        Fault(kind="cache", name="cos"),
        assigned("freqs.cos()", in_init=False, uses_buffer_class=True),
        'self.register_buffer("cos", None, persistent=False)',
    ),
    "module in a list": (
        Fault(kind="hidden_module", name="blocks", inner="[0]", container="sequence", key=0),
        assigned("[Block(i) for i in range(4)]"),
        "self.blocks = nn.ModuleList([Block(i) for i in range(4)])",
    ),
    "module in a list that is appended to": (
        Fault(kind="hidden_module", name="blocks", inner="[0]", container="sequence", key=0),
        assigned("[]", starts_empty=True),
        "self.blocks = nn.ModuleList()",
    ),
    "module in a list too long to repeat": (
        Fault(kind="hidden_module", name="blocks", inner="[0]", container="sequence", key=0),
        assigned(None, nn="torch.nn"),
        "self.blocks = torch.nn.ModuleList(blocks)",
    ),
    "module in a dict": (
        Fault(kind="hidden_module", name="heads", inner="['a']", container="mapping", key="a"),
        assigned('{"a": Head()}'),
        'self.heads = nn.ModuleDict({"a": Head()})',
    ),
    "module in a dict by number": (
        Fault(kind="hidden_module", name="heads", inner="[1]", container="mapping", key=1),
        assigned("heads or {}"),
        "self.heads = nn.ModuleDict({str(key): value for key, value in (heads or {}).items()})",
    ),
    "module in a dict under a dotted key": (
        Fault(kind="hidden_module", name="heads", inner="['a.b']", container="mapping", key="a.b"),
        assigned("heads"),
        'self.heads = nn.ModuleDict({key.replace(".", "_"): value for key, value in heads.items()})',
    ),
    "module in a list in a dict": (
        Fault(kind="hidden_module", name="heads", inner="['a'][0]"),
        assigned("heads"),
        "self.heads_a_0 = self.heads['a'][0]",
    ),
    "module in an object": (
        Fault(kind="hidden_module", name="helper", inner=".net", owner="Helper"),
        assigned("Helper()"),
        "class Helper(nn.Module):",
    ),
    "module set past nn.Module": (
        Fault(kind="hidden_module", name="net"),
        assigned("nn.Linear(1, 1)"),
        "self.net = nn.Linear(1, 1)",
    ),
    "module in a global": (
        Fault(kind="hidden_module", name="_BACKBONE", where="function"),
        assigned("resnet18()", receiver=""),
        "self.backbone = _BACKBONE",
    ),
    "Parameters in a list": (
        Fault(kind="container", name="ws", inner="[0]", container="sequence", key=0, is_parameter=True),
        assigned("[nn.Parameter(w) for w in ws]"),
        "self.ws = nn.ParameterList([nn.Parameter(w) for w in ws])",
    ),
    "Parameters in a dict": (
        Fault(kind="container", name="ws", inner="['a']", container="mapping", key="a", is_parameter=True),
        assigned("dict()", starts_empty=True),
        "self.ws = nn.ParameterDict()",
    ),
    "tensors in a list": (
        Fault(kind="container", name="masks", inner="[0]", container="sequence", key=0),
        assigned("masks"),
        'for i, tensor in enumerate(masks): self.register_buffer(f"masks_{i}", tensor, persistent=False)',
    ),
    "tensors in a set that is added to": (
        Fault(kind="container", name="masks", inner=")[0]", container="set"),
        assigned("set()", starts_empty=True),
        'for i, tensor in enumerate(masks): self.register_buffer(f"masks_{i}", tensor, persistent=False)',
    ),
    "tensors in a dict": (
        Fault(kind="container", name="cache", inner="['k']", container="mapping", key="k"),
        assigned("a | b"),
        'for key, tensor in (a | b).items(): self.register_buffer(f"cache_{key}", tensor, persistent=False)',
    ),
    "tensor deep in containers": (
        Fault(kind="container", name="cache", inner="['k'][0]"),
        assigned("make()"),
        "self.register_buffer(\"cache_k_0\", cache['k'][0], persistent=False)",
    ),
    "tensor in an object of the user's class": (
        Fault(kind="object", name="rope", inner=".table", owner="Rope"),
        assigned("Rope()", nn="torch.nn"),
        "class Rope(torch.nn.Module):",
    ),
    "tensor in a library's object": (
        Fault(kind="object", name="prior", inner=".loc"),
        assigned("Normal(0, 1)"),
        'self.register_buffer("prior_loc", prior.loc, persistent=False)',
    ),
    "class attribute": (
        Fault(kind="class_attribute", name="table", where="class"),
        assigned("torch.ones(3)", receiver=""),
        'self.register_buffer("table", torch.ones(3), persistent=False)',
    ),
    "global": (
        Fault(kind="global", name="_TABLE", where="function"),
        assigned("torch.ones(3)", receiver=""),
        'self.register_buffer("table", _TABLE, persistent=False)',
    ),
    "closure": (
        Fault(kind="closure", name="table", where="function"),
        None,
        'self.register_buffer("table", table, persistent=False)',
    ),
    "default argument": (
        Fault(kind="default_argument", name="scale", where="function"),
        assigned("torch.ones(1)", receiver=""),
        'self.register_buffer("scale", torch.ones(1), persistent=False)',
    ),
    "second name of a buffer": (
        Fault(kind="stale_alias", name="alias", target="pe"),
        assigned("pe"),
        "alias = property(lambda self: self.pe)",
    ),
    "second name of a child's buffer": (
        Fault(kind="stale_alias", name="alias", target="layers[0].pe"),
        assigned("self.layers[0].pe", receiver="self"),
        "alias = property(lambda self: self.layers[0].pe)",
    ),
    "view of a buffer": (
        Fault(kind="stale_alias", name="first", target="pe", is_view=True),
        assigned("this.pe[:5]", receiver="this"),
        "first = property(lambda this: this.pe[:5])",
    ),
    "view of a buffer by a local name": (
        Fault(kind="stale_alias", name="first", target="pe", is_view=True),
        assigned("pe[:5]"),
        'self.register_buffer("first", pe[:5], persistent=False)',
    ),
    "list of buffers": (
        Fault(kind="stale_alias", name="both", target="a", inner="[0]", container="sequence", key=0),
        assigned("[self.a, self.b]"),
        "both = property(lambda self: [self.a, self.b])",
    ),
    "hidden by __dict__": (
        Fault(kind="shadowed_by_instance", name="scale"),
        assigned("torch.ones(1)"),
        "self.scale = torch.ones(1)",
    ),
    "hidden by the class": (
        Fault(kind="shadowed_by_class", name="scale"),
        assigned("1.0", receiver="", starts_empty=True),
        "scale: torch.Tensor",
    ),
    "trainable buffer": (
        Fault(kind="trainable_buffer", name="w"),
        assigned("torch.ones(3, requires_grad=True)"),
        "self.w = nn.Parameter(torch.ones(3, requires_grad=True))",
    ),
    "computed buffer": (
        Fault(kind="trainable_buffer", name="w", is_leaf=False),
        assigned("self.lin.weight * 2"),
        'self.register_buffer("w", (self.lin.weight * 2).detach())',
    ),
    "computed buffer that is not saved": (
        Fault(kind="trainable_buffer", name="w", is_leaf=False, persistent=False),
        assigned("norm(x)"),
        'self.register_buffer("w", norm(x).detach(), persistent=False)',
    ),
    "Parameter handed to register_buffer": (
        Fault(kind="parameter_as_buffer", name="w", is_parameter=True),
        assigned("nn.Parameter(w)"),
        "self.w = nn.Parameter(w)",
    ),
    "frozen Parameter handed to register_buffer": (
        Fault(kind="parameter_as_buffer", name="w"),
        assigned("weights or empty"),
        'self.register_buffer("w", (weights or empty).detach())',
    ),
    "non-persistent buffer on the meta device": (
        Fault(kind="uninitialised_buffer", name="w", persistent=False),
        assigned("torch.ones(3)"),
        'self.register_buffer("w", torch.ones(3))',
    ),
}


@pytest.mark.parametrize(("fault", "assignment", "line"), LINES.values(), ids=LINES)
def test_the_line_is_written_in_the_words_of_the_source(
    fault: Fault, assignment: Assignment | None, line: str
) -> None:
    found = suggest(fault, assignment, Setting(has_buffer_class=True))
    assert found is not None
    assert line == found.line


NO_LINE: dict[str, tuple[Fault, Assignment | None]] = {
    "argument of a partial": (Fault(kind="partial", name="act", inner=".args[0]"), assigned("partial(f, t)")),
    "held by a hook": (Fault(kind="hook", name="hook"), None),
    "moved by _apply": (Fault(kind="moved_by_apply", name="total"), assigned("t")),
    "result of autograd": (Fault(kind="computed", name="w"), assigned("t")),
    "container that forward fills": (
        Fault(kind="container", name="cache", inner="[0]", container="sequence", key=0),
        assigned(None, in_init=False),
    ),
    "no Python name": (Fault(kind="attribute", name="a b"), assigned("t")),
    "second name that is assigned again, as a property cannot be": (
        Fault(kind="stale_alias", name="alias", target="pe"),
        assigned("pe", is_only=False),
    ),
    "keyword": (Fault(kind="attribute", name="class"), assigned("t")),
    "way that no one would write": (Fault(kind="object", name="fn", inner=".__self__.table"), assigned("t")),
    "alias in another module": (Fault(kind="stale_alias", name="alias"), assigned("other.pe")),
    "property over a registered name": (Fault(kind="shadowed_by_class", name="scale"), None),
}


@pytest.mark.parametrize(("fault", "assignment"), NO_LINE.values(), ids=NO_LINE)
def test_where_no_single_line_mends_it_none_is_suggested(fault: Fault, assignment: Assignment | None) -> None:
    assert suggest(fault, assignment) is None


def test_nn_buffer_is_suggested_only_where_torch_has_it() -> None:
    found = suggest(Fault(kind="attribute", name="pe"), assigned("build()", uses_buffer_class=True))
    assert found is not None
    assert 'self.register_buffer("pe", build(), persistent=False)' == found.line


def test_a_name_that_the_class_has_is_not_suggested() -> None:
    found = suggest(Fault(kind="attribute", name="half"), assigned("t"), Setting(names_taken=("half",)))
    assert found is not None
    assert 'self.register_buffer("half_buffer", t, persistent=False)' == found.line
    assert found.note.startswith("the class has its own `half`, which register_buffer refuses; ")


def test_the_note_says_which_choice_keeps_old_checkpoints_loading() -> None:
    found = suggest(Fault(kind="attribute", name="pe"), assigned("pe"))
    assert found is not None
    assert KEEPS_CHECKPOINTS == found.note
    assert "persistent=False" in KEEPS_CHECKPOINTS
