"""Where a store lies: a folder, or a URI of any file system that pyarrow knows (s3, gs, hdfs, file)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from schwabot.errors import ConfigError


class StorePlace:
    """Reads files below a root. Who may read them is said in the way of the file system, by its environment.

    Args:
        path: folder, or ``s3://bucket/ticks``, ``gs://``, ``hdfs://``, ``file:///``.

    Raises:
        ConfigError: a URI that pyarrow can't use.

    Example:
        >>> StorePlace("outputs/ticks").name("_store.json")
        'outputs/ticks/_store.json'
        >>> StorePlace("nowhere://x/y")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        schwabot.errors.ConfigError: source.path=nowhere://x/y can't be used
    """

    def __init__(self, path: str) -> None:
        self._files: pyarrow.fs.FileSystem | None = None
        self._told = self._root = path
        if "://" in path:
            try:
                self._files, self._root = pyarrow.fs.FileSystem.from_uri(path)
            except (pa.ArrowException, OSError) as error:
                raise ConfigError(f"source.path={path} can't be used: {error}") from error

    def __str__(self) -> str:
        return str(Path(self._told)) if self._files is None else self._told

    def name(self, path: str) -> str:
        """A file's name, as a person would look for it."""
        return str(Path(self._told, path)) if self._files is None else f"{self._told.rstrip('/')}/{path}"

    def text(self, path: str) -> str:
        """What is in a small file."""
        if self._files is None:
            return Path(self._root, path).read_text()
        with self._files.open_input_stream(f"{self._root}/{path}") as file:
            content: bytes = file.read()
        return content.decode()

    @contextmanager
    def parquet(self, path: str) -> Iterator[pq.ParquetFile]:
        """A Parquet file, its checksums verified."""
        # Pre-buffering keeps every column chunk of a whole day until the file is closed.
        options = {"page_checksum_verification": True, "pre_buffer": False}
        if self._files is None:
            with pq.ParquetFile(Path(self._root, path), **options) as parquet:
                yield parquet
        else:
            file = self._files.open_input_file(f"{self._root}/{path}")
            with file, pq.ParquetFile(file, **options) as parquet:
                yield parquet
