"""Moving distributions in from folders, and comparing the database with the storage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tqdm import tqdm

from extrapypi import distributions, publishing
from extrapypi.auth import Actor
from extrapypi.errors import ExtraPyPIError, InvalidInput, NoRoom
from extrapypi.incoming import CHUNK
from extrapypi.models import File
from extrapypi.storage import SIDECAR, BaseStorage

MEND = "`import` it from a copy, or upload it again."
# What may have been meant as a distribution: others are passed over without a word.
ARCHIVES = (
    *(".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.z", ".tar"),
    *(".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg"),
)


@dataclass
class Summary:
    """What an import did: files added, files that were there, (path, reason) of the others."""

    added: int = 0
    known: int = 0
    bad: list[tuple[Path, str]] = field(default_factory=list)


def import_folders(storage: BaseStorage, actor: Actor, folders: Iterable[str | Path]) -> Summary:
    """Puts every wheel and sdist below the folders on the index, keeping its time.

    What is there already is left alone, so that an import that was broken off can be repeated.

    :param actor: whose uploads they become.
    :raises InvalidInput: for a folder that does not exist.
    :raises NoRoom: when the disk is full; what was added until then stays.
    """
    summary = Summary()
    paths = [path for folder in folders for path in files_below(Path(folder))]
    for path in tqdm(paths, desc="import", unit="file", disable=None):
        try:
            if import_file(storage, actor, path):
                summary.added += 1
            else:
                summary.known += 1
            remove_if_moved(storage, path)
        except NoRoom:
            raise
        except ExtraPyPIError as error:
            summary.bad.append((path, str(error)))
        except OSError as error:
            summary.bad.append((path, f"It cannot be read: {error.strerror}."))
    return summary


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


def import_file(storage: BaseStorage, actor: Actor, path: Path) -> bool:
    """Puts one file on the index; False when it was there already.

    :raises InvalidUpload: for what is no distribution.
    """
    with path.open("rb") as stream:
        distribution = distributions.read(stream, path.name)
        stream.seek(0)
        incoming = storage.receive()
        try:
            while chunk := stream.read(CHUNK):
                incoming.write(chunk)
            incoming.finish()
            time = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
            return publishing.add_file(storage, actor, distribution, incoming, time)
        finally:
            incoming.discard()


def remove_if_moved(storage: BaseStorage, path: Path) -> None:
    """Removes a file that lay at another place of the storage than where it is kept now."""
    path = path.absolute()
    if any(path.is_relative_to(Path(folder).absolute()) for folder in storage.folders):
        file = File.named(path.name)
        kept = storage.get_path(file.location)
        if not kept.samefile(path) and publishing.is_whole(storage, file):
            path.unlink()


def check(storage: BaseStorage, deep: bool = False) -> Iterator[str]:
    """One line for each difference between the database and the storage.

    :param deep: also reads every file and compares its digests.
    """
    stored = dict(storage.stored())
    expected = set()
    for file in File.select().iterator():
        expected |= {file.location, file.location + SIDECAR}
        if stored.get(file.location) != file.size or file.location + SIDECAR not in stored:
            yield from check_stored(storage, file)
        elif deep:
            yield from check_digests(storage, file)
    for location in sorted(set(stored) - expected):
        owner = location.removesuffix(SIDECAR)
        if not File.select().where(File.location.in_([location, owner])).exists():
            yield f"leftover: {location} is in the storage but not on the index."


def check_stored(storage: BaseStorage, file: File) -> Iterator[str]:
    """One line when the file is not whole in the storage, looked up once more.

    What was uploaded or deleted while the storage was listed is no fault.
    """
    if not File.select().where(File.id == file.id).exists():
        return
    if not storage.has(file.location, file.size):
        yield f"missing: {file.filename} is not in the storage with its {file.size} bytes; " + MEND
    elif not storage.has_metadata(file.location):
        yield f"missing: the core metadata of {file.filename} is not in the storage; " + MEND


def check_digests(storage: BaseStorage, file: File) -> Iterator[str]:
    """One line for each digest that is not the listed one."""
    if not publishing.is_whole(storage, file):
        yield f"digest: {file.filename} has other bytes in the storage than listed; " + MEND
    if file.metadata_sha256:
        found = hashlib.sha256(storage.get_metadata(file.location)).hexdigest()
        if found != file.metadata_sha256:
            yield f"digest: the core metadata of {file.filename} is not the listed one."
