"""torch.save's older formats, written byte by byte."""

from __future__ import annotations

import io
import pickle
import tarfile
from struct import pack

from crafted_pickles import integer, pickled, sequence, text

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
PROTOCOL = pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, 2)


def elements(*numbers: float) -> bytes:
    """A storage of floats: its count and its bytes."""
    return pack("<q", len(numbers)) + pack(f"<{len(numbers)}f", *numbers)


def legacy(value: bytes, keys: tuple[str, ...] = ("0",), stored: bytes = elements(1, 2, 3, 4)) -> bytes:
    """The stream of torch before 1.6 around a pickle."""
    return MAGIC + PROTOCOL + SYSTEM + value + pickle.dumps(list(keys), 2) + stored


def tar(members: dict[str, bytes]) -> bytes:
    """A tar archive of regular files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def tar_checkpoint(
    value: bytes | None = None, *, storages: bytes | None = None, tensors: bytes | None = None
) -> dict[str, bytes]:
    """The members of a checkpoint of torch 0.1: one tensor of four floats, whose key is 7."""
    storage = pickled(sequence(integer(5), text("cpu"), b"ctorch\nFloatStorage\n")) + elements(1, 2, 3, 4)
    tensor = pickled(sequence(integer(7), integer(5), b"ctorch\nFloatTensor\n")) + pack("<i4x3q", 1, 4, 1, 0)
    return {
        "sys_info": pickled(b"}"),
        "storages": pickled(integer(1)) + storage + pickled(b"]") if storages is None else storages,
        "tensors": pickled(integer(1)) + tensor if tensors is None else tensors,
        "pickle": pickled(b"}", text("w"), b"P7\ns") if value is None else value,
    }
