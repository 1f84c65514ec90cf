"""Feeds the reader of wheels and sdists; run as ``python fuzz/distribution.py CORPUS``.

The first byte of an input says what the rest is, see KINDS. What the reader takes has to be what
Python's own readers find in the file, and has to fit into the tables.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zipfile
import zlib

import atheris
import checkout  # noqa: F401

with atheris.instrument_imports(include=["extrapypi", "packaging"]):
    from packaging.requirements import Requirement

    from extrapypi.archives import sdist_pkg_info, wheel_parts
    from extrapypi.core_metadata import CoreMetadata, parse
    from extrapypi.distributions import parse_filename
    from extrapypi.errors import InvalidUpload

UNSOUND = (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, EOFError, OSError, zlib.error)


def wheel(data: bytes) -> None:
    """A wheel, of which zipfile has to find the same METADATA."""
    parts = wheel_parts(io.BytesIO(data))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            found = archive.read(f"{parts.dist_info}/METADATA")
    except UNSOUND:  # it is stricter now and then
        return
    assert len(names) == len(set(names)), names
    assert found == parts.metadata


def zip_sdist(data: bytes) -> None:
    """An sdist, of which zipfile has to find the same PKG-INFO."""
    top, metadata = sdist_pkg_info(io.BytesIO(data), "a-1.zip")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.read(f"{top}/PKG-INFO")
    except UNSOUND:
        return
    assert found == metadata


def tar_gz(data: bytes) -> None:
    """An sdist, of which tarfile has to find the same PKG-INFO, and nothing outside."""
    top, metadata = sdist_pkg_info(io.BytesIO(data), "a-1.tar.gz")
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            names = archive.getnames()
            found = archive.extractfile(f"{top}/PKG-INFO").read()
    except UNSOUND:
        return
    assert all(name.removeprefix("./").split("/")[0] in (top, "", ".") for name in names), names
    assert found == metadata


def tar(data: bytes) -> None:
    """What is in a gzip file, so that it need not be guessed with its checksum."""
    tar_gz(gzip.compress(data, 1, mtime=0))


def metadata(data: bytes) -> None:
    """METADATA, of which every text has to fit into the tables."""
    for text in texts(parse(data)):
        assert "\0" not in text
        text.encode()


def texts(found: CoreMetadata) -> list[str]:
    """What the tables get."""
    made: list[str] = []
    for value in vars(found).values():
        made += [*value, *value.values()] if isinstance(value, dict) else value
    for requirement in map(Requirement, found.requires_dist):
        made += [requirement.name, str(requirement.specifier), str(requirement.marker)]
    return made


def filename(data: bytes) -> None:
    """A file name, which has to stay one."""
    for name, _ in parse_filename(data.decode("utf-8", "replace")).readings:
        assert "/" not in name


KINDS = (wheel, zip_sdist, tar_gz, tar, metadata, filename)


def feed(data: bytes) -> None:
    """One input; everything but a refusal is a finding."""
    if data:
        try:
            KINDS[data[0] % len(KINDS)](data[1:])
        except InvalidUpload as refusal:
            assert refusal.faults


if __name__ == "__main__":
    atheris.Setup(sys.argv, feed)
    atheris.Fuzz()
