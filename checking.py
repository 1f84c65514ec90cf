"""Comparing the database with the storage, which may be done while the index is served.

What looks like a fault of a file is looked up once more before it is told; rows and numbers are
those of one moment. :mod:`extrapypi.mending` mends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, NamedTuple

from peewee import JOIN, fn
from tqdm import tqdm

from extrapypi.database import execute, fetch, give_back, tuples
from extrapypi.distributions import SDIST, WHEEL
from extrapypi.errors import NotStored
from extrapypi.incoming import sha256_of
from extrapypi.models import File, Package, Release, UsedFilename
from extrapypi.storage import SIDECAR, BaseStorage

MISCOUNTED_SQL = """
    SELECT p.name
    FROM packages p LEFT JOIN (
        SELECT r.package_id, COUNT(DISTINCT r.id) AS releases, COUNT(f.id) AS files,
               COUNT(CASE WHEN NOT f.yanked THEN 1 END) AS offered, SUM(f.size) AS size
        FROM releases r LEFT JOIN files f ON f.release_id = r.id GROUP BY r.package_id
    ) s ON s.package_id = p.id
    WHERE p.release_count <> COALESCE(s.releases, 0) OR p.file_count <> COALESCE(s.files, 0)
       OR p.offered_count <> COALESCE(s.offered, 0) OR p.total_size <> COALESCE(s.size, 0)
    ORDER BY p.id"""
WRONG_SUMS_SQL = """
    SELECT 1
    FROM serial s, (
        SELECT COUNT(CASE WHEN release_count > 0 THEN 1 END) AS projects,
               COALESCE(SUM(release_count), 0) AS releases, COALESCE(SUM(file_count), 0) AS files,
               COALESCE(SUM(total_size), 0) AS size
        FROM packages
    ) p
    WHERE s.projects <> p.projects OR s.releases <> p.releases OR s.files <> p.files
       OR s.size <> p.size"""
ADVICE = "`import` it from a copy, upload it again, or delete it."


class Listed(NamedTuple):
    """What the database says of a file; the fields are those of :class:`File`."""

    id: int
    filename: str
    location: str
    size: int
    sha256: str
    metadata_sha256: str | None
    packagetype: str


class Fault(NamedTuple):
    """A difference between database and storage."""

    kind: str  # bytes, metadata, leftover, empty, name, numbers or sums
    text: str  # one line for people
    subject: Any  # a Listed, the location of a leftover, the name of a project or file
    size: int = 0  # bytes, of a leftover

    def __str__(self) -> str:
        return self.text


def check(storage: BaseStorage, deep: bool = False) -> Iterator[Fault]:
    """Every fault there is, one by one.

    :param deep: also reads every file and compares its digests.
    """
    stored = dict(storage.stored())
    files = listed_files()
    give_back()
    for file in tqdm(files, desc="check", unit="file", disable=None if deep else True):
        size = stored.pop(file.location, None)
        has_metadata = stored.pop(file.location + SIDECAR, None) is not None
        if deep or size != file.size or not has_metadata:
            yield from faults_of(storage, file, deep)
    yield from leftovers(storage, stored)
    yield from faults_of_rows()
    yield from faults_of_numbers()


def listed_files() -> list[Listed]:
    """All files on the index, by one query."""
    columns = (getattr(File, name) for name in Listed._fields)
    return [Listed(*row) for row in tuples(File.select(*columns).order_by(File.id))]


def is_listed(file: Listed) -> bool:
    """Whether the file is on the index still, at the same location."""
    return File.select().where(File.id == file.id, File.location == file.location).exists()


def faults_of(storage: BaseStorage, file: Listed, deep: bool) -> Iterator[Fault]:
    """The fault of a file, asked of the storage itself; what was deleted meanwhile has none."""
    if text := fault_of_bytes(storage, file, deep):
        found = Fault("bytes", text, file)
    elif text := fault_of_metadata(storage, file, deep):
        found = Fault("metadata", text, file)
    if text and is_listed(file):
        yield found


def fault_of_bytes(storage: BaseStorage, file: Listed, deep: bool) -> str:
    """What is wrong with the stored bytes, or ""."""
    if not storage.has(file.location, file.size):
        return (
            f"missing: {file.filename} is not in the storage with its {file.size} bytes; {ADVICE}"
        )
    if deep and digest_of(storage, file.location) != file.sha256:
        return f"digest: {file.filename} has other bytes in the storage than listed; {ADVICE}"
    return ""


def fault_of_metadata(storage: BaseStorage, file: Listed, deep: bool) -> str:
    """What is wrong with the stored core metadata, or ""."""
    if file.packagetype not in (WHEEL, SDIST):  # an old format, which has none
        return ""
    advice = "`check --repair` makes it again."
    with suppress(NotStored):
        if not storage.has_metadata(file.location):
            return f"missing: the core metadata of {file.filename} is not in the storage; {advice}"
        if deep and file.metadata_sha256:
            found = hashlib.sha256(storage.get_metadata(file.location)).hexdigest()
            if found != file.metadata_sha256:
                return f"digest: the core metadata of {file.filename} is not the listed; {advice}"
    return ""


def digest_of(storage: BaseStorage, location: str) -> str | None:
    """The sha256 of what is stored; None when nothing is."""
    with suppress(NotStored), closing(storage.get_file(location)) as stream:
        return sha256_of(stream)
    return None


def leftovers(storage: BaseStorage, unlisted: dict[str, int]) -> Iterator[Fault]:
    """What no file on the index has, of locations and sizes that looked like it.

    What is noted will be there in a moment, or be swept up after a crash.
    """
    noted = {location for _, location in storage.notes()} if unlisted else set()
    listed = {location for (location,) in tuples(File.select(File.location))} if unlisted else ()
    expected = noted.union(listed)
    for location, size in sorted(unlisted.items()):
        known = location in expected or location.removesuffix(SIDECAR) in expected
        if not known and not storage.on_its_way(location) and storage.has(location, size):
            text = f"leftover: {location} is in the storage but not on the index."
            yield Fault("leftover", text, location, size)


def faults_of_rows() -> Iterator[Fault]:
    """Projects and releases without files, and names of files that others could take."""
    files = File.select().where(File.release == Release.id)
    releases = Release.select(Package.name, Release.version).join(Package)
    for name, version in tuples(releases.where(~fn.EXISTS(files)).order_by(Release.id)):
        yield Fault("empty", f"empty: the release {version} of {name} has no files.", name)
    releases = Release.select().where(Release.package == Package.id)
    projects = Package.select(Package.name).where(~fn.EXISTS(releases))
    for (name,) in tuples(projects.order_by(Package.id)):
        yield Fault("empty", f"empty: the project {name} has no releases.", name)
    names = File.select(File.filename).join(
        UsedFilename, JOIN.LEFT_OUTER, on=(UsedFilename.filename == File.filename)
    )
    for (filename,) in tuples(names.where(UsedFilename.id.is_null())):
        text = f"unclaimed: the name {filename} is not kept for the bytes that have it."
        yield Fault("name", text, filename)


def faults_of_numbers() -> Iterator[Fault]:
    """Numbers that are kept, so that pages need not count, and are not what there is."""
    for (name,) in execute(MISCOUNTED_SQL).fetchall():
        yield Fault("numbers", f"numbers: those that are kept of {name} are not right.", name)
    if fetch(WRONG_SUMS_SQL):
        yield Fault("sums", "sums: those that are kept of the whole index are not right.", "")
