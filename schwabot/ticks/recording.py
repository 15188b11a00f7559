"""Lines of a recording, plain or gzip, as far as it can be read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from schwabot.errors import CorruptFileError

_GZIP = b"\x1f\x8b"
_PACKED_BLOCK = 1 << 16
_PLAIN_BLOCK = 1 << 19


class Recording:
    r"""Reads a file block by block and splits it into lines.

    Whether it is gzip is told from its first bytes, not its name. Members joined end to end are read
    as one file, and what unpacks before a damaged spot is handed on before the error.

    Args:
        path: file to read.

    Example:
        >>> import gzip, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.gz")
        ...     size = path.write_bytes(gzip.compress(b"one\ntwo\n"))
        ...     list(Recording(path).blocks())
        [[b'one', b'two']]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.bytes_read = 0
        self.lines_read = 0

    def blocks(self) -> Iterator[list[bytes]]:
        """Yield lists of complete lines; a last line without an end of line counts as one.

        Raises:
            CorruptFileError: the gzip data ends early, is damaged or fails its checksum.
        """
        rest = b""
        try:
            for data in self._unpacked():
                lines = data.split(b"\n")
                lines[0] = rest + lines[0]
                rest = lines.pop()
                if lines:
                    self.lines_read += len(lines)
                    yield lines
        except CorruptFileError as error:
            lost = f"; half of line {self.lines_read + 1} is lost" if rest else ""
            what = f"{error.what} after line {self.lines_read}{lost}: everything before was read, get a whole copy"
            raise CorruptFileError(what, file=str(self.path), line=self.lines_read + 1) from None
        if rest:
            self.lines_read += 1
            yield [rest]

    def _unpacked(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            packed = file.read(_PACKED_BLOCK)
            if not packed and self.path.suffix == ".gz":
                raise CorruptFileError("the file is empty, not even a gzip header")
            if packed[:2] != _GZIP:
                while packed:
                    self.bytes_read += len(packed)
                    yield packed
                    packed = file.read(_PLAIN_BLOCK)
                return
            self.bytes_read += len(packed)
            unpacker = zlib.decompressobj(wbits=31)
            while True:
                if not packed:
                    packed = file.read(_PACKED_BLOCK)
                    if not packed:
                        break
                    self.bytes_read += len(packed)
                if unpacker.eof:
                    packed = packed.lstrip(b"\0")  # padding between members is allowed
                    if not packed:
                        continue
                    unpacker = zlib.decompressobj(wbits=31)
                before = unpacker.copy()
                try:
                    data = unpacker.decompress(packed)
                except zlib.error as error:
                    yield _until_damage(before, packed)
                    raise CorruptFileError(f"gzip data is damaged ({error})") from None
                yield data
                packed = unpacker.unused_data
            if not unpacker.eof:
                raise CorruptFileError("gzip data ends early")


def _until_damage(unpacker: zlib._Decompress, packed: bytes) -> bytes:
    """Unpack byte by byte: a block with a damaged spot gives nothing when it is unpacked at once."""
    pieces: list[bytes] = []
    for position in range(len(packed)):
        try:
            pieces.append(unpacker.decompress(packed[position : position + 1]))
        except zlib.error:
            break
    return b"".join(pieces)
