"""What is odd about a file is a finding: nothing of the kind may pass as clean."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from inventories import brief, inventory, tensor
from safetensors.torch import save

from bufscan.findings import Finding, Subject
from bufscan.inspecting import inspect
from bufscan.inventory import Anomaly
from bufscan.rules.container_anomaly import RULE

if TYPE_CHECKING:
    from pathlib import Path


def said(path: Path) -> list[tuple[str, str]]:
    found = RULE.check(RULE, Subject(inventory=inspect(path)))
    return [(each.severity, each.message) for each in found if isinstance(each, Finding)]


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "severity"),
    [("overlapping_records", "error"), ("something_new", "error"), ("compressed_record", "warning")],
)
def test_every_anomaly_is_a_finding(kind: str, severity: str) -> None:
    found = inventory(tensor("w", 4), anomalies=(Anomaly(kind=kind, message="odd"),))
    assert [("BUF402", severity, "")] == brief(found, "BUF402")


def test_a_safetensors_file_whose_last_tensor_is_a_zip_archive(tmp_path: Path) -> None:
    payload = archive(**{"a/data.pkl": b"\x80\x02N."})
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"w": torch.frombuffer(bytearray(payload), dtype=torch.uint8)}))
    assert zipfile.is_zipfile(path)
    ((severity, message),) = said(path)
    assert "error" == severity
    assert "another program can take the file for a zip archive" in message


def test_a_checkpoint_of_the_older_format_with_an_archive_after_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
    assert [] == said(path)
    path.write_bytes(path.read_bytes() + archive(**{"a/data.pkl": b"\x80\x02N."}))
    assert ["error", "error"] == [severity for severity, _ in said(path)]


def test_an_index_that_leads_out_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (folder / "a.safetensors", tmp_path / "outside.safetensors"):
        path.write_bytes(save({path.stem: torch.zeros(4)}))
    index = {"weight_map": {"a": "a.safetensors", "outside": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert ("error", "the index leads out of its folder, to `../outside.safetensors`") in said(folder)
    assert ["a"] == [each.name for each in inspect(folder).tensors]


def test_a_safetensors_file_that_ends_in_a_lone_signature_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"w": torch.frombuffer(bytearray(b"PK\5\6" + bytes(16) + b"ab"), dtype=torch.uint8)}))
    assert [] == said(path)
