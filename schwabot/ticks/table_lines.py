"""Lines of a table file, plain, gzip or zip, and as bytes for a reader of CSV."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schwabot.errors import CorruptFileError, SchemaError
from schwabot.ticks.recording import Recording


class Lines:
    """Complete lines of a file, plain, gzip or zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: CorruptFileError | None = None
        self._recording: Recording | None = None
        self._share = 0.0

    def progress(self) -> float:
        """Share of the file read so far."""
        if self._recording is None:
            return self._share
        return self._recording.bytes_read / self._recording.size if self._recording.size else 1.0

    def blocks(self) -> Iterator[list[bytes]]:
        """Yield lists of lines; what stops the reading is kept in ``error``."""
        with self.path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        try:
            if zipped:
                yield from self._zipped()
            else:
                self._recording = Recording(self.path)
                yield from self._recording.blocks()
        except CorruptFileError as error:
            self.error = error

    def _zipped(self) -> Iterator[list[bytes]]:
        rest, done, line = b"", 0, 0
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) != 1:
                    names = ", ".join(member.filename for member in members[:5])
                    raise SchemaError(f"holds {len(members)} files, not one: {names}; unpack it", file=str(self.path))
                with archive.open(members[0]) as packed:
                    while data := packed.read(1 << 19):
                        done += len(data)
                        self._share = done / members[0].file_size
                        lines = (rest + data).split(b"\n")
                        rest = lines.pop()
                        line += len(lines)
                        if lines:
                            yield lines
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            what = f"zip data is damaged after line {line} ({error}): get a whole copy"
            raise CorruptFileError(what, file=str(self.path), line=line + 1) from None
        if rest:
            yield [rest]


class Pipe(io.RawIOBase):
    """Hands complete lines to a reader that wants bytes; a line cut by damage is never half read."""

    def __init__(self, lines: Lines) -> None:
        self._blocks = lines.blocks()
        self._left = b""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there are lines."""
        while not self._left:
            lines = next(self._blocks, None)
            if lines is None:
                return 0
            self._left = b"\n".join(lines) + b"\n"
        n = min(len(buffer), len(self._left))
        buffer[:n] = self._left[:n]
        self._left = self._left[n:]
        return n
