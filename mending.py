"""Mending what :mod:`extrapypi.checking` finds, and sweeping up what crashes have left.

Both may be done while the index is served.

A fault is looked up once more under the writers' lock before something is done; numbers are just
counted again. Nothing is deleted that could be the only copy of something: it is set aside in the
storage. Each repair has a line in the journal.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import peewee

from extrapypi import distributions, models, packages
from extrapypi.auth import Actor
from extrapypi.batches import Batch, Writer
from extrapypi.checking import Fault, Listed, digest_of
from extrapypi.database import connection, retried
from extrapypi.errors import InvalidUpload, NotFound, NotStored, Unavailable
from extrapypi.incoming import STALE, Incoming, storage_errors
from extrapypi.models import File, Journal, Package, UsedFilename, writing
from extrapypi.storage import SIDECAR, BaseStorage, received

log = logging.getLogger("extrapypi")

DAY = 24 * 3600  # seconds between two sweeps


class Sweeper(Batch):
    """Sweeps the storage once a day, in the thread of the batches."""

    def __init__(self, writer: Writer, storage: BaseStorage) -> None:
        super().__init__(writer)
        self.storage = storage
        self.due = time.monotonic() + DAY

    def flush(self) -> None:
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + DAY
            sweep(self.storage)


def sweep(storage: BaseStorage) -> None:
    """Removes what uploads and deletions left that never came to an end.

    Temporary files go, and what was stored and is not on the index, when a note tells of it. What
    cannot be removed now stays for the next time.
    """
    try:
        with connection():
            storage.sweep()
            sweep_noted(storage)
    except (peewee.PeeweeException, Unavailable) as error:  # files may be served all the same
        log.warning("What was broken off stays in the storage for now: %s", error)


def sweep_noted(storage: BaseStorage) -> None:
    """Removes what the notes tell of, unless it is on the index, or may be in a moment.

    Not while the index lists no files at all: then rather the database is the wrong one.
    """
    notes = list(storage.notes())
    if not notes or not File.select().exists():
        return
    for note, location in notes:
        with suppress(NotStored), storage_errors():  # it came to its end meanwhile
            is_old = note.lstat().st_mtime < time.time() - STALE
            if is_old or not storage.on_its_way(location):
                remove_unlisted(storage, location)
                note.unlink()


@retried
def remove_unlisted(storage: BaseStorage, location: str) -> None:
    """Removes what lies at the location, if no file on the index has it."""
    with writing():
        is_listed = File.select().where(File.location == location).exists()
        if not is_listed and storage.REUSES:
            storage.delete_file(location)  # before an upload of the same name can come to it
    if not is_listed and not storage.REUSES:
        storage.delete_file(location)


def repair(storage: BaseStorage, actor: Actor, faults: list[Fault]) -> Iterator[tuple[Fault, str]]:
    """Mends the faults; each with what was done, "" where nothing could be done.

    A file gets its bytes back when the storage has them under another name, and its core metadata
    from its bytes; a leftover is set aside. Rows of files stay as they are. The storage is swept
    first.
    """
    sweep(storage)
    spare = {fault.subject: fault.size for fault in faults if fault.kind == "leftover"}
    for fault in sorted(faults, key=lambda fault: fault.kind == "leftover"):
        done = ""
        try:
            with suppress(NotStored):
                done = MENDERS[fault.kind](storage, actor, fault.subject, spare)
        except NotFound:
            done = f"it is no longer so: {fault.text}"
        yield fault, done


def mend_bytes(storage: BaseStorage, actor: Actor, file: Listed, spare: dict[str, int]) -> str:
    """Takes the bytes of a file from a leftover that has the same ones."""
    row_of(file)
    for location, size in spare.items():
        if size == file.size and digest_of(storage, location) == file.sha256:
            return store_again(storage, actor, file, location, file.location)
    return ""


def mend_metadata(storage: BaseStorage, actor: Actor, file: Listed, spare: dict[str, int]) -> str:
    """Makes the core metadata of a file again, from its bytes."""
    return store_again(storage, actor, file, file.location, file.location + SIDECAR)


def row_of(file: Listed) -> File:
    """The row of the file.

    :raises NotFound: when it went off the index, or lies elsewhere by now.
    """
    row = File.named(file.filename)
    if row.location != file.location:
        raise NotFound(f"{file.filename} is no longer at {file.location}.")
    return row


def store_again(storage: BaseStorage, actor: Actor, file: Listed, source: str, wrong: str) -> str:
    """Stores a file with its core metadata from the bytes at ``source``; what was done.

    What lies at ``wrong`` is set aside.
    """
    with closing(storage.get_file(source)) as stream, received(storage, stream) as incoming:
        incoming.filename = file.filename
        incoming.metadata = metadata_in(incoming, file)
        if incoming.digests["sha256"] != file.sha256 or (
            incoming.metadata is None and wrong != file.location
        ):
            return ""
        package = row_of(file).release.package
        aside = make_room(storage, file, wrong) if storage.REUSES else ""
        storage.prepare(package, incoming)
        put_in_place(storage, actor, package, file, incoming)
    if not storage.REUSES:
        leave(storage, file, is_good=source == file.location)
    return f"{file.filename} is stored again, from {source}{aside}."


def leave(storage: BaseStorage, file: Listed, is_good: bool) -> None:
    """Clears the place where a file was, now that another one has its bytes."""
    if is_good:
        storage.delete_file(file.location)
        return
    for location in (file.location, file.location + SIDECAR):
        with suppress(NotStored):
            storage.set_aside(location)


def metadata_in(incoming: Incoming, file: Listed) -> bytes | None:
    """The core metadata in the file that came in; None when there is none, or not the listed."""
    incoming.stream.seek(0)
    try:
        metadata = distributions.read(incoming.stream, file.filename).metadata_bytes
    except InvalidUpload:
        return None
    is_right = file.metadata_sha256 in (None, hashlib.sha256(metadata).hexdigest())
    return metadata if is_right else None


@retried
def make_room(storage: BaseStorage, file: Listed, wrong: str) -> str:
    """Sets aside what lies at the location ``wrong``, and tells where it is then."""
    with writing(), suppress(NotStored):
        row_of(file)
        return f"; what lay there is now {storage.set_aside(wrong)}"
    return ""


@retried
def put_in_place(
    storage: BaseStorage, actor: Actor, package: Package, file: Listed, incoming: Incoming
) -> None:
    """Lets the storage take the file over, and notes where."""
    with writing() as serial:
        row = row_of(file)
        storage.create_package(package)
        row.location = storage.create_release(package, incoming)
        row.save(only=["location"])
        Journal.add(serial, actor, "repair", package=package.name, filename=file.filename)


def set_aside(storage: BaseStorage, actor: Actor, location: str, spare: dict[str, int]) -> str:
    """Sets a leftover aside; what was done.

    Not while the index lists no files at all: then rather the database is the wrong one.
    """
    if storage.on_its_way(location) or not File.select().exists():
        return ""
    if storage.REUSES:
        return set_aside_unlisted(storage, actor, location)
    note_aside(actor, detail := f"{location} is now {storage.set_aside(location)}")
    return f"{detail}."


@retried
def set_aside_unlisted(storage: BaseStorage, actor: Actor, location: str) -> str:
    """Sets aside what an upload may bring to the index at any time, unless that has happened."""
    owner = location.removesuffix(SIDECAR)
    with writing():
        if File.select().where(File.location.in_([location, owner])).exists():
            return f"{location} is on the index by now."
        note_aside(actor, detail := f"{location} is now {storage.set_aside(location)}")
        return f"{detail}."


@retried
def note_aside(actor: Actor, detail: str) -> None:
    """Writes down where something is now that was set aside."""
    with writing() as serial:
        Journal.add(serial, actor, "set aside", detail=detail)


@retried
def remove_empty(storage: BaseStorage, actor: Actor, name: str, spare: dict[str, int]) -> str:
    """Removes the releases of a project that have no files, and the project when none is left."""
    with writing() as serial:
        package = Package.named(name)
        packages.remove_rows(package, packages.versions_of(package), [], serial)
        Journal.add(serial, actor, "repair", package=name, detail="removed what has no files")
    return f"Nothing of {name} is without files any more."


@retried
def claim_name(storage: BaseStorage, actor: Actor, filename: str, spare: dict[str, int]) -> str:
    """Keeps a file's name for its bytes."""
    with writing() as serial:
        file = File.named(filename)
        UsedFilename.get_or_create(filename=filename, defaults={"sha256": file.sha256})
        what = {"package": file.release.package.name, "filename": filename}
        Journal.add(serial, actor, "repair", **what, detail="claimed the name")
    return f"The name {filename} is kept for its bytes."


@retried
def count_again(storage: BaseStorage, actor: Actor, name: str, spare: dict[str, int]) -> str:
    """Makes the numbers anew that are kept of a project."""
    with writing() as serial:
        package = Package.named(name)
        package.touch(serial)
        Journal.add(serial, actor, "repair", package=package.name, detail="counted again")
    return f"The numbers of {name} are right again."


@retried
def add_up(storage: BaseStorage, actor: Actor, name: str, spare: dict[str, int]) -> str:
    """Makes the sums anew that are kept of the whole index."""
    with writing() as serial:
        models.add_up()
        Journal.add(serial, actor, "repair", detail="added up again")
    return "The sums of the index are right again."


MENDERS: dict[str, Callable[..., str]] = {  # kind of a fault -> what mends it
    "bytes": mend_bytes,
    "metadata": mend_metadata,
    "leftover": set_aside,
    "empty": remove_empty,
    "name": claim_name,
    "numbers": count_again,
    "sums": add_up,
}
