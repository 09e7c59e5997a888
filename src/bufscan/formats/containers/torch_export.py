"""Archives of torch.export (`.pt2`): an exported program, its weights and its constants.

Layouts: `torch/export/pt2_archive` of torch 2.13: `models/<name>.json` has the signature of the program; it says
of every tensor what it is; `data/weights/<name>_weights_config.json` and the like for `constants` say where each
lies. Older archives have the same signature beside whole files of torch.save.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bufscan.bytesource import SliceSource
from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.collecting import Statement, stated_as
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.containers.strict_json import load_json
from bufscan.formats.containers.zip_directory import STORED, ZipDirectory
from bufscan.formats.listing import capped, quoted
from bufscan.formats.pickle.allowance import Allowance
from bufscan.formats.tensors.sizes import is_count, reach_of
from bufscan.inventory import Inventory, Skipped, Storage, Tensor
from bufscan.ties import with_ties

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.formats.containers.zip_directory import Record
    from bufscan.inventory import ForeignName

_MOST_JSON_BYTES = 1 << 28
_FREE_JSON_BYTES = 10_000_000  # a compressed one may be larger than the file, but only so far
_BYTES_PER_OBJECT = 8  # of torch's densest writing, `{"as_int":1},`, a little more than half
_DENSE_BYTES = 1_000_000
_STEPS_PER_FILE = 3000  # what it takes to open one of torch.save in the archive
_MOST_DIMENSIONS = 64

_PARAMETER = Statement("parameter", "torch.export signature: parameter")
_PERSISTENT = Statement("persistent_buffer", "torch.export signature: buffer")
_NON_PERSISTENT = Statement("non_persistent_buffer", "torch.export signature: buffer, not persistent")
_ATTRIBUTE = Statement("unregistered", "torch.export signature: tensor constant", holding="attribute")
_LITERAL = Statement("unregistered", "torch.export: a constant of the code", holding="code_constant")
_UNUSED_PARAMETER = Statement("parameter", "torch.export weights: is_param")
_UNUSED_BUFFER = Statement("persistent_buffer", "torch.export weights: no parameter")
_LIFTED = "lifted_tensor_"  # what torch.export calls a tensor that the code makes of numbers

# ScalarType and Layout of torch/_export/serde/schema.py.
_TYPES = {
    **dict(enumerate(("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"), 1)),
    **dict(enumerate(("complex32", "complex64", "complex128", "bool", "bfloat16"), 9)),
    **dict(enumerate(("uint16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 28)),
    **dict(enumerate(("float8_e8m0fnu", "uint32", "uint64"), 33)),
}
_STRIDED = 7


class _Parameter(msgspec.Struct):
    parameter_name: str


class _Buffer(msgspec.Struct):
    buffer_name: str
    persistent: bool = True


class _Constant(msgspec.Struct):
    tensor_constant_name: str


class _Input(msgspec.Struct):
    parameter: _Parameter | None = None
    buffer: _Buffer | None = None
    tensor_constant: _Constant | None = None


class _Signature(msgspec.Struct):
    input_specs: list[_Input]


class _GraphModule(msgspec.Struct):
    signature: _Signature


class _Program(msgspec.Struct):
    graph_module: _GraphModule


_PROGRAM = msgspec.json.Decoder(_Program)


def is_export(names: list[str]) -> bool:
    """Whether records of these names are those of an exported program."""
    return any(
        "/models/" in name or name.endswith("serialized_exported_program.json") or "/data/aotinductor/" in name
        for name in names
    )


def read_torch_export(
    source: ByteSource, directory: ZipDirectory, anomalies: AnomalyLog, target: str
) -> Inventory:
    """The inventory of an archive that `torch.export.save` wrote.

    Raises:
        UnreadableError: its signature is broken, or it holds compiled code alone.
    """
    return _Archive(source, directory, anomalies, target).read()


class _Archive:
    def __init__(self, source: ByteSource, directory: ZipDirectory, anomalies: AnomalyLog, target: str) -> None:
        self._source = source
        self._directory = directory
        self._anomalies = anomalies
        self._target = target
        self._records = {record.name: record for record in directory.records.values()}
        self._most_json = min(_MOST_JSON_BYTES, max(_FREE_JSON_BYTES, source.size))
        # Records may share their bytes, and entries their records: what is at one place is read once.
        self._embedded_at: dict[int, Inventory | str] = {}
        self._claimed: set[int] = set()
        self._allowance = Allowance(source.size)
        self._byteorder: Literal["little", "big"] = "big" if self._text("byteorder") == b"big" else "little"
        self._tensors: list[Tensor] = []
        self._storages: dict[str, Storage] = {}
        self._skipped: list[Skipped] = []
        self._foreign: list[ForeignName] = []

    def _text(self, name: str) -> bytes:
        """The contents of one of the small records; nothing where there is none."""
        found = next((each for path, each in self._records.items() if path.endswith(f"/{name}")), None)
        return b"" if found is None else self._directory.read(found, limit=64).strip()

    def read(self) -> Inventory:
        programs = {
            record.header: name
            for name, record in self._records.items()
            if name.endswith("serialized_exported_program.json")
            or ("/models/" in f"/{name}" and name.endswith(".json"))
        }
        if not programs:
            raise UnreadableError(
                "an AOTInductor package (.pt2): compiled code, whose weights have neither names nor roles",
                hint="bufscan reads the exported program that it was made from",
            )
        for program in programs.values():
            self._read_program(program, section="" if len(programs) == 1 else _stem(program))
        self._search_inputs()
        return Inventory(
            target=self._target,
            format="torch-export",
            tensors=tuple(with_ties(self._tensors)),
            storages=self._storages,
            foreign_names=tuple(self._foreign),
            anomalies=self._anomalies.anomalies(),
            skipped=capped(self._skipped),
        )

    def _read_program(self, name: str, section: str) -> None:
        stated = self._signature(self._records[name])
        top, _, _ = name.rpartition("serialized_exported_program.json" if "serialized_" in name else "models/")
        stem = _stem(name)
        found = False
        for kind in ("weights", "constants"):
            folder = f"{top}data/{kind}/"
            if (config := self._claim(f"{folder}{stem}_{kind}_config.json")) is not None:
                self._read_config(config, folder, kind, stated, section)
                found = True
                continue
            older = "serialized_state_dict" if kind == "weights" else "serialized_constants"
            for path in (f"{folder}{stem}.pt", f"{top}{older}.pt"):
                if (record := self._claim(path)) is not None:
                    self._read_saved(record, kind, stated, section)
                    found = True
        if not found:
            self._skipped.append(Skipped(what=name, reason="the archive has no weights for it", failed=True))

    def _claim(self, name: str) -> Record | None:
        """The record of that name, which belongs to one program: for a second one it is not there."""
        record = self._records.get(name)
        if record is None or record.header in self._claimed:
            return None
        self._claimed.add(record.header)
        return record

    def _search_inputs(self) -> None:
        """Find what the saved example inputs name: they are pickles, too."""
        for name, record in self._records.items():
            if name.endswith(".pt") and ("/sample_inputs/" in name or "example_inputs" in name):
                try:
                    self._embedded(record, keep=False)
                except UnreadableError as error:
                    self._skipped.append(Skipped(what=name, reason=error.message, failed=True))

    def _signature(self, record: Record) -> dict[str, Statement]:
        """What each tensor is, by its name."""
        data = self._directory.read(record, limit=self._most_json)
        if data.count(b"{") * _BYTES_PER_OBJECT > len(data) > _DENSE_BYTES:
            raise UnreadableError(f"{quoted(record.name)} is denser than the JSON of an exported program")
        try:
            specs = _PROGRAM.decode(data).graph_module.signature.input_specs
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UnreadableError(f"{quoted(record.name)} is not the JSON of an exported program") from None
        stated: dict[str, Statement] = {}
        for spec in specs:
            if spec.parameter is not None:
                stated[spec.parameter.parameter_name] = _PARAMETER
            elif spec.buffer is not None:
                stated[spec.buffer.buffer_name] = _PERSISTENT if spec.buffer.persistent else _NON_PERSISTENT
            elif spec.tensor_constant is not None:
                name = spec.tensor_constant.tensor_constant_name
                stated[name] = _LITERAL if name.startswith(_LIFTED) else _ATTRIBUTE
        return stated

    def _read_config(
        self, record: Record, folder: str, kind: str, stated: dict[str, Statement], section: str
    ) -> None:
        what = f"`{record.name}`"
        entries = load_json(self._directory.read(record, limit=self._most_json), what=what)
        entries = entries.get("config") if isinstance(entries, dict) else None
        if not isinstance(entries, dict):
            raise UnreadableError(f"{what} does not say where the tensors lie")
        for name, entry in entries.items():
            statement = stated.get(name) or _unused(name, entry, kind)
            try:
                self._read_entry(name, entry, folder, statement, section)
            except UnreadableError as error:
                self._skipped.append(Skipped(what=f"tensor {name}", reason=error.message, failed=True))

    def _read_entry(self, name: str, entry: Any, folder: str, statement: Statement, section: str) -> None:
        path = entry.get("path_name") if isinstance(entry, dict) else None
        record = self._records.get(f"{folder}{path}") if isinstance(path, str) else None
        if record is None:
            raise UnreadableError("the archive does not hold it")
        if entry.get("use_pickle"):
            for tensor in self._embedded(record).tensors[:1]:
                self._add(tensor, name, statement, section)
            return
        described = entry.get("tensor_meta")
        if not isinstance(described, dict):  # such as a script object
            self._skipped.append(Skipped(what=name, reason="an entry that is no tensor"))
            return
        tensor = _tensor_of(described, record.name, record.size)
        offset = self._directory.data_offset(record) if record.method == STORED else None
        self._storages[record.name] = Storage(
            key=record.name, nbytes=record.size, offset=offset, byteorder=self._byteorder
        )
        self._add(tensor, name, statement, section)

    def _read_saved(self, record: Record, kind: str, stated: dict[str, Statement], section: str) -> None:
        """A whole file of torch.save in the archive: a dict of tensors by their names."""
        inventory = self._embedded(record)
        self._skipped += inventory.skipped
        for tensor in inventory.tensors:
            name = tensor.path
            exact = tensor.certainty == "exact" and name not in stated
            found = Statement(tensor.role, tensor.evidence) if exact else stated.get(name)
            self._add(tensor, name, found or (_UNUSED_BUFFER if kind == "weights" else _LITERAL), section)

    def _embedded(self, record: Record, *, keep: bool = True) -> Inventory:
        """The inventory of a file of torch.save in the archive; its storages lie where they are in the whole.

        `keep`: whether these are among the archive's.

        Raises:
            UnreadableError: it is none, or broken.
        """
        found = self._embedded_at.get(record.header)
        if found is None:
            try:
                found = self._read_embedded(record, keep=keep)
            except UnreadableError as error:
                found = error.message
            self._embedded_at[record.header] = found
        if isinstance(found, str):
            raise UnreadableError(found)
        return found

    def _read_embedded(self, record: Record, *, keep: bool) -> Inventory:
        from bufscan.formats.containers.torch_zip import Archive

        if record.method != STORED:
            raise UnreadableError(f"record {quoted(record.name)} is compressed")
        self._allowance.look_at(_STEPS_PER_FILE)
        start = self._directory.data_offset(record)
        source, anomalies = SliceSource(self._source, start, record.size, record.name), AnomalyLog()
        # A plain checkpoint, and none of the other archives, in which there could be further ones without end.
        archive = Archive(ZipDirectory(source, anomalies), anomalies, source.size, self._target)
        inventory = archive.read(plain=False, allowance=self._allowance)
        self._foreign += inventory.foreign_names
        for name_in_file, storage in inventory.storages.items() if keep else ():
            offset = None if storage.offset is None else storage.offset + start
            name = f"{record.name}:{name_in_file}"
            self._storages[name] = msgspec.structs.replace(storage, key=name, offset=offset)
        tensors = []
        for tensor in inventory.tensors:
            parts = tuple(
                msgspec.structs.replace(part, storage=part.storage and f"{record.name}:{part.storage}")
                for part in tensor.parts
            )
            key = None if tensor.storage is None else f"{record.name}:{tensor.storage}"
            tensors.append(msgspec.structs.replace(tensor, storage=key, parts=parts))
        return msgspec.structs.replace(inventory, tensors=tuple(tensors))

    def _add(self, tensor: Tensor, name: str, statement: Statement, section: str) -> None:
        named = msgspec.structs.replace(tensor, name=name, section=section, alias_of=None)
        self._tensors.append(stated_as(named, statement))


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".json")


def _unused(name: str, entry: Any, kind: str) -> Statement:
    """What a tensor is that the program does not use, so that its signature does not say."""
    if kind == "constants":
        return _LITERAL if name.startswith(_LIFTED) else _ATTRIBUTE
    is_parameter = isinstance(entry, dict) and entry.get("is_param") is True
    return _UNUSED_PARAMETER if is_parameter else _UNUSED_BUFFER


def _tensor_of(described: dict[str, Any], key: str, nbytes: int) -> Tensor:
    """The record of a tensor whose elements are all of a storage.

    Raises:
        UnreadableError: it is not described as torch describes one, or reaches beyond the storage.
    """
    code = described.get("dtype")
    dtype = _TYPES.get(code) if type(code) is int else None
    shape, stride = (_integers(described.get(field)) for field in ("sizes", "strides"))
    offset = _integer(described.get("storage_offset"))
    grad = described.get("requires_grad")
    if dtype is None or shape is None or stride is None or offset is None or described.get("layout") != _STRIDED:
        raise UnreadableError("it is not described as torch describes a strided tensor")
    if len(shape) != len(stride) or max(len(shape), 0) > _MOST_DIMENSIONS:
        raise UnreadableError("its sizes and strides do not fit together")
    end = 0 if 0 in shape else offset + reach_of(shape, stride) + 1
    if DTYPES[dtype].nbytes(end) > nbytes:
        raise UnreadableError(f"it reaches beyond the {nbytes:,} bytes of its storage")
    return Tensor(
        name="",
        shape=shape,
        dtype=dtype,
        device=_device(described.get("device")),
        stride=stride,
        storage=key,
        storage_offset=offset,
        stored_bytes=nbytes,
        requires_grad=grad if type(grad) is bool else None,
    )


def _integers(value: Any) -> tuple[int, ...] | None:
    found = [_integer(each) for each in value] if isinstance(value, list) else [None]
    return None if None in found else tuple(each for each in found if each is not None)


def _integer(value: Any) -> int | None:
    """`{"as_int": 3}`."""
    number = value.get("as_int") if isinstance(value, dict) else None
    return number if is_count(number) else None


def _device(value: Any) -> str | None:
    kind, index = (value.get("type"), value.get("index")) if isinstance(value, dict) else (None, None)
    if not isinstance(kind, str) or len(kind) > 64:  # noqa: PLR2004 - no device is called so
        return None
    return f"{kind}:{index}" if is_count(index) else kind
