"""Standard output is for results: whatever the user's code prints, and whenever, goes to standard error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from command_line import bufscan

if TYPE_CHECKING:
    from pathlib import Path

NOISY = """
import atexit, logging, os, subprocess, sys, weakref
from torch import nn

kept = sys.__stdout__
logging.basicConfig(stream=sys.stdout, format="%(message)s")
atexit.register(print, "<at exit>")
print("<at import>")


class Model(nn.Linear):
    def __init__(self):
        super().__init__(1, 1)
        kept.write("<kept stream>\\n")
        weakref.finalize(self, print, "<finalized>")

    def state_dict(self, *args, **kwargs):
        print("<measured>")
        os.write(1, b"<descriptor>\\n")
        subprocess.run(["echo", "<child>"])
        return super().state_dict(*args, **kwargs)

    def _apply(self, *args, **kwargs):
        logging.warning("<logged>")
        return super()._apply(*args, **kwargs)

    def __del__(self):
        print("<deleted>")
"""

NOISE = (
    *("at import", "kept stream", "measured", "descriptor", "child", "logged", "deleted", "finalized"),
    "at exit",
)


@pytest.mark.parametrize(
    "arguments",
    [("inspect", "noisy.py:Model"), ("check", "noisy.py"), ("diff", "noisy.py:Model", "noisy.py:Model")],
    ids=lambda arguments: arguments[0],
)
def test_whatever_the_users_code_prints_is_not_in_the_result(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    done = bufscan(*arguments, "--format", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["schema"].startswith("bufscan.")
    assert [word for word in NOISE if f"<{word}>\n" not in done.stderr.decode()] == []


def test_code_that_closes_or_replaces_standard_output_takes_nothing_away(tmp_path: Path) -> None:
    for name, deed in (("closing", "sys.stdout.close()"), ("replacing", "sys.stdout = io.StringIO()")):
        code = f"import io, sys\n{deed}\nfrom torch import nn\nclass Model(nn.PReLU): ...\n"
        (tmp_path / f"{name}.py").write_text(code)
    done = bufscan("check", "closing.py:Model", "replacing.py:Model", "missing.pt", "--quiet", cwd=tmp_path)
    assert (2, b"no findings in 3 targets; 1 target could not be checked\n") == (done.returncode, done.stdout)
    assert b"bufscan: missing.pt: no such file\n" in done.stderr


def test_a_report_goes_to_its_file_whatever_is_printed(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    done = bufscan("inspect", "noisy.py:Model", "--format", "json", "--output", "it.json", cwd=tmp_path)
    assert (0, b"") == (done.returncode, done.stdout)
    assert "live" == json.loads((tmp_path / "it.json").read_text())["format"]
