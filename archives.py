"""Wheels and sdists as archives: their metadata, read with limits and without unpacking.

Rules: the binary distribution format, PEP 625 and docs/user/archives.md of pypi/warehouse; no
reader may see other members than another one does. zipfile and tarfile do not serve here: they
keep every member in memory, believe the sizes that headers claim and pass over contradictions.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from extrapypi.core_metadata import shown
from extrapypi.errors import InvalidUpload

MAX_MEMBERS = 100_000
MAX_NAME = 4_096  # bytes of a member's name, PATH_MAX of Linux
MAX_METADATA = 8 * 2**20  # bytes of METADATA or PKG-INFO
MAX_WHEEL = 2**16  # bytes of the file WHEEL
MAX_EXTENDED = 2**20  # bytes of one tar header that extends the next one
MAX_EXTENDED_TOTAL = 16 * 2**20  # bytes of all of them
MAX_HEADERS = 3 * MAX_MEMBERS  # of a tar archive, those for long names and pax records included
FREE_RATIO = 64 * 2**20  # bytes that may be packed as tightly as they like
MAX_RATIO = 50  # unpacked to packed bytes above FREE_RATIO
MAX_UNPACKED = 16 * 2**30  # bytes
CHUNK = 2**17  # bytes of a step

STORED, DEFLATED = 0, 8
UTF8_NAME, DESCRIPTOR = 0x800, 0x8  # zip flags: how the name is written, sizes follow the data
SECRET = 0x1 | 0x20 | 0x40 | 0x2000  # zip flags: encrypted, patched, strongly so, masked
UNSET = 2**32 - 1  # of a 32-bit number that stands in a zip64 field
DESCRIPTOR_SIZES = (0, 12, 16, 20, 24)  # bytes; without and with signature, zip64
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
PLACE = struct.Struct(">QQQHH16s")  # of a member in a zip file; big-endian, so they sort by offset

BLOCK = 512  # bytes, the unit of tar
FILES, HARDLINK, SYMLINK, DIRECTORY = (b"0", b"\0", b"7"), b"1", b"2", b"5"
LONG_NAMES = {b"L": b"path", b"K": b"linkpath"}  # GNU headers and what they say of the next one
PAX, PAX_GLOBAL = (b"x", b"X"), b"g"

PAX_RECORD = re.compile(rb"([1-9][0-9]{0,7}) ([^=\n]+)=")

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|^/|^[A-Za-z]:")
DIST_INFO = ".dist-info"
GARBAGE = (zlib.error, struct.error, UnicodeError)  # all that the code below raises on bad bytes


class WheelParts(NamedTuple):
    """What the index wants of a wheel; the bytes are as they lie in it."""

    metadata: bytes
    dist_info: str  # name of the directory
    wheel: bytes


class ZipMember(NamedTuple):
    """A file of a zip archive as its central directory has it; sizes are claims."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class TarMember(NamedTuple):
    """A member of a tar archive; links have their target."""

    name: str
    kind: bytes
    size: int
    target: str


def wheel_parts(stream: BinaryIO) -> WheelParts:
    """METADATA and WHEEL of the wheel in a seekable stream.

    :raises InvalidUpload: if it is no sound wheel; OSError is the disk's.
    """
    with garbage_refused("zip"):
        refuse_tar(stream)
        dist_info, found = "", {}
        for member in zip_members(stream):
            top, _, name = member.name.partition("/")
            if not top.endswith(DIST_INFO):
                continue
            if dist_info not in ("", top):
                raise InvalidUpload(f"The wheel has two {DIST_INFO} directories: one is the rule.")
            dist_info = top
            if name in ("METADATA", "WHEEL", "RECORD"):
                found[name] = member
        for name in ("METADATA", "WHEEL", "RECORD"):
            if name not in found:
                raise InvalidUpload(f"The wheel has no {dist_info or '*' + DIST_INFO}/{name}.")
        wheel = read_member(stream, found["WHEEL"], MAX_WHEEL)
        check_wheel_version(wheel)
        metadata = read_member(stream, found["METADATA"], MAX_METADATA)
        return WheelParts(metadata, dist_info, wheel)


def sdist_pkg_info(stream: BinaryIO, filename: str) -> tuple[str, bytes]:
    """The top directory of the sdist in a seekable stream, and its PKG-INFO.

    :raises InvalidUpload: if it is no sound sdist; OSError is the disk's.
    """
    if filename.endswith(".zip"):
        with garbage_refused("zip"):
            refuse_tar(stream)
            return zip_pkg_info(stream)
    with garbage_refused("tar.gz"):
        refuse_zip(stream)
        return tar_pkg_info(stream)


def zip_pkg_info(stream: BinaryIO) -> tuple[str, bytes]:
    """What :func:`sdist_pkg_info` gives, of a zip archive."""
    top, found = "", None
    for member in zip_members(stream):
        top = single_top(top, member.name, is_directory=member.name.endswith("/"))
        if member.name == f"{top}/PKG-INFO":
            found = member
    if not found:
        raise InvalidUpload(f"The sdist has no {top or '*'}/PKG-INFO.")
    return top, read_member(stream, found, MAX_METADATA)


def tar_pkg_info(stream: BinaryIO) -> tuple[str, bytes]:
    """What :func:`sdist_pkg_info` gives, of a gzipped tar archive."""
    source, top, found = Gunzip(stream), "", None
    for member in tar_members(source):
        top = single_top(top, member.name, is_directory=member.kind == DIRECTORY)
        check_link(member, top)
        if member.name == f"{top}/PKG-INFO" and member.kind in FILES:
            check_size(member.name, member.size, MAX_METADATA)
            found = source.exactly(member.size)
    if found is None:
        raise InvalidUpload(f"The sdist has no {top or '*'}/PKG-INFO.")
    return top, found


@contextmanager
def garbage_refused(kind: str) -> Iterator[None]:
    """What the parsers raise on broken bytes becomes a refusal; an OSError passes through."""
    try:
        yield
    except GARBAGE as error:
        raise InvalidUpload(f"The file is no sound {kind} archive: {error}.") from error


class Tally:
    """What an archive held so far; refuses more than the limits and names used twice."""

    def __init__(self, packed: int) -> None:
        self.allowed = min(MAX_UNPACKED, max(FREE_RATIO, MAX_RATIO * packed))
        self.unpacked = 0
        self.names: set[bytes] = set()

    def add_bytes(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.allowed:
            raise InvalidUpload(
                f"The archive unpacks to more than {self.allowed} bytes; beyond "
                f"{FREE_RATIO} bytes it may be {MAX_RATIO} times the file at most."
            )

    def add_name(self, name: bytes) -> bytes:
        """Digest of the name: 16 bytes, whatever is sent, times MAX_MEMBERS."""
        mark = digest(name)
        if mark in self.names:
            raise InvalidUpload(f"The archive has the name {shown(str(name, 'latin-1'))} twice.")
        self.names.add(mark)
        if len(self.names) > MAX_MEMBERS:
            raise InvalidUpload(f"The archive has more than {MAX_MEMBERS} members.")
        return mark


def digest(name: bytes) -> bytes:
    return hashlib.blake2b(name, digest_size=16).digest()


def check_name(name: str) -> None:
    """Refuses a member that would not stay inside, or that systems would read differently."""
    parts = name.split("/")
    if UNSAFE.search(name) or any(part in ("", ".", "..") for part in parts):
        raise InvalidUpload(
            f"The archive has a member {shown(name)}: names must be relative, without '.', '..' "
            "or empty parts, backslashes, drive letters and control characters."
        )
    if len(name) > MAX_NAME:
        raise InvalidUpload(f"The name {shown(name)} has more than {MAX_NAME} characters.")


def check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise InvalidUpload(f"{shown(name)} has more than {limit} bytes, the most there may be.")


def check_wheel_version(wheel: bytes) -> None:
    """Refuses a wheel of a format that installers do not know."""
    match = re.search(r"(?im)^Wheel-Version:[ \t]*([^\r\n]*)", wheel.decode("utf-8", "replace"))
    version = match[1].strip() if match else ""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})*", version) or int(version.split(".")[0]) > 1:
        raise InvalidUpload(f"Wheel-Version in WHEEL is {shown(version)}; it must be 1.x.")


def single_top(top: str, name: str, is_directory: bool) -> str:
    """The one directory that everything in an sdist lies in."""
    first, slash, _ = name.partition("/")
    if top not in ("", first) or not (slash or is_directory):
        raise InvalidUpload(
            f"The sdist has {shown(name)} beside {shown(top)}; all must lie in one directory."
        )
    return first


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


def exactly(stream: BinaryIO, size: int) -> bytes:
    """The next bytes; a file that ends before is refused."""
    data = stream.read(size)
    if len(data) < size:
        raise InvalidUpload("The file is cut off: the archive says that it goes on.")
    return data


def refuse_tar(stream: BinaryIO) -> None:
    """Refuses a zip file that starts as a tar archive."""
    stream.seek(0)
    start = stream.read(BLOCK)
    if len(start) == BLOCK and sums_up(start):
        raise InvalidUpload("The file is a tar archive too; the name says zip.")


def refuse_zip(stream: BinaryIO) -> None:
    """Refuses a gzip file that ends as a zip archive, as zipfile would find it."""
    length = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, length - END.size - 0xFFFF))
    tail = stream.read()
    for match in re.finditer(rb"PK\x05\x06", tail[: 4 - END.size]):
        at = match.start()
        size = END.unpack_from(tail, at)[5]
        stream.seek(max(0, length - len(tail) + at - size))
        wide = tail[max(0, at - LOCATOR.size) :].startswith(b"PK\6\7")
        if wide or (size and stream.read(4) == b"PK\1\2"):
            raise InvalidUpload("The file is a zip archive too; the name says tar.gz.")


def zip_members(stream: BinaryIO) -> Iterator[ZipMember]:
    """The members of a zip archive; after the last one its layout is checked as well.

    The stream is not the caller's before the end. An entry takes 150 bytes of memory.
    """
    length = stream.seek(0, io.SEEK_END)
    start, size, count = zip_directory(stream, length)
    tally, places = Tally(length), []
    stream.seek(start)
    for _ in range(count):
        member, flags, name = central_entry(stream)
        tally.add_bytes(member.size)
        place = (member.offset, member.packed, member.size, flags, member.method)
        places.append(PLACE.pack(*place, tally.add_name(name)))
        yield member
    if stream.tell() != start + size:
        raise InvalidUpload("The zip archive has another number of members than it says.")
    check_layout(stream, places, start)


def zip_directory(stream: BinaryIO, length: int) -> tuple[int, int, int]:
    """Start, size and number of members of the one central directory; the file ends after it."""
    end, record = end_record(stream, length)
    _, disk, first_disk, count_here, count, size, start, _ = record
    if end >= LOCATOR.size + END64.size:
        stream.seek(end - LOCATOR.size)
        signature, _, offset64, _ = LOCATOR.unpack(exactly(stream, LOCATOR.size))
        if signature == b"PK\6\7":
            end -= LOCATOR.size + END64.size
            stream.seek(end)
            wide = END64.unpack(exactly(stream, END64.size))
            same = wide[0] == b"PK\6\6" and offset64 == end and count in (wide[7], 0xFFFF)
            if not same or size not in (wide[8], UNSET) or start not in (wide[9], UNSET):
                raise InvalidUpload("The two end records of the zip archive contradict each other.")
            disk, first_disk, count_here, count, size, start = wide[4:]
    if disk or first_disk or count_here != count or start + size != end:
        raise InvalidUpload("The zip archive is not one piece: its directory must end the file.")
    if count > MAX_MEMBERS:
        raise InvalidUpload(f"The archive has more than {MAX_MEMBERS} members.")
    return start, size, count


def end_record(stream: BinaryIO, length: int) -> tuple[int, tuple]:
    """Offset and fields of the end record, found where zipfile finds it, its comment the end."""
    stream.seek(max(0, length - END.size - 0xFFFF))
    tail = stream.read()
    for at in (len(tail) - END.size, tail.rfind(b"PK\5\6")):
        if at >= 0 and tail.startswith(b"PK\5\6", at) and len(tail) >= at + END.size:
            record = END.unpack_from(tail, at)
            if at + END.size + record[7] == len(tail):
                return length - len(tail) + at, record
    raise InvalidUpload("The file is no zip archive, or it does not end where the archive does.")


def central_entry(stream: BinaryIO) -> tuple[ZipMember, int, bytes]:
    """A member, its flags and its name as bytes, from the central directory."""
    head = CENTRAL.unpack(exactly(stream, CENTRAL.size))
    signature, _, _, flags, method, _, _, crc, packed, size = head[:10]
    raw, extra = exactly(stream, head[10]), exactly(stream, head[11])
    exactly(stream, head[12])
    if signature != b"PK\1\2":
        raise InvalidUpload("The directory of the zip archive is damaged.")
    name = raw.decode("utf-8" if flags & UTF8_NAME else "cp437")
    check_name(name.removesuffix("/"))
    if flags & SECRET or method not in (STORED, DEFLATED):
        raise InvalidUpload(f"{shown(name)} is encrypted or neither stored nor deflated.")
    if head[15] >> 28 == 0xA:  # a symbolic link by its Unix mode
        raise InvalidUpload(f"{shown(name)} is a link; a zip archive must have files only.")
    size, packed, offset = widened(extra, raw, size, packed, head[16])
    return ZipMember(name, method, crc, packed, size, offset), flags, raw


def widened(extra: bytes, name: bytes, *numbers: int) -> list[int]:
    """The numbers, with those that did not fit taken from the zip64 field.

    A Unicode name (field 0x7075) that is another name is refused: some readers prefer it.
    """
    fields: dict[int, bytes] = {}
    while len(extra) >= 4:
        tag, size = struct.unpack_from("<HH", extra)
        fields.setdefault(tag, extra[4 : 4 + size])
        extra = extra[4 + size :]
    if 0x7075 in fields and fields[0x7075][5:] != name:
        raise InvalidUpload(f"{shown(str(name, 'latin-1'))} has a second name.")
    wide = iter(fields.get(1, b"")[at : at + 8] for at in range(0, 24, 8))
    return [
        struct.unpack("<Q", next(wide, b""))[0] if number == UNSET else number for number in numbers
    ]


def check_layout(stream: BinaryIO, places: list[bytes], end: int) -> None:
    """Refuses gaps, overlaps and local headers that contradict the directory.

    Between members a reader that streams would find more than one that uses the directory.
    """
    position, slack = 0, (0,)
    for place in sorted(places):
        offset, packed, size, flags, method, mark = PLACE.unpack(place)
        if offset - position not in slack:
            break
        stream.seek(offset)
        position = offset + local_size(stream, packed, size, flags, method, mark)
        slack = DESCRIPTOR_SIZES if flags & DESCRIPTOR else (0,)
    else:
        if end - position in slack:
            return
    raise InvalidUpload(
        f"The zip archive has a gap or an overlap at byte {position}; its members must follow "
        "each other from the first byte."
    )


def local_size(
    stream: BinaryIO, packed: int, size: int, flags: int, method: int, mark: bytes
) -> int:
    """Bytes of a member with its local header, which must agree with the directory."""
    head = LOCAL.unpack(exactly(stream, LOCAL.size))
    name, extra = exactly(stream, head[9]), exactly(stream, head[10])
    same = head[0] == b"PK\3\4" and digest(name) == mark and head[3] == method
    same = same and not (head[2] ^ flags) & (SECRET | UTF8_NAME | DESCRIPTOR)
    if same and not flags & DESCRIPTOR:
        same = widened(extra, name, head[8], head[7]) == [size, packed]
    if not same:
        raise InvalidUpload(
            f"The local header of {shown(str(name, 'latin-1'))} and the directory of the zip "
            "archive contradict each other."
        )
    return LOCAL.size + len(name) + len(extra) + packed


def read_member(stream: BinaryIO, member: ZipMember, limit: int) -> bytes:
    """The content of a zip member of at most ``limit`` bytes, whatever it claims."""
    check_size(member.name, member.size, limit)
    stream.seek(member.offset)
    head = LOCAL.unpack(exactly(stream, LOCAL.size))
    stream.seek(head[9] + head[10], io.SEEK_CUR)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
    left, made = member.packed, io.BytesIO()
    while left > 0 and made.tell() <= limit:
        piece = exactly(stream, min(left, CHUNK))
        left -= len(piece)
        made.write(inflate.decompress(piece, limit + 1 - made.tell()) if inflate else piece)
    content = made.getvalue()
    check_size(member.name, len(content), limit)
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise InvalidUpload(f"{shown(member.name)} is damaged: its size or checksum is wrong.")
    return content


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
        packed = self.inflate.unconsumed_tail or self.stream.read(CHUNK)
        content = self.inflate.decompress(packed, CHUNK)
        if not packed and not content and not self.inflate.eof:
            raise InvalidUpload("The file is cut off: the gzip data goes on.")
        self.tally.add_bytes(len(content))
        self.buffer += content
        if self.inflate.eof and (self.inflate.unused_data or self.stream.read(1)):
            raise InvalidUpload("Something follows the gzip data; it must end the file.")

    def exactly(self, size: int) -> bytes:
        made = io.BytesIO()
        while made.tell() < size:
            piece = self.read(min(CHUNK, size - made.tell()))
            if not piece:
                raise InvalidUpload("The tar archive is cut off.")
            made.write(piece)
        return made.getvalue()

    def skip_to(self, position: int) -> None:
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
            changes |= extension(member.kind, source.exactly(member.size))
        else:
            changes = {}
            if member.name not in ("", "."):
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
    return name.decode("utf-8", "surrogateescape")
