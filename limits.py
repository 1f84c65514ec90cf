"""How much an archive may hold, and how its members may be named.

An archive is hostile until it was read: every bound here is against what it may claim or hide.
"""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO

from extrapypi.core_metadata import shown
from extrapypi.errors import InvalidUpload

MAX_MEMBERS = 100_000
MAX_NAME = 4_096  # bytes of a member's name, PATH_MAX of Linux
FREE_RATIO = 64 * 2**20  # bytes that may be packed as tightly as they like
MAX_RATIO = 50  # unpacked to packed bytes above FREE_RATIO
MAX_UNPACKED = 16 * 2**30  # bytes
CHUNK = 2**17  # bytes of a step

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|^/|^[A-Za-z]:")


class Tally:
    """What an archive held so far; refuses more than the limits and names used twice."""

    def __init__(self, packed: int) -> None:
        self.allowed = min(MAX_UNPACKED, max(FREE_RATIO, MAX_RATIO * packed))
        self.unpacked = 0
        self.names: set[bytes] = set()

    def add_bytes(self, size: int) -> None:
        """Counts bytes that were unpacked."""
        self.unpacked += size
        if self.unpacked > self.allowed:
            raise InvalidUpload(
                f"The archive unpacks to more than {self.allowed} bytes; beyond "
                f"{FREE_RATIO} bytes it may be {MAX_RATIO} times the file at most."
            )

    def add_name(self, name: bytes) -> None:
        """Counts a member; of its name 16 bytes are kept, whatever is sent."""
        mark = digest(name)
        if mark in self.names:
            name_shown = shown(name.decode("utf-8", "replace"))
            raise InvalidUpload(f"The archive has the name {name_shown} twice.")
        self.names.add(mark)
        if len(self.names) > MAX_MEMBERS:
            raise InvalidUpload(f"The archive has more than {MAX_MEMBERS} members.")


def digest(name: bytes) -> bytes:
    """What stands for a name, in 16 bytes."""
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
    """Refuses a member of more bytes than the limit."""
    if size > limit:
        raise InvalidUpload(f"{shown(name)} has more than {limit} bytes, the most there may be.")


def exactly(stream: BinaryIO, size: int) -> bytes:
    """The next bytes; a file that ends before is refused."""
    data = stream.read(size)
    if len(data) < size:
        raise InvalidUpload("The file is cut off: the archive says that it goes on.")
    return data
