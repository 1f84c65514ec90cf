"""Wheels and sdists as archives: their metadata, read with limits and without unpacking.

Rules: the binary distribution format, PEP 625 and docs/user/archives.md of pypi/warehouse.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from extrapypi.core_metadata import shown
from extrapypi.errors import InvalidUpload
from extrapypi.limits import check_size
from extrapypi.tars import DIRECTORY, FILES, Gunzip, check_link, refuse_tar, tar_members
from extrapypi.zips import read_member, refuse_zip, zip_members

MAX_METADATA = 4 * 2**20  # bytes of METADATA or PKG-INFO; twine's forms cannot have more of it
MAX_WHEEL = 2**16  # bytes of the file WHEEL
DIST_INFO = ".dist-info"
GARBAGE = (zlib.error, struct.error, UnicodeError)  # all that the readers raise on bad bytes


class WheelParts(NamedTuple):
    """What the index wants of a wheel; the bytes are as they lie in it."""

    metadata: bytes
    dist_info: str  # name of the directory
    wheel: bytes


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
