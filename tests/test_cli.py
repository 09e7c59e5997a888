from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from command_line import bufscan, environment


def test_inspect_prints_the_listing_and_nothing_to_stderr(demo_files: Path) -> None:
    done = bufscan("inspect", "model.pt", cwd=demo_files)
    assert (0, b"") == (done.returncode, done.stderr)
    lines = done.stdout.decode().splitlines()
    assert "model.pt: 28 tensors, 8,193 elements, 26.6 kB, torch-zip, all on cpu" == lines[0]
    assert "█ 14 parameters  ▓ 4 persistent buffers" in lines[1]


def test_the_installed_command_is_the_same_program(demo_files: Path) -> None:
    command = Path(sys.executable).parent / "bufscan"
    done = subprocess.run(
        [command, "inspect", "model.pt"], cwd=demo_files, capture_output=True, env=environment(), check=True
    )
    assert bufscan("inspect", "model.pt", cwd=demo_files).stdout == done.stdout


def test_standard_input_is_a_target(demo_files: Path) -> None:
    done = bufscan("inspect", "-", "--quiet", stdin=(demo_files / "weights.safetensors").read_bytes())
    assert 0 == done.returncode
    assert done.stdout.startswith(b"18 tensors")


def test_roles_can_be_written_with_hyphens_and_repeated(demo_files: Path) -> None:
    arguments = (
        "inspect",
        "model.pt",
        "--format",
        "json",
        "--role",
        "non-persistent-buffer",
        "--role",
        "unregistered",
    )
    report = json.loads(bufscan(*arguments, cwd=demo_files).stdout)
    assert {"non_persistent_buffer", "unregistered"} == {each["role"] for each in report["tensors"]}
    assert {"roles": ["non_persistent_buffer", "unregistered"], "match": [], "of_tensors": 28} == report[
        "selection"
    ]


def test_patterns_and_order(demo_files: Path) -> None:
    arguments = (
        "inspect",
        "model.pt",
        "--format",
        "csv",
        "--match",
        "stem.*",
        "--match",
        "head.*",
        "--sort",
        "name",
    )
    rows = list(csv.DictReader(StringIO(bufscan(*arguments, cwd=demo_files).stdout.decode())))
    names = ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"]
    assert ["head.weight", *(f"stem.{name}" for name in names)] == [row["name"] for row in rows]


def test_depth_asks_for_the_tree(demo_files: Path) -> None:
    text = bufscan("inspect", "model.pt", "--depth", "1", cwd=demo_files).stdout.decode()
    assert "├── blocks " in text
    assert "{0,1}" not in text


def test_csv_ends_its_lines_as_rfc_4180_says(demo_files: Path) -> None:
    lines = bufscan("inspect", "model.pt", "--format", "csv", cwd=demo_files).stdout.split(b"\n")
    assert 30 == len(lines)
    assert all(line.endswith(b"\r") for line in lines[:-1])


def test_two_runs_are_byte_identical(demo_files: Path) -> None:
    for report in ("text", "json", "csv"):
        first, second = (
            bufscan("inspect", "model.pt", "--format", report, cwd=demo_files).stdout for _ in range(2)
        )
        assert first == second


def test_output_goes_to_the_file_and_nowhere_else(demo_files: Path, tmp_path: Path) -> None:
    done = bufscan("inspect", "model.pt", "--format", "json", "--output", str(tmp_path / "a.json"), cwd=demo_files)
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert "bufscan.inspect/1" == json.loads((tmp_path / "a.json").read_text())["schema"]
    assert [tmp_path / "a.json"] == list(tmp_path.iterdir())


def test_a_dash_as_output_is_standard_output(demo_files: Path, tmp_path: Path) -> None:
    command = ("inspect", str(demo_files / "model.pt"))
    dashed = bufscan(*command, "--output", "-", cwd=tmp_path)
    assert bufscan(*command).stdout == dashed.stdout
    assert [] == list(tmp_path.iterdir())


def test_a_failed_inspection_leaves_the_old_output_alone(tmp_path: Path) -> None:
    output = tmp_path / "a.txt"
    output.write_text("old")
    assert 2 == bufscan("inspect", "no-such.pt", "--output", str(output)).returncode
    assert "old" == output.read_text()


def test_output_keeps_the_permissions_and_the_link_of_what_it_replaces(demo_files: Path, tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "real.txt").chmod(0o640)
    (tmp_path / "link.txt").symlink_to("real.txt")
    assert 0 == bufscan("inspect", "model.pt", "--output", str(tmp_path / "link.txt"), cwd=demo_files).returncode
    assert (tmp_path / "link.txt").is_symlink()
    assert 0o640 == stat.S_IMODE((tmp_path / "real.txt").stat().st_mode)
    assert "old" != (tmp_path / "real.txt").read_text()


def test_a_device_is_written_to_and_not_replaced(demo_files: Path) -> None:
    assert 0 == bufscan("inspect", "model.pt", "--output", "/dev/null", cwd=demo_files).returncode
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_quiet_prints_the_summary_line_alone(demo_files: Path) -> None:
    lines = bufscan("inspect", "model.pt", "--quiet", cwd=demo_files).stdout.decode().splitlines()
    assert [
        "28 tensors: 14 parameters, 4 persistent buffers, 3 non-persistent buffers, 7 unregistered; 26.6 kB stored"
    ] == lines


def test_a_closed_pipe_is_quiet(demo_files: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "bufscan", "inspect", "model.pt"],
            cwd=demo_files,
            stdout=closed,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert (141, b"") == (done.returncode, done.stderr)


def test_unbuffered_output_to_a_slow_reader_is_complete(demo_files: Path) -> None:
    report = bufscan("inspect", "model.pt", "--format", "json", cwd=demo_files).stdout
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "bufscan", *("inspect", "model.pt", "--format", "json")],
        cwd=demo_files,
        stdout=write,
        env=environment(PYTHONUNBUFFERED="1"),
    )
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert report == pipe.read()
    assert 0 == process.wait()


def test_version_and_help_exit_with_0() -> None:
    version = bufscan("--version")
    assert (0, True) == (version.returncode, version.stdout.startswith(b"bufscan 0."))
    for arguments in ((), ("--help",), ("inspect", "--help"), ("inspect", "-h"), ("demo", "--help")):
        done = bufscan(*arguments)
        assert (0, b"") == (done.returncode, done.stderr)
        assert done.stdout.startswith(b"Usage: bufscan")


@pytest.mark.parametrize("command", ["inspect", "demo"])
def test_every_option_is_explained_in_one_line(command: str) -> None:
    text = bufscan(command, "--help").stdout.decode()
    options = text.split("Options:\n")[1].split("\n\n")[0].splitlines()
    assert all(line.startswith("  -") for line in options)


def test_several_targets_give_a_line_each_before_the_details(demo_files: Path) -> None:
    done = bufscan("inspect", "*.pt", "weights.safetensors", cwd=demo_files)
    lines = done.stdout.decode().splitlines()
    assert 0 == done.returncode
    assert lines[0].startswith("model.pt: 28 tensors: 14 parameters, ")
    assert lines[1].startswith("weights.safetensors: 18 tensors")
    alone = bufscan("inspect", "weights.safetensors", cwd=demo_files).stdout
    assert done.stdout.endswith(b"\n\n" + alone)


def test_of_several_targets_one_that_cannot_be_read_hides_no_other(demo_files: Path) -> None:
    done = bufscan("inspect", "model.pt", "absent.pt", "-q", cwd=demo_files)
    assert 2 == done.returncode
    first, second = done.stdout.decode().splitlines()
    assert first.startswith("model.pt: 28 tensors")
    assert second.startswith("absent.pt: not read: ")
    assert done.stderr.startswith(b"bufscan: absent.pt: ")


def test_several_targets_are_a_list_as_json(demo_files: Path) -> None:
    done = bufscan("inspect", "weights.safetensors", "absent.pt", "model.pt", "-f", "json", cwd=demo_files)
    first, failed, last = json.loads(done.stdout)
    assert json.loads(bufscan("inspect", "model.pt", "-f", "json", cwd=demo_files).stdout) == last
    assert ("weights.safetensors", "model.pt") == (first["target"], last["target"])
    assert {"schema", "target", "failure"} == set(failed)
    assert {"message", "hint"} == set(failed["failure"])


def test_several_targets_are_one_table_as_csv(demo_files: Path) -> None:
    text = bufscan("inspect", "model.pt", "weights.safetensors", "-f", "csv", cwd=demo_files).stdout.decode()
    rows = list(csv.DictReader(StringIO(text)))
    assert [28, 18] == [sum(row["target"] == name for row in rows) for name in ("model.pt", "weights.safetensors")]


def test_a_target_without_a_command_is_inspected(demo_files: Path) -> None:
    for target in ("model.pt", "model.py:TinyTransformer"):
        assert bufscan("inspect", target, cwd=demo_files).stdout == bufscan(target, cwd=demo_files).stdout != b""
