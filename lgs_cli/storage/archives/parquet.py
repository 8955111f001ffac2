"""Parquet tables with a column of images: row groups and all other columns stay."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from lgs_cli.errors import ImageError, MissingExtraError, UsageError
from lgs_cli.storage.archives.archive import Bytes, Member, MissingImageError

if TYPE_CHECKING:
    import pyarrow


def require_pyarrow() -> None:
    """Raise MissingExtraError if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("a Parquet file", "pyarrow", "parquet") from None


class ParquetArchive:
    """A table with an image a row; see :class:`lgs_cli.storage.archives.archive.Archive`.

    A row group is held in memory at a time.

    Parameters
    ----------
    file : str or file
        The file; if it is open, it is closed with the archive.
    column : str or None
        The column of encoded images: of type binary, or a struct with a field ``bytes`` of that
        type, as Hugging Face writes it. None takes the only such column, or else ``image``.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    UsageError
        If there is no such column, or it is not clear which is meant.
    ImageError
        If it is no Parquet file, or a damaged one.
    """

    def __init__(self, file: str | IO[bytes], column: str | None) -> None:
        require_pyarrow()
        import pyarrow.compute
        import pyarrow.parquet

        self._arrow = pyarrow
        try:
            self._file = pyarrow.parquet.ParquetFile(file)
        except pyarrow.ArrowException as error:
            raise ImageError(_reason(error)) from error
        self._schema = self._file.schema_arrow
        self._column = _image_column(self._schema, column)
        meta = self._file.metadata
        rows = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        self._starts = [sum(rows[:group]) for group in range(len(rows))]
        names = [f"row {row}" for row in range(sum(rows))]
        self.members = [Member(name, name) for name in names]
        self._group = -1
        self._images: list[bytes | None] = []
        self._paths: list[str | None] = []

    def image(self, index: int) -> bytes | None:
        """Read the image of a row; None if it has none."""
        group = max(g for g, start in enumerate(self._starts) if start <= index)
        if group != self._group:
            try:
                table = self._file.read_row_group(group, [self._column], use_threads=False)
            except self._arrow.ArrowException as error:
                raise ImageError(_reason(error)) from error
            self._group = group
            self._keep(table[self._column])
        row = index - self._starts[group]
        image: bytes | None = self._images[row]
        if image is None and self._paths[row] is not None:
            raise MissingImageError("the table has its path only, and not its bytes")
        return image

    def _keep(self, column: pyarrow.ChunkedArray) -> None:
        """Keep the images of a row group, and the paths that stand beside them."""
        self._paths = [None] * len(column)
        if self._arrow.types.is_struct(column.type):
            struct_field = self._arrow.compute.struct_field
            if column.type.get_field_index("path") >= 0:
                self._paths = struct_field(column, "path").to_pylist()
            column = struct_field(column, "bytes")
        self._images = column.to_pylist()

    def rewrite(self, file: IO[bytes], cleaned: Bytes) -> None:
        """Write a table like this one, but with other images in it."""
        self._images = []
        try:
            with self._arrow.parquet.ParquetWriter(
                file, self._schema, **_coding(self._file.metadata)
            ) as writer:
                for group, start in enumerate(self._starts):
                    table = self._file.read_row_group(group, use_threads=False)
                    place = self._schema.get_field_index(self._column)
                    column = self._changed(table.column(place), start, cleaned)
                    table = table.set_column(place, self._schema.field(place), column)
                    writer.write_table(table, row_group_size=max(table.num_rows, 1))
        except self._arrow.ArrowException as error:
            raise ImageError(_reason(error)) from error

    def _changed(
        self, column: pyarrow.ChunkedArray, start: int, cleaned: Bytes
    ) -> pyarrow.ChunkedArray:
        field = self._schema.field(self._column)
        nested = self._arrow.types.is_struct(field.type)
        of_bytes = field.type.field("bytes") if nested else field
        empty = None if of_bytes.nullable else b""
        chunks = []
        for chunk in column.chunks:
            images: list[bytes | None] = []
            had_one = (chunk.field("bytes") if nested else chunk).is_valid()
            for row, present in enumerate(had_one.to_pylist(), start):
                data = cleaned(row) if present else None
                images.append(data if data is not None or not present else empty)
            start += len(chunk)
            array = self._arrow.array(images, of_bytes.type)
            if nested:
                fields = list(chunk.type)
                parts = [array if f.name == "bytes" else chunk.field(f.name) for f in fields]
                mask = chunk.is_null()
                array = self._arrow.StructArray.from_arrays(parts, fields=fields, mask=mask)
            chunks.append(array)
        return self._arrow.chunked_array(chunks, field.type)

    def write_masks(self, file: IO[bytes], masks: Bytes) -> None:
        """Refuse: a table has no names for them."""
        raise UsageError("--masks is for images and tar archives, and not for Parquet files")

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)


def _image_column(schema: pyarrow.Schema, wanted: str | None) -> str:
    from pyarrow import types

    def is_binary(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def holds_images(field: pyarrow.Field) -> bool:
        if types.is_struct(field.type):
            place = field.type.get_field_index("bytes")
            return place >= 0 and is_binary(field.type.field(place).type)
        return is_binary(field.type)

    found = [field.name for field in schema if holds_images(field)]
    if wanted is not None:
        if wanted not in found:
            raise UsageError(f"no column {wanted!r} of images; there are {found}")
        return wanted
    if len(found) == 1 or "image" in found:
        return "image" if "image" in found else found[0]
    if not found:
        raise UsageError("no column of images (binary, or a struct with a field 'bytes')")
    raise UsageError(f"which column holds the images? --image-column NAME of {found}")


def _coding(meta: Any) -> dict[str, Any]:
    """Say how the columns are compressed, as the writer takes it."""
    if meta.num_row_groups == 0:
        return {}
    group = meta.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return {
        "compression": {
            column.path_in_schema: column.compression
            if column.compression != "UNCOMPRESSED"
            else "NONE"
            for column in columns
        },
        "use_dictionary": [
            column.path_in_schema
            for column in columns
            if any("DICTIONARY" in encoding for encoding in column.encodings)
        ],
        "sorting_columns": group.sorting_columns or None,
    }


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())
