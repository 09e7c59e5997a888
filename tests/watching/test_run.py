"""`bufscan run` as people use it: the program is what it would be alone, and the report comes beside it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from command_line import bufscan, environment

if TYPE_CHECKING:
    from pathlib import Path

NET = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.pe = torch.zeros(4)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x + self.pe)
"""

TRAIN = """\
import random, sys
import torch
from net import Net

print(__name__, __file__, sys.argv, sys.path[0], sorted(vars(sys.modules["__main__"])))
torch.manual_seed(0)
random.seed(0)
net = torch.nn.Sequential(Net(), torch.nn.Dropout(0.5))
optimizer = torch.optim.Adam(net.parameters())
for _ in range(int(sys.argv[2])):
    loss = net(torch.randn(2, 4)).square().mean() * random.random()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item().hex(), file=sys.stderr)
print(sum(p.double().sum() for p in net.parameters()).item().hex(), random.random(), torch.rand(1).item())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "clean.py").write_text("from torch import nn\nnn.Linear(2, 2)\n")
    return tmp_path


def alone(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, env=environment(), timeout=60, check=False
    )


def test_a_training_is_bit_for_bit_the_one_without(folder: Path) -> None:
    plain = alone("train.py", "--steps", "3", cwd=folder)
    watched = bufscan("run", "train.py", "--steps", "3", cwd=folder)
    assert (0, 1) == (plain.returncode, watched.returncode)
    assert plain.stdout == watched.stdout
    assert watched.stderr.startswith(plain.stderr)
    report = watched.stderr.removeprefix(plain.stderr).decode().splitlines()
    assert [
        "net:Net: 1 error",
        "",
        "net.py:8: error BUF001 unregistered-tensor",
        "    `pe` is a plain attribute: it is not saved and does not move with the model",
        "    as `0.pe` of torch.nn.modules.container:Sequential",
    ] == report[:5]
    assert '    fix | self.register_buffer("pe", torch.zeros(4), persistent=False)' in report
    assert "1 error in 1 model of 1 class" == report[-1]


def test_a_module_is_run_as_python_runs_it(folder: Path) -> None:
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "train.py").write_text(
        "import sys\nfrom net import Net\nprint(__name__, __package__, sys.argv, sys.path[0])\nNet()\n"
    )
    plain = alone("-m", "package.train", "-x", cwd=folder)
    watched = bufscan("run", "--quiet", "-m", "package.train", "-x", cwd=folder)
    assert (plain.stdout, b"1 error in 1 model of 1 class\n") == (watched.stdout, watched.stderr)


def test_classes_of_the_program_itself_are_named_by_its_file(folder: Path) -> None:
    (folder / "all.py").write_text(NET + "Net()(torch.zeros(1, 4))\n")
    report = json.loads(bufscan("run", "--format", "json", "all.py", cwd=folder).stderr)
    assert ["all.py:Net"] == [target["target"] for target in report["targets"]]
    (finding,) = report["targets"][0]["findings"]
    assert {"model": "all.py:Net", "path": "pe", "test": None, "models": 1} == finding["seen"]
    expected = {"program": "all.py", "ended": None, "models": 1, "classes": 1, "installed": {}, "processes": 0}
    assert expected == report["watched"]


@pytest.mark.parametrize(
    ("end", "code", "ended"),
    [
        pytest.param("raise ValueError('of mine')", 1, "raised ValueError", id="exception"),
        pytest.param("import sys; sys.exit(7)", 7, "exited with 7", id="code"),
        pytest.param("import sys; sys.exit('no')", 1, "exited with 1", id="message"),
        pytest.param("import sys; sys.exit(0)", 0, None, id="success"),
    ],
)
def test_a_program_that_fails_keeps_its_code(folder: Path, end: str, code: int, ended: str | None) -> None:
    (folder / "ends.py").write_text(f"from torch import nn\nnn.Linear(2, 2)\n{end}\n")
    plain = alone("ends.py", cwd=folder)
    watched = bufscan("run", "ends.py", cwd=folder)
    assert code == plain.returncode == watched.returncode
    last = "no findings in 1 model of 1 class" + (f"; ends.py {ended}" if ended else "")
    assert f"{plain.stderr.decode()}{last}\n" == watched.stderr.decode()


def test_a_traceback_shows_no_frames_of_ours(folder: Path) -> None:
    (folder / "deep.py").write_text(
        "import torch\nfrom torch import nn\nclass A(nn.Module):\n    def forward(self, x):\n"
        "        raise RuntimeError('deep')\nA()(torch.zeros(1))\n"
    )
    plain = alone("deep.py", cwd=folder)
    watched = bufscan("run", "deep.py", cwd=folder)
    shown = plain.stderr.decode().replace(str(folder), ".")
    assert watched.stderr.decode().replace(str(folder), ".").startswith(shown)


def test_clean_is_zero_and_no_model_is_two(folder: Path) -> None:
    (folder / "empty.py").write_text("print('hello')\n")
    assert 0 == bufscan("run", "clean.py", cwd=folder).returncode
    done = bufscan("run", "empty.py", cwd=folder)
    assert (2, b"hello\n") == (done.returncode, done.stdout)
    assert b"it made no model" in done.stderr


def test_reports_ignores_and_baseline_are_those_of_check(folder: Path) -> None:
    done = bufscan("run", "--output", "report.txt", "--output", "b.json", "--format", "text", "--format", "json",
                   "train.py", "--steps", "1", cwd=folder)  # fmt: skip
    assert 1 == done.returncode
    assert "1 error in 1 model of 1 class\n" == (folder / "report.txt").read_text().splitlines(keepends=True)[-1]
    assert 1 == json.loads((folder / "b.json").read_text())["summary"]["findings"]
    assert 0 == bufscan("run", "--ignore", "BUF001", "train.py", "", "1", cwd=folder).returncode
    assert 0 == bufscan("run", "--exit-zero", "train.py", "", "1", cwd=folder).returncode
    assert 0 == bufscan("run", "--write-baseline", "known.json", "train.py", "", "1", cwd=folder).returncode
    again = bufscan("run", "--baseline", "known.json", "train.py", "", "1", cwd=folder)
    assert 0 == again.returncode
    assert b"1 ignored" in again.stderr
    for tensor in ("pe", "0.pe"):  # as the class has it, and as the whole model
        (folder / "bufscan.toml").write_text(f'[[ignore]]\ncode = "BUF"\ntensor = "{tensor}"\nreason = "a test"\n')
        assert 0 == bufscan("run", "train.py", "", "1", cwd=folder).returncode


def test_an_interrupt_is_the_programs(folder: Path) -> None:
    (folder / "waits.py").write_text(
        "import time\nfrom torch import nn\nnn.Linear(2, 2)\nprint('ready', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n    raise\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bufscan", "run", "waits.py"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert b"ready\n" == process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (b"interrupted\n", -signal.SIGINT) == (out, process.returncode)
    assert b"waits.py was interrupted\n" in err


def test_torch_is_imported_by_the_program_not_for_it(folder: Path) -> None:
    (folder / "early.py").write_text(
        "import sys\nprint('torch' in sys.modules, 'numpy' in sys.modules)\nimport warnings, gc, signal\n"
        "print(gc.isenabled(), warnings.filters, signal.getsignal(signal.SIGINT))\n"
        "from torch import nn\nnn.Linear(2, 2)\n"
    )
    assert alone("early.py", cwd=folder).stdout == bufscan("run", "early.py", cwd=folder).stdout


def test_what_cannot_be_run_is_told(folder: Path) -> None:
    done = bufscan("run", "nothing.py", cwd=folder)
    assert (2, b"bufscan: `nothing.py` cannot be read: no such file or directory\n") == (
        done.returncode,
        done.stderr,
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_that_nobody_watched_are_told(folder: Path, method: str) -> None:
    (folder / "several.py").write_text(
        f"import multiprocessing\nfrom torch import nn\nfrom net import Net\n"
        f"if __name__ == '__main__':\n    nn.Linear(2, 2)\n    context = multiprocessing.get_context('{method}')\n"
        f"    for process in [context.Process(target=Net) for _ in range(2)]:\n"
        f"        process.start()\n        process.join()\n"
    )
    done = bufscan("run", "several.py", cwd=folder)
    assert 0 == done.returncode
    expected = [
        "not watched: 2 processes of `multiprocessing`, and the models built in them",
        "no findings in 1 model of 1 class",
    ]
    assert expected == [line for line in done.stderr.decode().splitlines() if line]
    report = json.loads(bufscan("run", "--format", "json", "several.py", cwd=folder).stderr)
    assert 2 == report["watched"]["processes"]
