"""Moving in: distributions from folders and from another index.

What is here already is left alone, so an import that was broken off goes on when it is repeated.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from packaging.utils import canonicalize_name
from tqdm import tqdm

from extrapypi import distributions, packages, publishing
from extrapypi.accounts import project_key
from extrapypi.auth import Actor, printable
from extrapypi.database import utcnow
from extrapypi.errors import (
    ExtraPyPIError,
    FileExists,
    InvalidInput,
    InvalidUpload,
    NotLoggedIn,
    Unavailable,
)
from extrapypi.incoming import sha256_of
from extrapypi.models import File, Package
from extrapypi.otherindex import OtherIndex
from extrapypi.otherpages import Link, ProjectPage
from extrapypi.storage import BaseStorage, received

# What may have been meant as a distribution: others are passed over without a word.
ARCHIVES = (
    *(".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.z", ".tar"),
    *(".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg"),
)
KEPT = ("md5", "sha256")  # digests that this index has of each file
LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


@dataclass
class Summary:
    """What an import did: things added, things that were there, (what, why) of the skipped.

    ``notes`` are sentences that are worth reading, and no faults.
    """

    added: int = 0
    known: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, is_new: bool) -> None:
        """Counts one thing that is here now."""
        if is_new:
            self.added += 1
        else:
            self.known += 1

    @contextmanager
    def skipping(self, what: object) -> Iterator[None]:
        """Notes why one thing cannot be taken; what stands in the way of all of them is raised."""
        try:
            yield
        except (Unavailable, NotLoggedIn):
            raise
        except ExtraPyPIError as error:
            self.bad.append((printable(str(what)), str(error)))


def import_folders(
    storage: BaseStorage, actor: Actor, folders: Iterable[str | Path], summary: Summary
) -> None:
    """Puts every wheel and sdist below the folders on the index, keeping its time.

    :param actor: whose uploads they become.
    :param summary: where it is written down.
    :raises InvalidInput: for a folder that does not exist.
    :raises Unavailable: when storage or database fail; what was added until then stays.
    """
    paths = [path for folder in folders for path in files_below(Path(folder))]
    for path in tqdm(paths, desc="import", unit="file", disable=None):
        with summary.skipping(path):
            try:
                summary.count(import_path(storage, actor, path))
                remove_if_moved(storage, path)
            except OSError as error:
                raise InvalidInput(f"It cannot be read: {error.strerror}.") from error


def files_below(folder: Path) -> Iterator[Path]:
    """The archives in the folder and below it, without hidden ones; a file stands for itself."""
    if folder.is_file():
        yield folder
    elif not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}.")
    for directory, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            if not name.startswith(".") and name.lower().endswith(ARCHIVES) and path.is_file():
                yield path


def import_path(storage: BaseStorage, actor: Actor, path: Path) -> bool:
    """Puts one file on the index; False when it was there already.

    :raises InvalidUpload: for what is no distribution.
    """
    with path.open("rb") as stream:
        file = File.get_or_none(File.filename == path.name)
        if (
            file is not None
            and path.stat().st_size == file.size
            and sha256_of(stream) == file.sha256
            and is_stored(storage, file)
        ):
            return False
        stream.seek(0)
        distribution = distributions.read(stream, path.name)
        stream.seek(0)
        with received(storage, stream) as incoming:
            return publishing.add_file(storage, actor, distribution, incoming, time_of(path))


def is_stored(storage: BaseStorage, file: File) -> bool:
    """Whether the storage has the file, whole, and its metadata.

    A disk is read for that. An object store is believed: reading costs as much as storing there.
    """
    on_disk = storage.get_path(file.location) is not None
    whole = publishing.is_whole(storage, file) if on_disk else storage.has(file.location, file.size)
    return whole and storage.has_metadata(file.location)


def time_of(path: Path) -> datetime:
    """When the file was last changed; now, when its file system tells a time that cannot be."""
    try:
        return min(utcnow(), datetime.fromtimestamp(path.stat().st_mtime, timezone.utc))
    except (ValueError, OverflowError):
        return utcnow()


def remove_if_moved(storage: BaseStorage, path: Path) -> None:
    """Removes a file that lay at another place of the storage than where it is kept now."""
    path = path.resolve()
    if any(path.is_relative_to(Path(folder).resolve()) for folder in storage.folders):
        file = File.named(path.name)
        kept = storage.get_path(file.location)
        if kept and not kept.samefile(path) and publishing.is_whole(storage, file):
            path.unlink()


def import_index(
    storage: BaseStorage,
    actor: Actor,
    index: OtherIndex,
    names: Iterable[str],
    limit: int,
    summary: Summary,
) -> None:
    """Puts every wheel and sdist of another index on this one, with upload time and yank state.

    :param actor: whose uploads they become.
    :param names: the projects to take; none means all.
    :param limit: bytes that a file may have.
    :param summary: where it is written down.
    :raises InvalidInput: for a name that is none, and when this is no index.
    :raises Unavailable: when the index, the storage or the database fail; what was added until
        then stays.
    :raises NotLoggedIn: when the index asks for other credentials.
    """
    names = [project_key(name) for name in names] or index.projects()
    for name in tqdm(names, desc="import", unit="project", disable=None):
        with summary.skipping(f"the project {name}"):
            page, before = index.project(name), summary.added
            files = [link for link in page.files if link.filename.lower().endswith(ARCHIVES)]
            files.sort(key=lambda link: link.upload_time or LONG_AGO)  # the newest metadata wins
            for link in tqdm(files, desc=name, unit="file", disable=None, leave=False):
                with summary.skipping(link.filename):
                    summary.count(import_link(storage, actor, index, name, link, limit))
            if summary.added > before:
                take_status(canonicalize_name(name), page)


def import_link(
    storage: BaseStorage, actor: Actor, index: OtherIndex, project: str, link: Link, limit: int
) -> bool:
    """Puts one file of another index on this one; False when it was here already.

    :raises InvalidUpload: for what is no distribution of the project.
    :raises FileExists: when the digests say that a file of this name is another one.
    """
    parsed = distributions.parse_filename(link.filename)
    check_project(project, (name for name, _ in parsed.readings))
    if is_listed_here(storage, link):
        return False
    incoming, changed = index.download(link, storage, limit)
    try:
        distribution = distributions.read(incoming.content(), link.filename)
        check_project(project, [distribution.normalized_name])
        time = link.upload_time or changed or utcnow()
        return publishing.add_file(storage, actor, distribution, incoming, time, link.yanked)
    finally:
        incoming.discard()


def check_project(project: str, names: Iterable[str]) -> None:
    """Refuses a file that is of none of these names, as pip does, with InvalidUpload."""
    if canonicalize_name(project) not in names:
        raise InvalidUpload(f"It is no file of the project {project}, on whose page it stands.")


def is_listed_here(storage: BaseStorage, link: Link) -> bool:
    """Whether this index has the file, judged by the digests that both know, else by its name.

    :raises FileExists: when it has another one of this name.
    """
    file = File.get_or_none(File.filename == link.filename)
    if file is None:
        return False
    if any(link.hashes.get(name, getattr(file, name)) != getattr(file, name) for name in KEPT):
        raise FileExists(link.filename)
    return is_stored(storage, file)


def take_status(name: str, page: ProjectPage) -> None:
    """Marks a project as it is marked there (PEP 792), when all its files came from there."""
    package = Package.named(name)
    listed = {link.filename for link in page.files}
    if page.status not in ("active", package.status) and all(
        file.filename in listed for file in File.of(package)
    ):
        packages.set_status(Actor(), name, page.status, page.reason[: packages.LONGEST_REASON])
