"""safetensors files for tests: written by the library from torch tensors, or by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import TensorSpec, serialize

if TYPE_CHECKING:
    import torch


def save(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """What `safetensors.torch.save` gives, which itself needs numpy."""
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in tensors.items()
    }
    return bytes(serialize(specs, metadata=metadata))


def file_of(header: str | bytes, data: int = 0, *, length: int | None = None) -> bytes:
    """A file with this header and so many zeros of data; `length` is what it claims for the header."""
    text = header.encode() if isinstance(header, str) else header
    return (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(data)


def header_of(content: bytes) -> bytes:
    return content[8 : 8 + int.from_bytes(content[:8], "little")]
