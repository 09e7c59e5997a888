"""What a rehearsal says of small models, beside what CUDA does with them."""

from __future__ import annotations

import pytest
import torch
from models_that_move import CASES, Case

from bufscan.rehearsing import rehearse

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
def test_the_verdict_is_cudas(case: Case) -> None:
    torch.manual_seed(0)
    rehearsal = rehearse(case.make(), case.inputs(), train=None)
    assert (case.verdict, None) == (rehearsal.verdict, rehearsal.reason)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@each_case
def test_cuda_itself_says_so(case: Case) -> None:
    """What the cases promise, on a real device."""
    torch.manual_seed(0)
    model = case.make().to("cuda")
    inputs = [each.to("cuda") for each in case.inputs()]
    if case.verdict == "passes":
        model(*inputs)
    else:
        with pytest.raises((RuntimeError, TypeError)):
            model(*inputs)


@each_case
def test_the_verdict_does_not_depend_on_the_order_of_runs(case: Case) -> None:
    """A rehearsal leaves no trace: the second says what the first said."""
    torch.manual_seed(0)
    model, inputs = case.make(), case.inputs()
    first = rehearse(model, inputs, train=None)
    assert first == rehearse(model, inputs, train=None)
