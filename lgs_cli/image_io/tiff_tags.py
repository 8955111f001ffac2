"""The directories of a TIFF, or of EXIF, which is one: tags bit for bit, whatever their type.

Values stay in the byte order of the file they come from, and so does the file that is written:
nobody but its maker knows what is in a private tag.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from PIL import TiffTags

from lgs_cli.image_io.limits import require_frames

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD, LONG8 = 1, 2, 3, 4, 5, 7, 13, 16
_SIZES = {
    BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, 6: 1, UNDEFINED: 1, 8: 2, 9: 4, 10: 8,
    11: 4, 12: 8, IFD: 4, LONG8: 8, 17: 8, 18: 8,
}  # fmt: skip
_CODES = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I", IFD: "I", LONG8: "Q", 18: "Q"}

EXIF_IFD, GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965
_DIRECTORIES = {EXIF_IFD: "EXIF", GPS_IFD: "GPS", _INTEROP_IFD: "Interoperability"}
_INSIDE: Mapping[int | None, frozenset[int]] = {
    None: frozenset({EXIF_IFD, GPS_IFD}),
    EXIF_IFD: frozenset({_INTEROP_IFD}),
}
_MAKER_NOTE = 37500
_STRIPS, _STRIP_SIZES = 273, 279


class Structure(NamedTuple):
    """How numbers are stored.

    Attributes
    ----------
    order : {"<", ">"}
        ``"<"`` or ``">"``, as :mod:`struct` has it.
    big : bool
        Whether it is a BigTIFF, with offsets of 64 bits.
    """

    order: Literal["<", ">"] = "<"
    big: bool = False

    def pack(self, kind: int, *values: int) -> bytes:
        """Store numbers as a type of TIFF does."""
        return struct.pack(f"{self.order}{len(values)}{_CODES[kind]}", *values)

    @property
    def header(self) -> struct.Struct:
        """Version and offset of the first directory, behind the two letters of the order."""
        return struct.Struct(self.order + ("HHHQ" if self.big else "HI"))

    @property
    def entry_count(self) -> struct.Struct:
        """The number of entries in a directory."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """Tag, type, count and value of an entry."""
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))

    @property
    def offset(self) -> struct.Struct:
        """A place in the file."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))


class Entry(NamedTuple):
    """One tag.

    Attributes
    ----------
    tag, kind, number : int
        Number, type and number of values, as stored.
    value : bytes
        The values as stored; empty if `directory` has them.
    at : int
        Where in its file the value lay; 0 if it is new.
    directory : tuple of Entry or None
        What a tag that points to a directory of tags points to.
    """

    tag: int
    kind: int
    number: int
    value: bytes
    at: int = 0
    directory: tuple[Entry, ...] | None = None


class Page(NamedTuple):
    """A directory, and the strips of pixels that belong to it, which may be made one by one."""

    entries: Sequence[Entry]
    strips: Iterable[bytes] = ()


def name_of(tag: int) -> str:
    """Call a tag by its name, or by its number if it has none."""
    name = _DIRECTORIES.get(tag) or TiffTags.lookup(tag).name
    return name if name != "unknown" else f"tag {tag}"


# ------------------------------------------------------------------------------------ reading


def read_structure(data: bytes) -> Structure:
    """Tell byte order and kind from the first bytes.

    Raises
    ------
    EOFError
        If they are no TIFF's.
    """
    if data[:2] not in (b"II", b"MM") or len(data) < 8:
        raise EOFError
    structure = Structure("<" if data[:2] == b"II" else ">")
    (version,) = struct.unpack_from(structure.order + "H", data, 2)
    return structure._replace(big=version == 43)


def read_directories(data: bytes, notes: list[str]) -> Iterator[tuple[Entry, ...]]:
    """Yield the directories of a file one after the other; a chain that loops ends there.

    Parameters
    ----------
    data : bytes
        The file.
    notes : list of str
        Gets a line for every tag that cannot be had.

    Raises
    ------
    EOFError
        If a directory lies outside the file, or values overlap so that they are more than it.
    ImageError
        If there are more directories than any honest file has.
    """
    reader = _Reader(data, notes)
    seen: set[int] = set()
    at = reader.first
    while at and at not in seen:
        seen.add(at)
        require_frames(len(seen))
        entries, at = reader.directory(at, None)
        yield entries


class _Reader:
    def __init__(self, data: bytes, notes: list[str]) -> None:
        self._data = data
        self._notes = notes
        self._structure = read_structure(data)
        (*_, self.first) = self._structure.header.unpack_from(data.ljust(18, b"\0"), 2)
        self._values: dict[tuple[int, int], bytes] = {}
        self._left = 2 * len(data)

    def directory(self, at: int, parent: int | None) -> tuple[tuple[Entry, ...], int]:
        """Read a directory and those inside; return it, and where the next one lies."""
        structure = self._structure
        try:
            (count,) = structure.entry_count.unpack_from(self._data, at)
            first = at + structure.entry_count.size
            stop = first + count * structure.entry.size
            (after,) = structure.offset.unpack_from(self._data, stop)
        except (struct.error, OverflowError):
            raise EOFError from None
        found = [self._entry(place, parent) for place in range(first, stop, structure.entry.size)]
        return tuple(entry for entry in found if entry), int(after)

    def _entry(self, place: int, parent: int | None) -> Entry | None:
        structure = self._structure
        tag, kind, count, inline = structure.entry.unpack_from(self._data, place)
        size = _SIZES.get(kind, 0) * count
        at = place + structure.entry.size - len(inline)
        if size > len(inline):
            (at,) = structure.offset.unpack(inline)
        if kind in _SIZES and at + size <= len(self._data):
            entry = Entry(tag, kind, count, self._value(at, size), at)
            if tag not in _INSIDE.get(parent, ()):
                return entry
            with contextlib.suppress(EOFError):
                inside, _ = self.directory(number_of(structure, entry) or len(self._data), tag)
                return entry._replace(value=b"", directory=inside)
        self._notes.append(f"{name_of(tag)} is broken")
        return None

    def _value(self, at: int, size: int) -> bytes:
        if (at, size) not in self._values:
            self._left -= size
            if self._left < 0:
                raise EOFError
            self._values[at, size] = self._data[at : at + size]
        return self._values[at, size]


def number_of(structure: Structure, entry: Entry) -> int:
    """Return the first value of an entry that holds whole numbers; 0 of any other."""
    code = _CODES.get(entry.kind)
    if code is None or entry.kind == RATIONAL or not entry.value:
        return 0
    return int(struct.unpack_from(structure.order + code, entry.value)[0])


# ------------------------------------------------------------------------------------ writing


def new_entry(structure: Structure, tag: int, kind: int, *values: int) -> Entry:
    """Make a tag of whole numbers, or of pairs of them if `kind` is RATIONAL."""
    count = len(values) // 2 if kind == RATIONAL else len(values)
    return Entry(tag, kind, count, structure.pack(kind, *values))


def bytes_entry(tag: int, kind: int, value: bytes) -> Entry:
    """Make a tag of bytes."""
    return Entry(tag, kind, len(value), value)


def write(structure: Structure, pages: Sequence[Page]) -> bytes:
    """Write a file of some pages.

    A maker note stays at the place where it was: many hold offsets from the beginning of the file.

    Parameters
    ----------
    structure : Structure
        The byte order in which all values are.
    pages : sequence of Page
        Their entries must not hold offsets and sizes of strips.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    struct.error
        If it would be larger than its offsets can tell.
    """
    layout = _Layout(structure, [entry for page in pages for entry in page.entries])
    after = None
    for page in reversed(pages):
        after = layout.add_page(page, after)
    return layout.file(after or 0)


class _Layout:
    """A file that is being written, and what lies where in it."""

    def __init__(self, structure: Structure, entries: Sequence[Entry]) -> None:
        self._structure = structure
        self._end = 2 + structure.header.size
        self._file = io.BytesIO()
        self._moved: dict[tuple[int, int], int] = {}  # old place and size of a value, new place
        self._pinned: list[tuple[int, int]] = []
        for entry in sorted(_maker_notes(entries), key=lambda entry: entry.at):
            last = self._pinned[-1][1] if self._pinned else self._end
            if entry.at >= last:
                self._pinned.append((entry.at, entry.at + len(entry.value)))
                self._write(entry.at, entry.value)
                self._moved[entry.at, len(entry.value)] = entry.at

    def add_page(self, page: Page, after: int | None) -> int:
        entries = list(page.entries)
        strips = [(self._place(strip), len(strip)) for strip in page.strips]
        if strips:
            places, sizes = zip(*strips, strict=True)
            kind = LONG8 if self._structure.big else LONG
            entries.append(new_entry(self._structure, _STRIPS, kind, *places))
            entries.append(new_entry(self._structure, _STRIP_SIZES, kind, *sizes))
        return self._add_directory(entries, after or 0)

    def _add_directory(self, entries: Sequence[Entry], after: int) -> int:
        structure = self._structure
        packed = [structure.entry_count.pack(len(entries))]
        for entry in sorted(entries, key=lambda entry: entry.tag):
            kind, number, value = entry.kind, entry.number, entry.value
            if entry.directory is not None:
                kind, number = (LONG8 if structure.big else LONG), 1
                value = structure.offset.pack(self._add_directory(entry.directory, 0))
            if len(value) > structure.offset.size:
                value = structure.offset.pack(self._place_once(value, entry.at))
            packed.append(structure.entry.pack(entry.tag, kind, number, value))
        packed.append(structure.offset.pack(after))
        return self._place(b"".join(packed))

    def _place_once(self, value: bytes, at: int) -> int:
        """Find room for a value that several pages may share."""
        key = at, len(value)
        if not at or key not in self._moved:
            self._moved[key] = self._place(value)
        return self._moved[key]

    def _place(self, piece: bytes) -> int:
        """Find room for a piece, at an even offset."""
        at = self._end + self._end % 2
        for start, stop in self._pinned:
            if at < stop and start < at + len(piece):
                at = stop + stop % 2
        self._write(at, piece)
        self._end = at + len(piece)
        return at

    def file(self, first: int) -> bytes:
        structure = self._structure
        version = (43, 8, 0) if structure.big else (42,)
        letters = b"II" if structure.order == "<" else b"MM"
        self._write(0, letters + structure.header.pack(*version, first))
        return self._file.getvalue()

    def _write(self, at: int, piece: bytes) -> None:
        self._file.seek(at)
        self._file.write(piece)


def _maker_notes(entries: Sequence[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.directory is not None:
            yield from _maker_notes(entry.directory)
        elif entry.tag == _MAKER_NOTE and entry.at and len(entry.value) > 8:
            yield entry
