"""Names read from bytecode are those that `dis` reads."""

from __future__ import annotations

import argparse
import dis
import inspect
import json.decoder
import types
from typing import Literal

import pytest
from torch.nn import functional

from bufscan.live.reach.functions import names_in

LONG = "def long(self):\n" + "".join(f"    self.a{number} = g{number}\n" for number in range(700))


def _codes() -> list[types.CodeType]:
    functions = [
        function
        for module in (argparse, dis, inspect, json.decoder, functional)
        for function in vars(module).values()
        if isinstance(function, types.FunctionType)
    ]
    long = compile(LONG, "long", "exec").co_consts[0]
    assert isinstance(long, types.CodeType)
    return [long, *(function.__code__ for function in functions)]


@pytest.mark.parametrize("operation", ["LOAD_GLOBAL", "STORE_ATTR"])
def test_names_are_those_that_dis_reads(operation: Literal["LOAD_GLOBAL", "STORE_ATTR"]) -> None:
    codes = _codes()
    expected = [[step.argval for step in dis.get_instructions(code) if step.opname == operation] for code in codes]
    assert sum(map(len, expected)) > 700
    assert expected == [list(names_in(code, operation)) for code in codes]
