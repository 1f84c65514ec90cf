"""Archives that say of themselves what is not so, made byte by byte."""

from __future__ import annotations

import struct
import zlib

from test_archives import INFO, PARTS

from extrapypi.zips import CENTRAL, END, END64, LOCAL, LOCATOR

MIB = 2**20
METADATA = f"{INFO}/METADATA"


def zeros(size: int) -> bytes:
    """The deflate stream of so many zeros, made of that of one MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * (size // MIB) + b"\3\0"


def gzip_of(start: bytes, size: int) -> bytes:
    """A gzip file of these bytes and so many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    begun = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + begun + zeros(size) + bytes(8)


def local(name: str, packed: int, size: int, extra: bytes = b"", crc: int = 0) -> bytes:
    """The header of a deflated member."""
    numbers = (crc, packed, size, len(name), len(extra))
    return LOCAL.pack(b"PK\3\4", 45, 0, 8, 0, 0, *numbers) + name.encode() + extra


def listed(
    name: str, packed: int, size: int, offset: int, extra: bytes = b"", crc: int = 0
) -> bytes:
    """What the directory says of a deflated member."""
    numbers = (crc, packed, size, len(name), len(extra))
    head = CENTRAL.pack(b"PK\1\2", 45, 45, 0, 8, 0, 0, *numbers, 0, 0, 0, 0, offset)
    return head + name.encode() + extra


def ended(body: bytes, *directory: bytes) -> bytes:
    """A zip archive with this directory behind its members."""
    size, count = sum(map(len, directory)), len(directory)
    end64 = END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, len(body))
    locator = LOCATOR.pack(b"PK\6\7", 0, len(body) + size, 1)
    end = END.pack(b"PK\5\6", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, len(body), 0)
    return b"".join((body, *directory, end64, locator, end))


def zip_of(*members: tuple) -> bytes:
    """A zip archive of members that are deflated already: name, data, the size that is claimed.

    A fourth value is the checksum.
    """
    body, directory, offset = [], [], 0
    for name, data, size, *crc in members:
        body += [local(name, len(data), size, b"", *crc), data]
        directory.append(listed(name, len(data), size, offset, b"", *crc))
        offset += len(body[-2]) + len(data)
    return ended(b"".join(body), *directory)


def one_over_the_other() -> bytes:
    """Members that all end where the last one does, each with the next one in its content."""
    body, directory = zeros(MIB), []
    for number in range(60):
        name = f"{number:04}"
        directory.append(listed(name, len(body), MIB, (59 - number) * len(local(name, 0, 0))))
        body = local(name, len(body), MIB) + body
    return ended(body, *reversed(directory))


def behind_the_end(place: int, size: int) -> bytes:
    """A member that says it is so long, and one behind it."""
    extra = struct.pack("<HHQQ", 1, 16, 1, place)
    first = local("a", 2**32 - 1, 2**32 - 1, extra)
    second = struct.pack("<HHQ", 1, 8, len(first) + place)
    return ended(
        first + bytes(size),
        listed("a", 2**32 - 1, 2**32 - 1, 0, extra),
        listed("b", 1, 1, 2**32 - 1, second),
    )


def understated(data: bytes, size: int) -> bytes:
    """A wheel whose METADATA is this deflate stream, and claims to have so many bytes."""
    members = [(METADATA, data, size)]
    for name, text in PARTS.items():
        if name != METADATA:
            raw = text.encode()
            stored = b"\1" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw
            members.append((name, stored, len(raw), zlib.crc32(raw)))
    return zip_of(*members)


def two_ends(wheel: bytes) -> bytes:
    """A wheel with another directory, and its end, in its comment."""
    at = wheel.index(b"PK\1\2")
    directory = wheel[at:-22]
    first = wheel[:-2] + struct.pack("<H", len(directory) + 22)
    place = struct.pack("<LL", len(directory), len(wheel))
    return first + directory + wheel[-22:-10] + place + b"\0\0"
