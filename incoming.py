"""A file on its way into the storage, and what a disk may say to that."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from extrapypi.errors import NoRoom, NotStored, StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, a quota, a limit
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # files, memory
CHUNK = 1024 * 1024  # bytes read or hashed at once
THREADED = 256 * 1024  # bytes from which hashing in threads is worth the hand-over
AHEAD = 4  # chunks of a file that wait to be hashed, at most
PIECES = 1024  # that wait to be one chunk: tiny ones take more memory than what is in them
STALE = 24 * 3600  # seconds after which what never arrived is swept away, where nobody can tell
HASHES: dict[str, Callable[[], Any]] = {
    "md5": partial(hashlib.md5, usedforsecurity=False),
    "sha256": hashlib.sha256,
    "blake2b_256": partial(hashlib.blake2b, digest_size=32),
}
# A thread for each kind, which takes the chunks in order; hashlib lets other threads run.
hashers = {name: ThreadPoolExecutor(1, name) for name in HASHES}


class Incoming:
    """A file on its way in: write to it, :meth:`finish` it, and the storage can take it over.

    It lies at ``path``, open as ``stream``; a driver reads it by :meth:`content` or moves it, and
    leaves the rest to :meth:`discard`. ``size`` is in bytes; ``digests`` has md5, sha256 and
    blake2b_256 in hex once it is finished.
    ``filename`` and ``metadata`` (the core metadata's bytes, or None) are set by the caller,
    ``location`` by the storage that has taken it over, ``sidecar`` by one that makes a file of the
    metadata, ``note`` by one that stores before the row is committed.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.stream = stream
        self.size = 0
        self.filename = ""
        self.metadata: bytes | None = None
        self.location = ""
        self.sidecar: Incoming | None = None
        self.note: Path | None = None
        self._unhashed: list[bytes] = []
        self._waiting = 0  # bytes in them
        self._hashing: deque[list[Future]] = deque()  # for each chunk
        self._hashes = {name: new() for name, new in HASHES.items()}

    def write(self, chunk: bytes) -> None:
        """Adds the bytes; threads hash them while the next ones come in.

        :raises NoRoom: when the disk is full.
        """
        with storage_errors():
            self.stream.write(chunk)
        self.size += len(chunk)
        self._unhashed.append(chunk)
        self._waiting += len(chunk)
        if self._waiting >= CHUNK or len(self._unhashed) >= PIECES:
            self._hash()

    def _hash(self) -> None:
        """Hashes what came since the last time; a little at once, much in threads."""
        chunk = b"".join(self._unhashed)
        if len(chunk) < THREADED:
            self._wait(0)
            for each in self._hashes.values():
                each.update(chunk)
        else:
            self._wait(AHEAD - 1)
            hashes = self._hashes.items()
            self._hashing.append([hashers[name].submit(h.update, chunk) for name, h in hashes])
        self._unhashed, self._waiting = [], 0

    @property
    def is_behind(self) -> bool:
        """Whether :meth:`write` would wait, because too many chunks are not hashed yet."""
        hashing = self._hashing
        return len(hashing) >= AHEAD and not all(each.done() for each in hashing[0])

    def _wait(self, most: int) -> None:
        """Waits until so few chunks are not hashed yet."""
        while len(self._hashing) > most:
            wait(self._hashing.popleft())

    def content(self) -> BinaryIO:
        """What was written, as a stream from its start on, which is not to be closed.

        A small file is in memory, where each read costs less.
        """
        self.stream.seek(0)
        if self.size > CHUNK:
            return self.stream
        return BytesIO(self.stream.read())

    def finish(self) -> None:
        """Makes sure that the bytes have reached the disk."""
        with storage_errors():
            self.stream.flush()
            os.fsync(self.stream.fileno())

    @property
    def digests(self) -> dict[str, str]:
        """The digests of what was written so far."""
        self._hash()
        self._wait(0)
        return {name: each.hexdigest() for name, each in self._hashes.items()}

    @property
    def metadata_sha256(self) -> str | None:
        """The digest of the core metadata, when there is some."""
        return None if self.metadata is None else hashlib.sha256(self.metadata).hexdigest()

    def discard(self) -> None:
        """Removes what the storage did not take over; may be called twice.

        What a full disk did not take is written once more at the end, in vain again; where nothing
        can be removed either, it is swept later.
        """
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self.path.unlink()
        if self.sidecar is not None:
            self.sidecar.discard()
        if self.note is not None:
            self.note.unlink(missing_ok=True)

    def leave_note(self) -> None:
        """Lets the note stay, for what was stored may not be on the index."""
        self.note = None


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns errors of the disk into StorageError: a missing file, a full disk, all others."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotStored(str(error.filename)) from error
    except OSError as error:
        if error.errno in FULL:
            raise NoRoom(f"There is no room left in the storage ({error.strerror}).") from error
        raise StorageError(f"The storage fails: {error.strerror or error}.") from error


def make_folder(folder: Path) -> None:
    """Makes the folder, and those above it; their names have reached the disk then."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


@contextmanager
def arrival_errors() -> Iterator[None]:
    """As :func:`storage_errors`, for what comes in: nothing of it is listed yet."""
    try:
        with storage_errors():
            yield
    except NotStored as error:
        raise StorageError("The folder for what comes in is not there.") from error


def sync(directory: Path) -> None:
    """Makes sure that the names in the directory have reached the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def new_file(folder: Path, mode: int = 0o666) -> tuple[Path, BinaryIO]:
    """A new, empty file in the folder, with a lock for as long as it is open.

    So :func:`sweep_folder` knows by whom it was left: a process that ends has no locks any more.
    """
    while True:
        path = folder / secrets.token_hex(16)
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), "w+b")
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        if path.exists():  # else it was swept away before it had its lock
            return path, stream
        stream.close()


def sweep_folder(folder: Path) -> None:
    """Removes the files of :func:`new_file` to which no process writes any more."""
    with storage_errors():
        paths = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    for path in paths:
        try:
            with path.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except BlockingIOError:  # somebody writes to it
            continue
        except OSError:  # of a file system without locks, or of a file that is another user's
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - STALE:
                    path.unlink()


def sha256_of(stream: BinaryIO) -> str:
    """The digest of the rest of a stream, in hex."""
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def room(folder: Path) -> int:
    """Bytes that are free in the file system of the folder."""
    with arrival_errors():
        return shutil.disk_usage(folder).free
