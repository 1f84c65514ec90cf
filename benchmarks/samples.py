"""The wheels that are uploaded: a small one, tiny ones, and large ones of random bytes."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import checkout  # noqa: F401 (so that the next one is found)

from archives_made import metadata_text, wheel_bytes  # isort: skip

MB = 1024 * 1024
BLOCK = 16 * MB  # of random bytes, repeated in a large wheel


class Wheel(NamedTuple):
    """A wheel in memory."""

    name: str
    version: str
    filename: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Its digest in hex."""
        return hashlib.sha256(self.content).hexdigest()


class BigWheel(NamedTuple):
    """A wheel on the disk."""

    name: str
    path: Path
    size: int
    sha256: str


def wheel(name: str, version: str = "1.0", **made) -> Wheel:
    """A sound wheel; ``made`` is what the tests' maker takes."""
    return Wheel(name, version, *wheel_bytes(name, version, **made))


def big_wheel(folder: Path, name: str, megabytes: int) -> BigWheel:
    """A sound wheel with so many megabytes of random data, stored as they are, in the folder."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    block, info = os.urandom(BLOCK), f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        with made.open(f"{name}.bin", "w") as data:
            for start in range(0, megabytes * MB, BLOCK):
                data.write(block[: megabytes * MB - start])
        made.writestr(f"{info}/METADATA", metadata_text(name))
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", "")
    return BigWheel(name, path, path.stat().st_size, sha256_of(path))


def sha256_of(path: Path) -> str:
    """The file's digest in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


SMALL = wheel("small", files={"small.bin": os.urandom(9_500)})  # about 10 KB
