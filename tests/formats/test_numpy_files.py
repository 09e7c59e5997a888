"""`.npy`, `.npz` and plain pickles of arrays are read as checkpoints are."""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bufscan import diff
from bufscan.bytesource import MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bufscan.inventory import Inventory

CODES = ["?", "i1", "<i2", ">i4", "<i8", "u1", "<u2", "<u4", ">u8", "<f2", ">f4", "<f8", "<c8", ">c16"]

arrays = st.sampled_from(CODES).flatmap(
    lambda code: npst.arrays(np.dtype(code), npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


def read(data: bytes) -> Inventory:
    return read_file(MemorySource("file", data), "file")


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@given(arrays, st.booleans())
def test_an_array_is_described_as_numpy_has_it(array: np.ndarray[Any, Any], fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    for found in (read(npy(array)), read(npz(w=array)), read(pickle.dumps({"w": array}))):
        (tensor,) = found.tensors
        assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype)
        assert array.nbytes == tensor.nbytes == sum(storage.nbytes for storage in found.storages.values())


@settings(deadline=None, max_examples=40)
@given(array=arrays, fortran=st.booleans())
def test_values_are_those_that_torch_would_have(
    array: np.ndarray[Any, Any], fortran: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    array = np.asfortranarray(array) if fortran else array
    native = array.astype(array.dtype.newbyteorder("="))
    torch.save({"w": torch.from_numpy(np.ascontiguousarray(native)).reshape(array.shape)}, folder / "w.pt")
    np.savez(folder / "w.npz", w=array)
    (folder / "w.pkl").write_bytes(pickle.dumps({"w": array}))
    for name in ("w.npz", "w.pkl"):
        found = diff(folder / "w.pt", folder / name)
        assert [] == [entry for entry in found.entries if entry.values], name


def test_one_changed_element_of_an_npz_is_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "old.npz", w=np.zeros(9, ">f4"), same=np.ones(3))
    np.savez(tmp_path / "new.npz", w=np.eye(1, 9, 4, dtype="<f4")[0], same=np.ones(3))
    (entry,) = diff(tmp_path / "old.npz", tmp_path / "new.npz").entries
    assert ("w", 1) == (entry.name, entry.values and entry.values.changed)


def test_compressed_arrays_are_listed_and_said_to_be_not_compared(tmp_path: Path) -> None:
    for name in ("old.npz", "new.npz"):
        np.savez_compressed(tmp_path / name, w=np.zeros(9))
    found = diff(tmp_path / "old.npz", tmp_path / "new.npz")
    assert not found.identical


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "objects": (lambda: npy(np.array([{}], dtype=object)), "of type `|O`"),
    "records": (lambda: npy(np.zeros(2, [("a", "f4"), ("b", "i4")])), "of records"),
    "texts": (lambda: npy(np.array(["a"])), "of type `<U1`"),
    "a short file": (lambda: npy(np.zeros(4))[:-1], "32 bytes, for which the file has 31"),
    "a header that runs something": (
        lambda: b"\x93NUMPY\1\0\x1a\0" + b"__import__('os').getpid()\n" + bytes(9),
        "whose header NumPy did not write",
    ),
    "a deep header": (lambda: b"\x93NUMPY\1\0\x10\x27" + b"(" * 10_000 + bytes(9), "NumPy did not write"),
    "a long header": (lambda: b"\x93NUMPY\2\0\xff\xff\xff\x7f" + b" " * 90_000, "cut short, or longer"),
    "a version from elsewhere": (lambda: b"\x93NUMPY\x09\0\1\0{" + bytes(9), "without its header"),
    "a key that no dict can have": (
        lambda: b"\x93NUMPY\1\0\x08\0" + b"{[]: 1} " + bytes(9),
        "NumPy did not write",
    ),
    "a shape that is a number": (
        lambda: npy(np.zeros(4)).replace(b"(4,)", b"(4) "),
        "NumPy did not write",
    ),
    "a negative size": (
        lambda: npy(np.zeros(4)).replace(b"(4,)", b"(-4,)").replace(b" \n", b"\n"),
        "NumPy did not write",
    ),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_an_array_that_torch_could_not_have_is_refused(make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(make())
    assert says in caught.value.message


def test_what_is_no_array_in_an_npz_is_skipped_by_name(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "mixed.npz"
    path.write_bytes(npz(w=np.ones(2), o=np.array([{}], dtype=object)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    found = read(path.read_bytes())
    assert ["w"] == [tensor.name for tensor in found.tensors]
    assert {"o": True, "readme.txt": False} == {each.what: each.failed for each in found.skipped}


@given(st.data())
def test_an_array_that_is_cut_or_changed_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(npz(a=np.arange(6.0), b=np.eye(2)) if data.draw(st.booleans()) else npy(np.eye(3)))
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole)))
    with suppress(UnreadableError):
        read(bytes(whole[:cut]))


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_of_every_protocol_is_read(protocol: int) -> None:
    found = read(pickle.dumps({"model": {"w": np.eye(2, dtype="f4")}, "__author__": "somebody"}, protocol))
    assert ("pickle", ["w"]) == (found.format, [tensor.name for tensor in found.tensors])
    assert {"numpy"} == {name.partition(".")[0] for name in found.globals} - {"_codecs"}


def test_a_second_pickle_behind_the_first_is_never_passed_over() -> None:
    found = read(pickle.dumps({"w": np.eye(2)}) + pickle.dumps({"v": np.eye(2)}))
    assert [True] == [skipped.failed for skipped in found.skipped]
    assert ["trailing_bytes"] == [anomaly.kind for anomaly in found.anomalies]
