"""A sound wheel or sdist gives its metadata; each unsound one is refused, in bounded memory."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from archives_made import WHEEL, metadata_text, sdist_bytes, tar_bytes, wheel_bytes, zip_bytes

from extrapypi.archives import MAX_METADATA, sdist_pkg_info, wheel_parts
from extrapypi.errors import InvalidUpload

INFO = "demo_pkg-1.0.dist-info"
GOOD = wheel_bytes()[1]
TEXT = metadata_text().encode()
END, LOCATOR, END64 = "<4s4H2LH", "<4sLQL", "<4sQ2H2L4Q"
PARTS = {f"{INFO}/METADATA": TEXT, f"{INFO}/WHEEL": WHEEL, f"{INFO}/RECORD": ""}


def refusal(read, *arguments) -> str:
    with pytest.raises(InvalidUpload) as caught:
        read(*arguments)
    (fault,) = caught.value.faults
    return fault


def wheel(*members: tuple[str, bytes], change=None, method=zipfile.ZIP_STORED) -> bytes:
    """A wheel with more members; ``change`` gets the open archive before its end is written."""
    made = io.BytesIO(GOOD)
    with zipfile.ZipFile(made, "a", method) as archive:
        for name, content in members:
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as it is: the constructor tidies up
            archive.writestr(entry, content, method)
        if change:
            archive._didModify = True
            change(archive)
    return made.getvalue()


def changed_entry(**values) -> bytes:
    def change(archive):
        for field, value in values.items():
            setattr(archive.infolist()[0], field, value)

    return wheel(change=change)


def renamed(name: bytes) -> bytes:
    return wheel(("n" * len(name), b"")).replace(b"n" * len(name), name)


def shared_data(archive) -> None:
    """Two entries of the directory for one member."""
    entry = zipfile.ZipInfo("second")
    entry.header_offset = archive.infolist()[0].header_offset
    archive.filelist.append(entry)


def zip64_end(count: int = 1, count64: int = 1, offset64: int = 0) -> bytes:
    """Nothing but the three end records of a zip64 archive."""
    return (
        struct.pack(END64, b"PK\6\6", 44, 45, 45, 0, 0, count64, count64, 0, 0)
        + struct.pack(LOCATOR, b"PK\6\7", 0, offset64, 1)
        + struct.pack(END, b"PK\5\6", 0, 0, count, count, 0, 0, 0)
    )


def starts_as_tar() -> bytes:
    data = bytearray(wheel_bytes(files={"n" * 600: ""})[1])
    data[148:156] = b" " * 8
    data[148:156] = b"%07o " % sum(data[:512])
    return bytes(data)


def second_name() -> bytes:
    """A member with the Unicode name of another (field 0x7075)."""
    entry = zipfile.ZipInfo("a.py")
    entry.extra = struct.pack("<HHBL", 0x7075, 9, 1, zipfile.crc32(b"a.py")) + b"b.py"
    made = io.BytesIO(GOOD)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(entry, b"")
    return made.getvalue()


def understated() -> bytes:
    """METADATA of 9 MiB that says it has 100 bytes, in both its headers."""
    size = 9 * 2**20
    data = zip_bytes({**PARTS, f"{INFO}/METADATA": b"x" * size})
    return data.replace(struct.pack("<L", size), struct.pack("<L", 100))


def without(name: str) -> bytes:
    return zip_bytes({path: text for path, text in PARTS.items() if not path.endswith(name)})


BAD_WHEELS = {
    "empty file": (b"", "no zip archive"),
    "text": (b"this is no wheel\n" * 99, "no zip archive"),
    "tar.gz": (sdist_bytes()[1], "no zip archive"),
    "cut off": (GOOD[:-9], "no zip archive"),
    "data after": (GOOD + b"x", "does not end"),
    "data before": (b"x" + GOOD, "directory must end the file"),
    "two directories": (GOOD + GOOD, "directory must end the file"),
    "gap at the start": (None, "gap or an overlap at byte 0"),
    "unlisted member": (wheel(("a", b"b"), change=lambda z: z.filelist.pop()), "gap or an overlap"),
    "shared data": (wheel(change=shared_data), "gap or an overlap"),
    "tar too": (starts_as_tar(), "tar archive too"),
    "bzip2": (wheel(("a", b"b"), method=zipfile.ZIP_BZIP2), "nor deflated"),
    "encrypted": (changed_entry(flag_bits=1), "encrypted"),
    "link": (changed_entry(external_attr=0o120777 << 16), "is a link"),
    "duplicate": (renamed(b"demo_pkg.py"), "'demo_pkg.py' twice"),
    "absolute": (wheel(("/etc/x", b"")), "must be relative"),
    "parent": (wheel(("a/../../x", b"")), "must be relative"),
    "dot": (wheel(("a/./x", b"")), "must be relative"),
    "empty part": (wheel(("a//x", b"")), "must be relative"),
    "backslash": (wheel(("a\\x", b"")), "must be relative"),
    "drive": (wheel(("C:x", b"")), "must be relative"),
    "control": (wheel(("a\x1bx", b"")), "must be relative"),
    "NUL": (renamed(b"a\0b"), "must be relative"),
    "bad UTF-8": (wheel(("\xe9\xe9", b"")).replace("\xe9\xe9".encode(), b"\xff" * 4), "no sound zip"),
    "long name": (wheel(("a/" * 2050 + "b", b"")), "4096"),
    "second name": (second_name(), "second name"),
    "other local name": (GOOD.replace(b"demo_pkg.py", b"demo_pkh.py", 1), "contradict"),
    "other local size": (changed_entry(file_size=99), "contradict"),
    "too many": (zip64_end(0xFFFF, 100_001), "100000 members"),
    "zip64 count": (zip64_end(2, 1), "end records"),
    "zip64 offset": (zip64_end(1, 1, 7), "end records"),
    "fewer members": (wheel(("a" * 300, b""), change=None), None),
    "bomb": (wheel(("z", b"\0" * (65 * 2**20)), method=zipfile.ZIP_DEFLATED), "50 times"),
    "long METADATA": (zip_bytes({**PARTS, f"{INFO}/METADATA": b"x" * (MAX_METADATA + 1)}), "8388608"),
    "understated METADATA": (understated(), "8388608"),
    "damaged METADATA": (zip_bytes(PARTS).replace(TEXT[:9], b"x" * 9), None),
    "no METADATA": (without("METADATA"), f"no {INFO}/METADATA"),
    "no WHEEL": (without("WHEEL"), f"no {INFO}/WHEEL"),
    "no RECORD": (without("RECORD"), f"no {INFO}/RECORD"),
    "no dist-info": (zip_bytes({"a.py": ""}), "no *.dist-info/METADATA"),
    "two dist-info": (wheel(("other-1.dist-info/METADATA", TEXT)), "two .dist-info"),
    "deeper dist-info": (zip_bytes({f"a/{k}": v for k, v in PARTS.items()}), "no *.dist-info"),
    "Wheel-Version 2": (zip_bytes({**PARTS, f"{INFO}/WHEEL": "Wheel-Version: 2.0\n"}), "is '2.0'"),
    "no Wheel-Version": (zip_bytes({**PARTS, f"{INFO}/WHEEL": "Tag: a\n"}), "must be 1.x"),
}
