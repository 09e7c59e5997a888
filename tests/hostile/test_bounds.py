"""No file of 10 MB takes more than 200 MB of memory, or long: whatever it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import container_bombs  # noqa: F401 - each of the four fills BOMBS
import model_bombs  # noqa: F401
import program_bombs  # noqa: F401
import pytest
import value_bombs  # noqa: F401
from bomb_parts import BOMBS, SIZE
from child_process import inspected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_a_file_made_to_take_long_takes_little(make: Callable[[], bytes], tmp_path: Path) -> None:
    """Time is bounded by the guard of `child_process`; on a quiet machine each takes less than two seconds."""
    path = tmp_path / "model.pt"
    path.write_bytes(make())
    assert path.stat().st_size <= SIZE
    taken = inspected(path)
    assert taken.mebibytes < 200
    assert taken.text <= 1_000_000 + 200 * taken.tensors
