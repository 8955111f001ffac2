"""Tar archives: all but the images goes over byte for byte, and in order."""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import IO, NamedTuple

from lgs_cli.errors import ImageError
from lgs_cli.formats import FORMATS
from lgs_cli.storage.archives.archive import Bytes, Member, Part
from lgs_cli.storage.inputs import Selection

_BLOCK = 1 << 20  # bytes


class _Place(NamedTuple):
    """Where the headers of a member begin, where its data does, and its size, in bytes."""

    start: int
    data: int
    size: int

    @property
    def end(self) -> int:
        return self.data + _padded(self.size)


class TarArchive:
    """A tar archive; see :class:`lgs_cli.storage.archives.archive.Archive`.

    Parameters
    ----------
    path : str
        The file. It is not compressed.
    selection : Selection
        Which members are taken for images.
    format : str or None
        A name of ``FORMATS`` that all images will get; None keeps each one's own.

    Raises
    ------
    ImageError
        If it is no tar archive, or a damaged one: then its members after the damage would be lost
        without anybody's knowing.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: str, selection: Selection, format: str | None) -> None:
        self._file = open(path, "rb")
        self._places: list[_Place] = []
        self._size = os.fstat(self._file.fileno()).st_size
        try:
            found = list(self._find(selection))
            self._check_end()
        except BaseException:
            self._file.close()
            raise
        taken = Counter(self._names)
        self.members: list[Member] = []
        for info, part in zip(found, self._parts, strict=True):
            new_name = _renamed(info.name, format)
            if new_name != info.name:
                taken[new_name] += 1
            problem = None
            if part is None:
                problem = "a link or a sparse file in the archive: left out"
            elif new_name != info.name and taken[new_name] > 1:
                problem = f"the archive holds another {new_name}"
            self.members.append(Member(info.name, new_name, problem))
        self._infos = found

    def _find(self, selection: Selection) -> Iterator[tarfile.TarInfo]:
        """Find the images; note where they are, the names of all members, and where all ends."""
        self._names: list[str] = []
        self._end = 0
        # Where the data of each image is: that of a hard link, where it was first.
        self._parts: list[Part | None] = []
        parts: dict[str, Part | None] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                self._encoding = tar.encoding
                while (info := tar.next()) is not None:
                    vars(tar)["members"] = []  # it would remember them all
                    self._names.append(info.name)
                    # A hard link has no data, whatever size it says.
                    size = 0 if info.islnk() else info.size
                    place = _Place(info.offset, info.offset_data, size)
                    self._end = tar.offset
                    part = None
                    if info.islnk():
                        part = parts.get(info.linkname)
                    elif info.isreg() and not info.issparse():
                        part = Part(place.data, size)
                    parts[info.name] = part
                    named = os.path.basename(info.name)
                    if info.isdir() or named.startswith(".") or not selection.takes(info.name):
                        continue
                    self._places.append(place)
                    self._parts.append(part)
                    yield info
        except tarfile.TarError as error:
            raise ImageError(f"a damaged tar archive: {error}") from error

    def _check_end(self) -> None:
        if self._end > self._size:
            raise ImageError("a damaged tar archive: cut short")
        self._file.seek(self._end)
        while block := self._file.read(_BLOCK):
            if block.count(0) < len(block):
                raise ImageError(
                    "a damaged tar archive, or several in one file: there is more after its end"
                )

    def image(self, index: int) -> Part:
        """Say where an image lies."""
        part = self._parts[index]
        assert part is not None
        return part

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(size)
        if len(data) < size:
            raise ImageError("the archive was cut short while it was read")
        return data

    def rewrite(self, file: IO[bytes], cleaned: Bytes) -> None:
        """Write an archive like this one, but with other images in it."""
        done = 0
        for index, place in enumerate(self._places):
            self._copy(done, place.start, file)
            data = cleaned(index)
            if data is not None:
                file.write(self._header(index, len(data)))
                file.write(data)
                file.write(bytes(_padded(len(data)) - len(data)))
            done = place.end
        self._copy(done, self._end, file)
        _write_end(file)

    def _header(self, index: int, size: int) -> bytes:
        """Give the headers of an image, changed in nothing but size and name."""
        place, info, member = self._places[index], self._infos[index], self.members[index]
        simple = "size" not in info.pax_headers and size < 8**11 and not info.islnk()
        if member.new_name == info.name and simple:
            blocks = bytearray(self._read(place.start, place.data - place.start))
            header = memoryview(blocks)[-tarfile.BLOCKSIZE :]
            header[124:136] = b"%011o\0" % size
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            return bytes(blocks)
        changed = tarfile.TarInfo(member.new_name)
        for name in ("mode", "uid", "gid", "uname", "gname", "mtime"):
            setattr(changed, name, getattr(info, name))
        changed.size = size
        replaced = ("path", "size", "linkpath")
        changed.pax_headers = {k: v for k, v in info.pax_headers.items() if k not in replaced}
        return changed.tobuf(tarfile.PAX_FORMAT, self._encoding, "surrogateescape")

    def _copy(self, start: int, end: int, file: IO[bytes]) -> None:
        while start < end:
            data = self._read(start, min(_BLOCK, end - start))
            file.write(data)
            start += len(data)

    def write_masks(self, file: IO[bytes], masks: Bytes) -> None:
        """Write an archive of pictures of masks, under the names of the images."""
        used: set[str] = set()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for index, info in enumerate(self._infos):
                data = masks(index)
                if data is None:
                    continue
                name = os.path.splitext(info.name)[0] + ".png"
                if name in used:
                    name = info.name + ".png"
                used.add(name)
                mask = tarfile.TarInfo(name)
                mask.size, mask.mtime, mask.mode = len(data), info.mtime, info.mode
                tar.addfile(mask, io.BytesIO(data))
                vars(tar)["members"] = []  # it would remember them all

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _renamed(name: str, format: str | None) -> str:
    stem, suffix = os.path.splitext(name)
    if format is None or suffix.lower() in FORMATS[format].suffixes:
        return name
    return stem + FORMATS[format].suffixes[0]


def _write_end(file: IO[bytes]) -> None:
    """End an archive as tar does: with two empty blocks, and full records."""
    file.write(bytes(2 * tarfile.BLOCKSIZE))
    file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
