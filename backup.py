"""Making a backup of the index while it is served; :mod:`extrapypi.manifest` tells its format."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from extrapypi import publishing
from extrapypi.database import give_back
from extrapypi.dumping import Copy, beginning, dump, written
from extrapypi.errors import InvalidInput, NoRoom, NotStored, Unavailable
from extrapypi.incoming import FULL, sync
from extrapypi.manifest import MANIFEST, SUMS, read_manifest, read_sums
from extrapypi.models import File, Package, Serial
from extrapypi.storage import SIDECAR, BaseStorage, LocalStorage, received

MARK = ".extrapypi-backup"  # is there from the beginning, and locked while a backup is made
ROUNDS = 5  # snapshots until one is found of which no file was deleted before it was copied


def back_up(storage: BaseStorage, destination: str | Path) -> dict[str, Any]:
    """Copies the index into the folder; the manifest of the finished backup.

    The folder is new, empty, or an earlier backup of the same index, broken off or not: what it has
    already is kept, what the index has no more is dropped. An earlier backup stays valid to the
    end.

    :raises InvalidInput: for another folder.
    :raises NoRoom: when its disk is full.
    :raises Unavailable: when files were deleted in every round.
    """
    folder = Path(destination).resolve()
    if any(folder.is_relative_to(place.resolve()) for place in storage.folders):
        raise InvalidInput(f"{folder} lies in the storage; a backup needs a place of its own.")
    with claimed(folder):
        refuse_other(folder)
        try:
            return Backup(storage, folder).make()
        except (NoRoom, OSError) as error:
            if isinstance(error, OSError) and error.errno not in FULL:
                raise
            raise NoRoom(f"There is no room left for the backup in {folder}.") from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Holds the folder for one backup; what is made in it is for its owner only.

    :raises InvalidInput: for a folder with something else in it, or with a backup under way.
    """
    umask = os.umask(0o077)
    try:
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is no folder.")
        folder.mkdir(parents=True, exist_ok=True)
        names = os.listdir(folder)
        if names and MARK not in names and MANIFEST not in names:
            raise InvalidInput(f"{folder} is neither empty nor a backup; name another folder.")
        with (folder / MARK).open("ab") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise InvalidInput(f"Another backup into {folder} is under way.") from None
    finally:
        os.umask(umask)


def refuse_other(folder: Path) -> None:
    """Refuses a folder with the backup of another index, or of a later state of this one."""
    if not (folder / MANIFEST).exists():
        return
    earlier = read_manifest(folder)
    if earlier.get("index") != beginning():
        raise InvalidInput(f"{folder} has the backup of another index; name another folder.")
    if earlier["serial"] > (serial := Serial.select(Serial.value).scalar()):
        raise InvalidInput(
            f"The backup in {folder} is of a later state (serial {earlier['serial']}) than this "
            f"index has (serial {serial}); name another folder."
        )


class Backup:
    """One run: rounds of a snapshot of the tables and the copying of its files, then the end."""

    def __init__(self, storage: BaseStorage, folder: Path) -> None:
        self.storage = storage
        self.folder = folder
        self.new = folder / "tables.new"
        self.known = {path: digest for digest, path in read_sums(folder)}
        self.kept = LocalStorage(packages_root=str(folder / "files"))
        for path in self.kept.incoming.iterdir():  # of a backup that was broken off
            path.unlink()

    def make(self) -> dict[str, Any]:
        """The manifest of the finished backup."""
        for _ in range(ROUNDS):
            shutil.rmtree(self.new, ignore_errors=True)
            self.new.mkdir()
            self.manifest, self.files = dump(self.new)
            if self.copy_files():
                self.finish()
                return self.manifest
        raise Unavailable(
            f"In each of {ROUNDS} rounds a file was deleted before it was copied. "
            "What was copied is kept; run the backup again."
        )

    def copy_files(self) -> bool:
        """Copies what the backup lacks, and writes the sums; whether that is all there was.

        It is not when a file was deleted in the meantime: then a new snapshot does not have it.
        """
        give_back()
        missing, is_complete = [], True
        with (self.folder / f"{SUMS}.new").open("w", encoding="ascii") as sums:
            for table in self.manifest["tables"].values():
                sums.write(f"{table['sha256']}  {table['file']}\n")
            for file in tqdm(self.files, desc="backup", unit="file", disable=None):
                lacking = [] if self.has(file) else self.copy(file)
                if lacking and not self.is_listed(file):
                    is_complete = False
                else:
                    missing += lacking
                    sums.writelines(self.sums_of(file, lacking))
            sums.write(f"{self.write_manifest(missing)}  {MANIFEST}\n")
            written(sums)
        return is_complete

    def sums_of(self, file: Copy, lacking: list[str]) -> Iterator[str]:
        """The lines of the sums for a file and its core metadata."""
        if file.location not in lacking:
            yield f"{file.sha256}  files/{file.location}\n"
        if file.has_metadata and not lacking:
            yield f"{self.metadata_digest(file)}  files/{file.location}{SIDECAR}\n"

    def write_manifest(self, missing: list[str]) -> str:
        """Writes the new manifest, not yet in its place; its sha256."""
        self.manifest["missing"] = missing
        content = json.dumps(self.manifest, ensure_ascii=False, indent=1).encode() + b"\n"
        with (self.folder / f"{MANIFEST}.new").open("wb") as stream:
            stream.write(content)
            written(stream)
        return hashlib.sha256(content).hexdigest()

    def has(self, file: Copy) -> bool:
        """Whether the backup has the file from before; what no sum vouches for is read."""
        path = f"files/{file.location}"
        if file.has_metadata:
            digest = self.metadata_digest(file)
            right = file.metadata_sha256 or self.known.get(path + SIDECAR, digest)
            if digest is None or digest != right:
                return False
        if self.known.get(path) == file.sha256:
            return self.kept.has(file.location, file.size)
        return publishing.is_whole(self.kept, file)

    def metadata_digest(self, file: Copy) -> str | None:
        """The sha256 of the core metadata that the backup has; None when it has none."""
        with suppress(NotStored):
            return hashlib.sha256(self.kept.get_metadata(file.location)).hexdigest()
        return None

    def copy(self, file: Copy) -> list[str]:
        """Copies a file and its metadata; the paths of what the storage does not have as listed."""
        with (
            suppress(NotStored),
            closing(self.storage.get_file(file.source)) as stream,
            received(self.kept, stream) as incoming,
        ):
            if incoming.digests["sha256"] == file.sha256:
                project, _, incoming.filename = file.location.partition("/")
                incoming.metadata = self.metadata_of(file)
                package = Package(normalized_name=project)
                self.kept.prepare(package, incoming)
                self.kept.create_package(package)
                self.kept.delete_file(file.location)  # what was damaged here
                self.kept.create_release(package, incoming)
                lacks_metadata = file.has_metadata and incoming.metadata is None
                return [file.location + SIDECAR] if lacks_metadata else []
        return [file.location]

    def metadata_of(self, file: Copy) -> bytes | None:
        """The core metadata that the storage has, when it is the listed one."""
        with suppress(NotStored):
            metadata = self.storage.get_metadata(file.source)
            if file.metadata_sha256 in (None, hashlib.sha256(metadata).hexdigest()):
                return metadata
        return None

    def is_listed(self, file: Copy) -> bool:
        """Whether the index has the file still, at the place where it was looked for."""
        return File.select().where(File.id == file.id, File.location == file.source).exists()

    def finish(self) -> None:
        """Puts the new tables, sums and manifest in the place of the old, and drops old files."""
        (self.folder / MANIFEST).unlink(missing_ok=True)  # which is not that of the new tables
        sync(self.folder)
        shutil.rmtree(self.folder / "tables", ignore_errors=True)
        self.new.rename(self.folder / "tables")
        for name in (SUMS, MANIFEST):
            (self.folder / f"{name}.new").replace(self.folder / name)
        sync(self.folder)
        wanted = {file.location for file in self.files}
        for location, _ in list(self.kept.stored()):
            if location.removesuffix(SIDECAR) not in wanted:
                self.kept.delete_file(location.removesuffix(SIDECAR))
                self.kept.delete_package(Package(normalized_name=location.partition("/")[0]))
