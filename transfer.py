"""Moving distributions in from folders, and comparing the database with the storage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tqdm import tqdm

from extrapypi import distributions, packages
from extrapypi.auth import Actor
from extrapypi.errors import ExtraPyPIError, InvalidInput, NoRoom
from extrapypi.models import File
from extrapypi.storage import SIDECAR, BaseStorage

CHUNK = 1024 * 1024  # bytes read at once


@dataclass
class Summary:
    """What an import did: files added, files that were there, (path, reason) of the others."""

    added: int = 0
    known: int = 0
    bad: list[tuple[Path, str]] = field(default_factory=list)


def import_folders(
    storage: BaseStorage, actor: Actor, folders: Iterable[str | Path], quiet: bool = False
) -> Summary:
    """Puts every wheel and sdist below the folders on the index, keeping its time.

    What is there already is left alone, so that an import that was broken off can be repeated.

    :param actor: whose uploads they become.
    :raises InvalidInput: for a folder that does not exist.
    :raises NoRoom: when the disk is full; what was added until then stays.
    """
    summary = Summary()
    paths = [path for folder in folders for path in files_below(Path(folder))]
    for path in tqdm(paths, desc="import", unit="file", disable=quiet or None):
        try:
            if import_file(storage, actor, path):
                summary.added += 1
            else:
                summary.known += 1
            remove_if_moved(storage, path)
        except NoRoom:
            raise
        except (ExtraPyPIError, OSError) as error:
            summary.bad.append((path, str(error)))
    return summary


def files_below(folder: Path) -> Iterator[Path]:
    """The files in the folder and its subfolders, without hidden ones and stored metadata."""
    if folder.is_file():
        yield folder
    elif not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}.")
    for directory, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith((SIDECAR, ".asc")):
                yield Path(directory, name)


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
            return packages.add_file(storage, actor, distribution, incoming, time)
        finally:
            incoming.discard()


def remove_if_moved(storage: BaseStorage, path: Path) -> None:
    """Removes a file that lay at another place of the storage than where it is kept now."""
    path = path.absolute()
    if any(path.is_relative_to(Path(folder).absolute()) for folder in storage.folders):
        file = File.named(path.name)
        if storage.get_file(file.location).absolute() != path:
            path.unlink()


def check(storage: BaseStorage, deep: bool = False) -> Iterator[str]:
    """One line for each difference between the database and the storage.

    :param deep: also reads every file and compares its digests.
    """
    stored = dict(storage.stored())
    expected = set()
    for file in File.select().iterator():
        expected |= {file.location, file.location + SIDECAR}
        if file.location not in stored:
            yield f"missing: {file.filename} is on the index but not in the storage."
        elif stored[file.location] != file.size:
            found = stored[file.location]
            yield f"size: {file.filename} has {found} bytes in the storage, {file.size} listed."
        elif file.metadata_sha256 and file.location + SIDECAR not in stored:
            yield f"missing: the core metadata of {file.filename} is not in the storage."
        elif deep:
            yield from check_digests(storage, file)
    for location in sorted(set(stored) - expected):
        yield f"leftover: {location} is in the storage but not on the index."


def check_digests(storage: BaseStorage, file: File) -> Iterator[str]:
    """One line for each digest that is not the listed one."""
    digest = hashlib.sha256()
    with storage.get_file(file.location).open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != file.sha256:
        yield f"digest: {file.filename} has other bytes in the storage than listed."
    if file.metadata_sha256:
        found = hashlib.sha256(storage.get_metadata(file.location)).hexdigest()
        if found != file.metadata_sha256:
            yield f"digest: the core metadata of {file.filename} is not the listed one."
