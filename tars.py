"""A gzipped tar archive, read from its first byte to its last in bounded memory.

tarfile does not serve here: it reads extended headers whole, however long they are, searches them
with regular expressions that take quadratic time in older Pythons, and stops at the first zeros.
"""

from __future__ import annotations

import io
import posixpath
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from extrapypi.core_metadata import shown
from extrapypi.errors import InvalidUpload
from extrapypi.limits import CHUNK, MAX_MEMBERS, UNSAFE, Tally, check_name, check_size

MAX_EXTENDED = 2**20  # bytes of one header that extends the next one
MAX_EXTENDED_TOTAL = 16 * 2**20  # bytes of all of them
MAX_HEADERS = 3 * MAX_MEMBERS  # those for long names and pax records included

BLOCK = 512  # bytes, the unit of tar
FILES, HARDLINK, SYMLINK, DIRECTORY = (b"0", b"\0", b"7"), b"1", b"2", b"5"
LONG_NAMES = {b"L": b"path", b"K": b"linkpath"}  # GNU headers and what they say of the next one
PAX, PAX_GLOBAL = (b"x", b"X"), b"g"
PAX_RECORD = re.compile(rb"([1-9][0-9]{0,7}) ([^=\n]+)=")


class TarMember(NamedTuple):
    """A member of a tar archive; links have their target."""

    name: str
    kind: bytes
    size: int
    target: str


def refuse_tar(stream: BinaryIO) -> None:
    """Refuses a zip file that starts as a tar archive."""
    stream.seek(0)
    start = stream.read(BLOCK)
    if len(start) == BLOCK and sums_up(start):
        raise InvalidUpload("The file is a tar archive too; the name says zip.")


def check_link(member: TarMember, top: str) -> None:
    """Refuses a link to what is outside the sdist."""
    if member.kind not in (HARDLINK, SYMLINK):
        return
    start = posixpath.dirname(member.name) if member.kind == SYMLINK else ""
    target = posixpath.normpath(posixpath.join(start, member.target))
    if UNSAFE.search(member.target) or target.split("/")[0] != top:
        raise InvalidUpload(
            f"The link {shown(member.name)} points to {shown(member.target)}, outside the sdist."
        )


class Gunzip:
    """The content of a gzip file from first to last byte, in bounded memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self.tally = Tally(stream.seek(0, io.SEEK_END))
        stream.seek(0)
        self.stream = stream
        self.inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.buffer = bytearray()
        self.position = 0  # in the content

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end; ``size`` is the caller's to bound."""
        while len(self.buffer) < size and not self.inflate.eof:
            self.fill()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.position += len(data)
        return data

    def fill(self) -> None:
        """Unpacks one more step into the buffer."""
        packed = self.inflate.unconsumed_tail or self.stream.read(CHUNK)
        content = self.inflate.decompress(packed, CHUNK)
        if not packed and not content and not self.inflate.eof:
            raise InvalidUpload("The file is cut off: the gzip data goes on.")
        self.tally.add_bytes(len(content))
        self.buffer += content
        if self.inflate.eof:
            self.check_end()

    def check_end(self) -> None:
        """Refuses what follows the gzip data but zeros, with which some tools fill up."""
        rest = self.inflate.unused_data or self.stream.read(CHUNK)
        while rest:
            if rest.strip(b"\0"):
                raise InvalidUpload("Something follows the gzip data; it must end the file.")
            rest = self.stream.read(CHUNK)

    def exactly(self, size: int) -> bytes:
        """The next bytes; content that ends before is refused."""
        made = io.BytesIO()
        while made.tell() < size:
            piece = self.read(min(CHUNK, size - made.tell()))
            if not piece:
                raise InvalidUpload("The tar archive is cut off.")
            made.write(piece)
        return made.getvalue()

    def skip_to(self, position: int) -> None:
        """Passes over the content up to this position."""
        while self.position < position:
            self.exactly(min(CHUNK, position - self.position))


def tar_members(source: Gunzip) -> Iterator[TarMember]:
    """The members of a tar archive; the caller may read the content of each from ``source``.

    Leading "./" is taken off. After the last member nothing but zeros may follow.
    """
    headers = extended = 0
    changes: dict[bytes, bytes] = {}
    while (header := source.read(BLOCK)).strip(b"\0"):
        headers += 1
        if headers > MAX_HEADERS:
            raise InvalidUpload(f"The tar archive has more than {MAX_HEADERS} headers.")
        member = tar_member(header, changes)
        start = source.position
        if member.kind in (*LONG_NAMES, *PAX, PAX_GLOBAL):
            extended += member.size
            check_size("A tar header", member.size, MAX_EXTENDED)
            check_size("All tar headers", extended, MAX_EXTENDED_TOTAL)
            more = extension(member.kind, source.exactly(member.size))
            if more.keys() & changes.keys():  # of which some readers take the first, some the last
                raise InvalidUpload("Headers of the tar archive name one member twice.")
            changes |= more
        else:
            changes = {}
            if member.name not in ("", "."):
                if member.kind != DIRECTORY:  # one of those may come again
                    source.tally.add_name(member.name.encode("utf-8", "surrogateescape"))
                yield member
        source.skip_to(start + -(-member.size // BLOCK) * BLOCK)
    check_rest(source)


def check_rest(source: Gunzip) -> None:
    """Refuses what follows the last member but zeros; reads to the end, where the checksum is."""
    while rest := source.read(CHUNK):
        if rest.strip(b"\0"):
            raise InvalidUpload("Something follows the end of the tar archive.")


def tar_member(header: bytes, changes: dict[bytes, bytes]) -> TarMember:
    """The member that a header block describes, with what headers before it changed."""
    if not sums_up(header):
        raise InvalidUpload("The tar archive is damaged: a header has the wrong checksum.")
    kind, size = header[156:157], octal(header[124:136])
    if kind in (*LONG_NAMES, *PAX, PAX_GLOBAL):
        return TarMember("", kind, size, "")
    path, prefix = cut(header[:100]), cut(header[345:500])
    name = decoded(changes.get(b"path", prefix + b"/" + path if prefix else path))
    if b"size" in changes:
        size = int(changes[b"size"])
    if kind == b"\0" and name.endswith("/"):
        kind = DIRECTORY  # in archives from before there were types
    if kind not in (*FILES, HARDLINK, SYMLINK, DIRECTORY) or (size and kind not in FILES):
        raise InvalidUpload(
            f"{shown(name)} is of the type {shown(decoded(kind))}; an sdist has files, "
            "directories and links to them, and only files have a size."
        )
    name = name.removeprefix("./")
    if kind == DIRECTORY:
        name = name.removesuffix("/")
    if name not in ("", ".") or kind != DIRECTORY:
        check_name(name)
    return TarMember(name, kind, size, decoded(changes.get(b"linkpath", cut(header[157:257]))))


def extension(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    """What an extended header changes in the next one."""
    if kind in LONG_NAMES:
        return {LONG_NAMES[kind]: cut(data)}
    changes = {
        key: value for key, value in pax_records(data) if key in (*LONG_NAMES.values(), b"size")
    }
    if kind == PAX_GLOBAL and changes:
        raise InvalidUpload("A global tar header gives all members one name or size.")
    if not re.fullmatch(rb"[0-9]{1,18}", changes.get(b"size", b"0")):
        raise InvalidUpload(f"A tar header has the size {shown(decoded(changes[b'size']))}.")
    return changes


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of lines "LENGTH KEY=VALUE"; sparse members are refused by their keys."""
    at = 0
    while at < len(data):
        match = PAX_RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise InvalidUpload("An extended header of the tar archive is damaged.")
        if match[2].startswith(b"GNU.sparse."):
            raise InvalidUpload("The tar archive has a sparse member; none is allowed.")
        yield match[2], data[match.end() : end - 1]
        at = end


def sums_up(header: bytes) -> bool:
    """True if this is a tar header by its checksum, which old programs made of signed bytes."""
    digits = cut(header[148:156]).strip()
    if len(header) < BLOCK or not re.fullmatch(rb"[0-7]+", digits):
        return False
    rest = header[:148] + b" " * 8 + header[156:]
    excess = sum(rest) - int(digits, 8)
    return not excess or excess == 256 * sum(byte > 127 for byte in rest)


def octal(field: bytes) -> int:
    """A number of a tar header: octal digits, or 11 bytes after 0x80 where those do not do."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = cut(field).strip()
    if not re.fullmatch(rb"[0-7]*", digits):
        raise InvalidUpload(f"A tar header has the size {shown(decoded(digits))}.")
    return int(digits or b"0", 8)


def cut(field: bytes) -> bytes:
    """The bytes before the first NUL."""
    return field.partition(b"\0")[0]


def decoded(name: bytes) -> str:
    """The name as text; bytes that are no UTF-8 stay as surrogates."""
    return name.decode("utf-8", "surrogateescape")
