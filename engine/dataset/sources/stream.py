"""The bytes of one source as its readers need them: counted, decompressed, and as UTF-8 where the text is UTF-16."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, TypeVar

from engine.dataset.record import MAX_ROW
from engine.dataset.sources.errors import first_line
from engine.dataset.sources.place import Place
from engine.protocol.errors import InputError

HEAD = 3 * MAX_ROW
"""Bytes that are held of a stream, so that its start can be looked at before it is read."""

COMPRESSIONS = {b"\x1f\x8b": "gzip", b"(\xb5/\xfd": "Zstandard", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
"""How compressed data starts, and what it is called."""

REFUSED = {
    b"PK\x03\x04": ("a zip archive (or an Excel workbook)", "unpack it, or save the workbook as CSV"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it"),
    b"Rar!": ("a rar archive", "unpack it"),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "decompress it first"),
    b"SQLite format 3\0": ("an SQLite database", "write its table as CSV or JSON"),
    b"Obj\x01": ("an Avro file", "convert it to Parquet or JSONL"),
    b"ORC": ("an ORC file", "convert it to Parquet or JSONL"),
    b"FEA1": ("a Feather file of version 1", "convert it to Parquet"),
    b"%PDF": ("a PDF file", "export the data as JSONL, JSON, CSV or Parquet"),
}
"""What is not read though it may hold data: how it starts, what it is, and what to do."""


_Kind = TypeVar("_Kind")


class Stream:
    """An opened source: `text` are its bytes, decompressed; `head` is their start.

    `raw` is the file itself, which seeks, and None where the source is compressed or a pipe. Close it after use.
    """

    def __init__(self, place: Place, count: Callable[[int], None]) -> None:
        self.place = place
        self._counted = _Counted(place, count)
        self.text: io.BufferedReader[Any] = io.BufferedReader(self._counted, HEAD)
        try:
            self.raw: IO[bytes] | None = self._counted if place.again else None  # type: ignore[assignment]
            self._decompress()
            self._refuse()
            self._recode()
            self.head = self.text.peek()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.text.close()
        self._counted.close()

    def _decompress(self) -> None:
        kind = _starts(self.text.peek(), COMPRESSIONS)
        if kind is None:
            return
        self.raw = None
        self.text = io.BufferedReader(_Decompressed(self.text, self.place.name, kind), HEAD)
        if _starts(self.text.peek(), COMPRESSIONS):
            raise InputError(f"{self.place.name}: is compressed twice", "decompress it once")

    def _refuse(self) -> None:
        head = self.text.peek()
        tar = ("a tar archive", "unpack it, and name the folder") if head[257:262] == b"ustar" else None
        refused = _starts(head, REFUSED) or tar
        if refused is not None:
            raise InputError(f"{self.place.name}: is {refused[0]}", refused[1])

    def _recode(self) -> None:
        """Step over a byte order mark, and read UTF-16 as UTF-8."""
        head = self.text.peek()[:4]
        if head.startswith(codecs.BOM_UTF8):
            self.text.read(len(codecs.BOM_UTF8))
        elif head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
            self.text = io.BufferedReader(Recoded(self.text, self.place.name, "utf-32"), HEAD)
        elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self.text = io.BufferedReader(Recoded(self.text, self.place.name, "utf-16"), HEAD)


class _Counted(io.RawIOBase):
    """A place's file that reports how many bytes were read; all its failures are InputErrors that name it."""

    def __init__(self, place: Place, count: Callable[[int], None]) -> None:
        self._file = place.open()
        self._place = place
        self._count = count

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._place.again

    def readinto(self, buffer: Any) -> int:
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and (data := self._read(len(view) - filled)):
            view[filled : filled + len(data)] = data
            filled += len(data)
        self._count(filled)
        return filled

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size) or b""
        except Exception as error:  # noqa: BLE001 - a remote file system raises errors of its own
            raise self._place.unreadable(error) from None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed and self._place.closes:
            self._file.close()
        super().close()


class _Decompressed(io.RawIOBase):
    """The content of a compressed stream; damage is an InputError, for the rows behind it are lost."""

    def __init__(self, packed: io.BufferedReader[Any], name: str, kind: str) -> None:
        self._packed = packed
        self._name = name
        self._kind = kind
        self._file = _decompressor(packed, kind)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view, filled = memoryview(buffer).cast("B"), 0
        try:
            while filled < len(view) and (data := self._file.read(len(view) - filled)):
                view[filled : filled + len(data)] = data
                filled += len(data)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, MemoryError) as error:
            reason = f"{self._kind} data that is damaged or cut off: {first_line(error)}"
            raise InputError(f"{self._name}: {reason}", "copy or download it again") from None
        return filled

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()


def _decompressor(packed: io.BufferedReader[Any], kind: str) -> Any:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=packed)
    if kind == "bzip2":
        return bz2.BZ2File(packed)
    if kind == "xz":
        return lzma.LZMAFile(packed)
    import pyarrow as pa  # type: ignore[import-untyped]  # slow to import

    return pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd")


class Recoded(io.RawIOBase):
    """Text in another encoding, as UTF-8. A lone surrogate stays one, so that it costs only its own row."""

    def __init__(self, text: IO[bytes], name: str, encoding: str) -> None:
        self._text = text
        self._name = name
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view):
            if not self._ready and not self._decode():
                break
            part = self._ready[: len(view) - filled]
            view[filled : filled + len(part)] = part
            self._ready = self._ready[len(part) :]
            filled += len(part)
        return filled

    def _decode(self) -> bool:
        while not self._ready:
            data = self._text.read(2**16)
            try:
                self._ready = self._decoder.decode(data, final=not data).encode(errors="surrogatepass")
            except UnicodeDecodeError as error:
                name = self._encoding.upper()
                raise InputError(f"{self._name}: invalid {name}: {error.reason}", "save it as UTF-8") from None
            if not data:
                break
        return bool(self._ready)

    def close(self) -> None:
        if not self.closed:
            self._text.close()
        super().close()


def _starts(head: bytes, kinds: dict[bytes, _Kind]) -> _Kind | None:
    return next((kind for magic, kind in kinds.items() if head.startswith(magic)), None)
