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


def overlapping() -> bytes:
    """A sound member that lies in the content of another one."""
    inner = zip_bytes({"inner.py": "x"})

    def change(archive):
        entry = zipfile.ZipFile(io.BytesIO(inner)).infolist()[0]
        entry.header_offset = archive.getinfo("outer").header_offset + 30 + len("outer")
        archive.filelist.append(entry)

    return wheel(("outer", inner), change=change)


def other_checksum(archive) -> None:
    archive.getinfo(f"{INFO}/METADATA").CRC = 1


def gap_at_start() -> bytes:
    """A wheel behind other data, its offsets in order."""
    made = io.BytesIO(b"#!/bin/sh\n")
    with zipfile.ZipFile(made, "a") as archive:
        for path, content in PARTS.items():
            archive.writestr(path, content)
    return made.getvalue()


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


def with_fields(fields: bytes) -> bytes:
    """A wheel with a member a.py that has these extra fields."""
    entry = zipfile.ZipInfo("a.py")
    entry.extra = fields
    made = io.BytesIO(GOOD)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(entry, b"")
    return made.getvalue()


def name_field(name: bytes) -> bytes:
    """The field 0x7075 of a.py, which is its name in Unicode."""
    return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zipfile.crc32(b"a.py")) + name


def spelled_twice() -> bytes:
    """Two members of one name, which one has in UTF-8 and the other in code page 437."""
    return wheel(("\u00e9.py", b""), ("x.py", b"")).replace(b"x.py", b"\x82.py")


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
    "gap at the start": (gap_at_start(), "gap or an overlap at byte 0"),
    "unlisted member": (wheel(("a", b"b"), change=lambda z: z.filelist.pop()), "gap or an overlap"),
    "overlap": (overlapping(), "gap or an overlap"),
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
    "bad UTF-8": (
        wheel(("\xe9\xe9", b"")).replace("\xe9\xe9".encode(), b"\xff" * 4),
        "no sound zip",
    ),
    "long name": (wheel(("a/" * 2050 + "b", b"")), "4096"),
    "second name": (with_fields(name_field(b"b.py")), "second name"),
    "second name twice": (with_fields(name_field(b"a.py") + name_field(b"b.py")), "twice"),
    "zip64 field twice": (with_fields(struct.pack("<HH", 1, 0) * 2), "twice"),
    "long fields": (with_fields(b"\xff\xff\0\0" * 1025), "too long fields"),
    "one name in two codings": (spelled_twice(), "twice"),
    "other local name": (GOOD.replace(b"demo_pkg.py", b"demo_pkh.py", 1), "contradict"),
    "other local size": (changed_entry(file_size=99), "contradict"),
    "too many": (zip64_end(0xFFFF, 100_001), "100000 members"),
    "zip64 count": (zip64_end(2, 1), "end records"),
    "zip64 offset": (zip64_end(1, 1, 7), "end records"),
    "more members": (GOOD[:-14] + b"\5\0\5\0" + GOOD[-10:], "cut off"),
    "damaged directory": (GOOD.replace(b"PK\1\2", b"PK\1\3", 1), "directory of the zip"),
    "fewer members": (GOOD[:-14] + b"\3\0\3\0" + GOOD[-10:], "number of members"),
    "bomb": (wheel(("z", b"\0" * (65 * 2**20)), method=zipfile.ZIP_DEFLATED), "50 times"),
    "long METADATA": (
        zip_bytes({**PARTS, f"{INFO}/METADATA": b"x" * (MAX_METADATA + 1)}),
        "4194304",
    ),
    "understated METADATA": (understated(), "4194304"),
    "damaged METADATA": (wheel(change=other_checksum), "is damaged"),
    "no METADATA": (without("METADATA"), f"no {INFO}/METADATA"),
    "no WHEEL": (without("WHEEL"), f"no {INFO}/WHEEL"),
    "no RECORD": (without("RECORD"), f"no {INFO}/RECORD"),
    "no dist-info": (zip_bytes({"a.py": ""}), "no *.dist-info/METADATA"),
    "two dist-info": (wheel(("other-1.dist-info/METADATA", TEXT)), "two .dist-info"),
    "deeper dist-info": (zip_bytes({f"a/{k}": v for k, v in PARTS.items()}), "no *.dist-info"),
    "Wheel-Version 2": (zip_bytes({**PARTS, f"{INFO}/WHEEL": "Wheel-Version: 2.0\n"}), "is '2.0'"),
    "no Wheel-Version": (zip_bytes({**PARTS, f"{INFO}/WHEEL": "Tag: a\n"}), "must be 1.x"),
}


@pytest.mark.parametrize(("data", "phrase"), BAD_WHEELS.values(), ids=BAD_WHEELS)
def test_a_wheel_against_a_rule_is_refused_with_the_rule(data, phrase):
    assert phrase in refusal(wheel_parts, io.BytesIO(data))


def streamed() -> bytes:
    """A wheel from a program that cannot seek: sizes follow the data."""
    made = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return made.write(data)

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in PARTS.items():
            archive.writestr(path, content)
    return made.getvalue()


def large_format() -> bytes:
    """A wheel with zip64 fields at a member that does not need them."""
    made = io.BytesIO(GOOD)
    with zipfile.ZipFile(made, "a") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"x")
    return made.getvalue()


def commented(archive) -> None:
    archive.comment = b"PK a comment"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD, id="plain"),
        pytest.param(streamed(), id="streamed"),
        pytest.param(large_format(), id="zip64 fields"),
        pytest.param(wheel(change=commented), id="comment"),
        pytest.param(wheel(("demo_pkg/", b""), ("ü.py", b""), ("a b", b"")), id="names"),
        pytest.param(wheel(("a/x.dist-info/METADATA", b"")), id="vendored dist-info"),
        pytest.param(zip_bytes({**PARTS, "a": "x" * (2**20)}), id="tight but small"),
    ],
)
def test_a_sound_wheel_gives_its_parts_byte_for_byte(data):
    parts = wheel_parts(io.BytesIO(data))
    assert (parts.metadata, parts.dist_info, parts.wheel) == (TEXT, INFO, WHEEL.encode())


def test_a_wheel_of_more_than_65535_members_is_read():
    made = io.BytesIO(GOOD)
    with zipfile.ZipFile(made, "a") as archive:
        for number in range(65_540):
            archive.writestr(f"n{number}", b"")
    assert wheel_parts(made).metadata == TEXT


def tar(*members: tarfile.TarInfo | tuple[str, bytes], tail: bytes = b"", **options) -> bytes:
    """A gzipped sdist with more members, and ``tail`` in place of the end of the tar archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT, **options) as archive:
        for member in (("demo_pkg-1.0/PKG-INFO", TEXT), *members):
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                entry = tarfile.TarInfo(member[0])
                entry.size = len(member[1])
                archive.addfile(entry, io.BytesIO(member[1]))
        length = archive.offset
    return gzip.compress(made.getvalue()[:length] + tail if tail else made.getvalue(), 1, mtime=0)


def special(kind: bytes, name: str = "demo_pkg-1.0/x", target: str = "", size: int = 0):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, target, size
    return entry


def header(kind: bytes, size: int) -> bytes:
    return special(kind, size=size).tobuf(tarfile.GNU_FORMAT)


def extended(kind: bytes, data: bytes) -> bytes:
    """A header that extends the next one."""
    return header(kind, len(data)) + data + b"\0" * (-len(data) % 512)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    """A tar archive whose next member after PKG-INFO is extended by these records."""
    return tar(tail=extended(kind, records) + header(b"0", 0) + b"\0" * 1024)


def with_checksum_broken() -> bytes:
    return tar(tail=header(b"0", 0).replace(b"demo", b"deno") + b"\0" * 1024)


def with_size(field: bytes) -> bytes:
    """An sdist with a header of this size field and the right checksum."""
    block = bytearray(header(b"0", 0))
    block[124:136], block[148:156] = field, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return tar(tail=bytes(block) + b"\0" * 1024)


PLAIN = tar()
NOISE = random.Random(1).randbytes(7 * 2**19)  # or the many headers would be a bomb
TOP = "demo_pkg-1.0/"
LONG_NAME = extended(b"L", f"{TOP}x\0".encode())
PATH = extended(b"x", b"23 path=demo_pkg-1.0/y\n")
BAD_SDISTS = {
    "empty file": (b"", "cut off"),
    "text": (b"no sdist\n" * 99, "no sound tar.gz"),
    "zip": (GOOD, "zip archive too"),
    "plain tar": (gzip.decompress(PLAIN), "no sound tar.gz"),
    "gzip of text": (gzip.compress(b"x" * 2000), "checksum"),
    "cut off": (PLAIN[:-30], "cut off"),
    "bad CRC": (PLAIN[:-8] + b"abcd" + PLAIN[-4:], "no sound tar.gz"),
    "data after": (PLAIN + b"x", "follows the gzip data"),
    "two gzip members": (PLAIN + PLAIN, "follows the gzip data"),
    "data after zeros": (PLAIN + bytes(600_000) + b"x", "follows the gzip data"),
    "zip too": (PLAIN + GOOD, "zip archive too"),
    "data after the end": (tar(tail=b"\0" * 1024 + b"x" * 512), "follows the end"),
    "cut off member": (tar(tail=header(b"0", 9999)), "cut off"),
    "bad checksum": (with_checksum_broken(), "wrong checksum"),
    "size of nines": (with_size(b"9" * 11 + b"\0"), "has the size '999"),
    "negative size": (with_size(b"\xff" * 12), "has the size"),
    "endless size": (with_size(b"\x80" + b"\xff" * 11), "cut off"),
    "two tops": (tar(("other/x", b"")), "one directory"),
    "file beside": (tar(("x", b"")), "one directory"),
    "no PKG-INFO": (tar_bytes({"a/setup.py": ""}), "no a/PKG-INFO"),
    "deep PKG-INFO": (tar_bytes({"a/b/PKG-INFO": ""}), "no a/PKG-INFO"),
    "PKG-INFO twice": (tar((f"{TOP}PKG-INFO", b"")), "twice"),
    "long PKG-INFO": (tar_bytes({"a/PKG-INFO": b"x" * (MAX_METADATA + 1)}), "4194304"),
    "absolute": (tar(("/etc/x", b"")), "must be relative"),
    "parent": (tar((f"{TOP}../../x", b"")), "must be relative"),
    "backslash": (tar((f"{TOP}a\\b", b"")), "must be relative"),
    "control": (tar((f"{TOP}a\nb", b"")), "must be relative"),
    "file with slash": (tar((f"{TOP}a/", b"")), "must be relative"),
    "long name": (tar((TOP + "a/" * 2050 + "b", b"")), "4096"),
    "device": (tar(special(tarfile.CHRTYPE)), "of the type"),
    "block device": (tar(special(tarfile.BLKTYPE)), "of the type"),
    "FIFO": (tar(special(tarfile.FIFOTYPE)), "of the type"),
    "sparse": (tar(special(tarfile.GNUTYPE_SPARSE)), "of the type"),
    "sparse by pax": (pax(b"22 GNU.sparse.major=1\n"), "sparse"),
    "link with a size": (tar(tail=header(b"2", 600) + b"x" * 1024), "of the type"),
    "link out": (tar(special(tarfile.SYMTYPE, target="../../x")), "outside"),
    "link to a neighbour": (tar(special(tarfile.SYMTYPE, target="../other/x")), "outside"),
    "absolute link": (tar(special(tarfile.SYMTYPE, target="/etc/passwd")), "outside"),
    "drive link": (tar(special(tarfile.SYMTYPE, target="C:/x")), "outside"),
    "hard link out": (tar(special(tarfile.LNKTYPE, target="../x")), "outside"),
    "hard link elsewhere": (tar(special(tarfile.LNKTYPE, target="etc/passwd")), "outside"),
    "pax path out": (pax(b"16 path=../../x\n"), "must be relative"),
    "pax size": (pax(b"10 size=x\n"), "has the size 'x'"),
    "pax nonsense": (pax(b"nonsense"), "damaged"),
    "pax length": (pax(b"99 path=x\n"), "damaged"),
    "global pax path": (pax(b"10 path=x\n", b"g"), "global"),
    "two long names": (tar(tail=LONG_NAME * 2 + header(b"0", 0)), "one member twice"),
    "long name and pax path": (tar(tail=LONG_NAME + PATH + header(b"0", 0)), "one member twice"),
    "pax path and long name": (tar(tail=PATH + LONG_NAME + header(b"0", 0)), "one member twice"),
    "long pax": (tar(tail=header(b"x", 2**33) + b"x" * 512), "1048576"),
    "long GNU name": (tar(tail=header(b"L", 2**21) + b"x" * 512), "1048576"),
    "bomb": (tar((f"{TOP}z", b"\0" * (65 * 2**20))), "50 times"),
    "bomb after the end": (tar(tail=b"\0" * (65 * 2**20)), "50 times"),
    "many headers": (tar((f"{TOP}n", NOISE), tail=header(b"x", 0) * 300_001), "300000 headers"),
}


@pytest.mark.parametrize(("data", "phrase"), BAD_SDISTS.values(), ids=BAD_SDISTS)
def test_an_sdist_against_a_rule_is_refused_with_the_rule(data, phrase):
    assert phrase in refusal(sdist_pkg_info, io.BytesIO(data), "demo_pkg-1.0.tar.gz")


def test_an_sdist_of_too_many_members_is_refused(tmp_path: Path):
    block = special(b"0", f"{TOP}000000").tobuf(tarfile.GNU_FORMAT)
    front, checksum, rest = block[: len(TOP)], int(block[148:154], 8), block[len(TOP) + 6 :]
    with gzip.open(tmp_path / "many", "wb", compresslevel=1) as made:
        for number in range(100_001):
            digits = b"%06d" % number
            changed = b"%06o" % (checksum + sum(digits) - sum(b"000000"))
            made.write(front + digits + rest.replace(block[148:154], changed, 1))
    with open(tmp_path / "many", "rb") as stream:
        assert "100000 members" in refusal(sdist_pkg_info, stream, "demo_pkg-1.0.tar.gz")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sdist_bytes()[1], id="pax"),
        pytest.param(PLAIN, id="gnu"),
        pytest.param(tar((f"{TOP}{'d/' * 99}x", b"")), id="GNU long name"),
        pytest.param(tar((f"{TOP}demo.egg-info/PKG-INFO", b"")), id="PKG-INFO of an egg-info"),
        pytest.param(tar((f"./{TOP}x", b""), special(b"5", "./")), id="dot slash"),
        pytest.param(tar(special(b"5", f"{TOP}d")), id="directory"),
        pytest.param(tar(special(b"2", f"{TOP}d/x", "../setup.py")), id="link inside"),
        pytest.param(tar(special(b"1", target=f"{TOP}PKG-INFO")), id="hard link inside"),
        pytest.param(pax(b"14 comment=ab\n", b"g"), id="comment of git archive"),
        pytest.param(tar(tail=header(b"0", 0)), id="no end mark"),
        pytest.param(gzip.compress(gzip.decompress(PLAIN), 0), id="not compressed"),
    ],
)
def test_a_sound_sdist_gives_its_pkg_info_byte_for_byte(data):
    assert sdist_pkg_info(io.BytesIO(data), "demo_pkg-1.0.tar.gz") == ("demo_pkg-1.0", TEXT)


@pytest.mark.parametrize(
    ("members", "phrase"),
    [
        pytest.param({"a/PKG-INFO": TEXT, "b/x": ""}, "one directory", id="two tops"),
        pytest.param({"a/PKG-INFO": TEXT, "x": ""}, "one directory", id="file beside"),
        pytest.param({"a/setup.py": ""}, "no a/PKG-INFO", id="no PKG-INFO"),
        pytest.param({}, "no */PKG-INFO", id="no members"),
    ],
)
def test_a_zip_sdist_obeys_the_rules_of_both(members, phrase):
    assert phrase in refusal(sdist_pkg_info, io.BytesIO(zip_bytes(members)), "a-1.zip")
    good = io.BytesIO(zip_bytes({"a/PKG-INFO": TEXT, "a/a.egg-info/PKG-INFO": ""}))
    assert sdist_pkg_info(good, "a-1.zip") == ("a", TEXT)


def peak(read, *arguments) -> int:
    """Bytes of memory that a call takes at most, whatever comes of it."""
    tracemalloc.start()
    try:
        read(*arguments)
    except InvalidUpload:
        pass
    finally:
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return taken


@pytest.mark.parametrize("place", ["in a member", "in a pax header", "after the end"])
def test_a_gzip_bomb_takes_little_memory(place, tmp_path: Path):
    start = {
        "in a member": header(b"0", 2**33),
        "in a pax header": header(b"x", 2**33),
        "after the end": b"\0" * 1024,
    }[place]
    with gzip.open(tmp_path / "bomb", "wb", compresslevel=1) as bomb:
        bomb.write(start)
        for _ in range(100):
            bomb.write(b"\0" * 2**20)
    with open(tmp_path / "bomb", "rb") as stream:
        assert peak(sdist_pkg_info, stream, "a-1.tar.gz") < 4 * 2**20


def test_a_wheel_of_many_members_and_a_long_metadata_takes_little_memory(tmp_path: Path):
    noise = random.Random(1).randbytes(MAX_METADATA)
    with zipfile.ZipFile(tmp_path / "wheel", "w") as archive:
        for number in range(8_000):
            archive.writestr(f"{number}-{'x' * 100}", b"")
        for path, content in {**PARTS, f"{INFO}/METADATA": noise}.items():
            archive.writestr(path, content, zipfile.ZIP_DEFLATED)
    with open(tmp_path / "wheel", "rb") as stream:
        assert peak(wheel_parts, stream) < 30 * 2**20


def mutated(chance: random.Random, data: bytes) -> bytes:
    """The data with a few bytes changed, taken out, doubled or cut off."""
    made = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at, length = chance.randrange(len(made) or 1), chance.randrange(1, 40)
        piece = (
            chance.randbytes(1),
            b"",
            bytes(made[at : at + length]) * 2,
            b"\xff" * 4,
            b"\0" * 8,
        )
        size = chance.choice((1, 1, 1, 4, 8, length, len(made)))
        made[at : at + size] = chance.choice(piece)
    return bytes(made)


def test_whatever_the_bytes_are_there_are_parts_or_a_refusal():
    chance = random.Random(20261122)
    tar_data, taken = gzip.decompress(sdist_bytes()[1]), 0
    zip_sdist = sdist_bytes(extension=".zip")[1]
    for _ in range(1_000):
        tries = (
            (wheel_parts, mutated(chance, GOOD)),
            (wheel_parts, mutated(chance, chance.choice((streamed(), large_format())))),
            (sdist_pkg_info, mutated(chance, sdist_bytes()[1]), "a-1.tar.gz"),
            (sdist_pkg_info, gzip.compress(mutated(chance, tar_data), 1), "a-1.tar.gz"),
            (sdist_pkg_info, mutated(chance, zip_sdist), "a-1.zip"),
        )
        for read, data, *name in tries:
            try:
                read(io.BytesIO(data), *name)
                taken += 1
            except InvalidUpload as error:
                assert error.faults
    assert 100 < taken < 4_900


def test_an_error_of_the_disk_is_no_fault_of_the_upload():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("disk")

    for read, name in ((wheel_parts, ()), (sdist_pkg_info, ("a-1.tar.gz",))):
        with pytest.raises(OSError, match="disk"):
            read(Broken(GOOD), *name)


def test_zeros_after_the_gzip_data_and_directories_named_twice_are_taken():
    directory = special(tarfile.DIRTYPE)
    twice = tar(directory, directory)
    assert sdist_pkg_info(io.BytesIO(twice + bytes(600_000)), "x.tar.gz")[0] == TOP.strip("/")
