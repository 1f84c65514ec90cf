"""A zip archive, read by its central directory and checked against its local headers.

No reader may find other members than another one does, so whatever contradicts itself is refused.
zipfile does not serve here: it believes sizes, keeps every member in memory and passes over
contradictions.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from extrapypi.core_metadata import shown
from extrapypi.errors import InvalidUpload
from extrapypi.limits import CHUNK, MAX_MEMBERS, Tally, check_name, check_size, digest, exactly

STORED, DEFLATED = 0, 8
UTF8_NAME, DESCRIPTOR = 0x800, 0x8  # flags: how the name is written, sizes follow the data
SECRET = 0x1 | 0x20 | 0x40 | 0x2000  # flags: encrypted, patched, strongly so, masked
MAX_FIELDS = 4_096  # bytes behind a name; tools need less than 100
WIDE, UNICODE_NAME = 1, 0x7075  # fields behind a name: numbers of zip64, the name once more
UNSET = 2**32 - 1  # of a 32-bit number that stands in a zip64 field
DESCRIPTOR_SIZES = (0, 12, 16, 20, 24)  # bytes; without and with signature, zip64
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
PLACE = struct.Struct(">QQQHH16s")  # of a member in the file; big-endian, so they sort by offset


class ZipMember(NamedTuple):
    """A file of a zip archive as its central directory has it; sizes are claims."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int


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
        tally.add_name(member.name.encode())
        places.append(PLACE.pack(*place, digest(name)))
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

    A Unicode name (field 0x7075) that is another name is refused: some readers prefer it. So are
    two fields of a kind that counts, of which some take the first and some the last.
    """
    if len(extra) > MAX_FIELDS:
        raise InvalidUpload(f"{shown(str(name, 'latin-1'))} has too long fields behind its name.")
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        tag, size = struct.unpack_from("<HH", extra, at)
        if tag in fields and tag in (WIDE, UNICODE_NAME):
            raise InvalidUpload(f"{shown(str(name, 'latin-1'))} has the field {tag:#06x} twice.")
        fields[tag] = extra[at + 4 : at + 4 + size]
        at += 4 + size
    if UNICODE_NAME in fields and fields[UNICODE_NAME][5:] != name:
        raise InvalidUpload(f"{shown(str(name, 'latin-1'))} has a second name.")
    wide = iter(fields.get(WIDE, b"")[at : at + 8] for at in range(0, 24, 8))
    return [
        struct.unpack("<Q", next(wide, b""))[0] if number == UNSET else number for number in numbers
    ]


def check_layout(stream: BinaryIO, places: list[bytes], end: int) -> None:
    """Refuses gaps, overlaps and local headers that contradict the directory.

    Between members a reader that streams would find more than one that uses the directory.
    """
    position = 0
    slack: tuple[int, ...] = (0,)
    for place in sorted(places):
        offset, packed, size, flags, method, mark = PLACE.unpack(place)
        if offset - position not in slack or offset >= end:  # no seek behind the end of all files
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
