"""Where the bytes of distributions live: the contract of a storage driver, and the local one.

A driver is chosen by its name in the setting STORAGE: a built-in one, a dotted path
``my.module:MyStorage``, or the name of an entry point in the group ``extrapypi.storage``.
"""

from __future__ import annotations

import importlib
import inspect
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, BinaryIO

from packaging.metadata import RawMetadata, parse_email

from extrapypi.database import utcnow
from extrapypi.errors import ConfigError, StorageError
from extrapypi.incoming import (
    CHUNK,
    Incoming,
    arrival_errors,
    make_folder,
    new_file,
    sha256_of,
    storage_errors,
    sweep_folder,
    sync,
)
from extrapypi.models import Package

GROUP = "extrapypi.storage"
SIDECAR = ".metadata"
"""Suffix of the core metadata beside a file, as in its URL (PEP 658)."""


class BaseStorage:
    """What a driver does. All raise :class:`StorageError` or its kinds when they cannot.

    :param params: the setting STORAGE_PARAMS; each becomes an attribute.
    :raises ConfigError: for parameters that the driver does not know.
    """

    NAME = ""
    REUSES = True
    """Whether a location may be given once more, to another upload of the same name."""

    def __init__(self, **params: Any) -> None:
        self.__dict__.update(params)

    def receive(self) -> Incoming:
        """A new, empty file of the driver's own, which nobody else sees.

        On a local disk: the server's main loop writes to it while an upload comes in.
        """
        raise NotImplementedError

    def prepare(self, package: Package, incoming: Incoming) -> None:
        """The slow part of storing, always done before the transaction; may do nothing.

        :meth:`Incoming.discard` takes it back when :meth:`create_release` was not called.
        """

    def create_package(self, package: Package) -> None:
        """Makes a place for the project; may do nothing."""

    def create_release(self, package: Package, incoming: Incoming) -> str:
        """Takes the finished file over and returns its location, which ``File`` keeps.

        Quick: it runs inside the transaction, after the unique row is in; when the transaction
        has to be repeated, it is called again and gives the same. The core metadata is stored
        beside the file. Another file that lies at that place is set aside.
        """
        raise NotImplementedError

    def delete_file(self, location: str) -> None:
        """Removes a file and its metadata, after the commit; what is absent is no error."""
        raise NotImplementedError

    def delete_package(self, package: Package) -> None:
        """Removes the project's place, when it is empty; may do nothing."""

    def get_files(self, package: Package) -> list[str]:
        """The names of the project's files that are stored."""
        raise NotImplementedError

    def get_file(self, location: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The file's bytes as an open stream, which the caller closes.

        It begins at the byte ``start`` and reaches to ``stop`` at least, where None is the end.
        """
        raise NotImplementedError

    def get_path(self, location: str) -> Path | None:
        """Where the file lies on a disk of this machine; None when it does not."""
        return None

    def get_url(self, location: str, agent: str) -> str | None:
        """A URL where this client (its User-Agent) may GET the file; None: from this index."""
        return None

    def has(self, location: str, size: int) -> bool:
        """Whether a file of so many bytes is there."""
        raise NotImplementedError

    def has_metadata(self, location: str) -> bool:
        """Whether the core metadata of the file is there."""
        raise NotImplementedError

    def get_metadata(self, location: str) -> bytes:
        """The core metadata that was stored beside the file."""
        raise NotImplementedError

    def get_releases_metadata(self) -> Iterator[tuple[str, RawMetadata]]:
        """Project name and core metadata of every distribution in the store, one by one."""
        raise NotImplementedError

    def stored(self) -> Iterator[tuple[str, int]]:
        """Location and size in bytes of everything stored, files and metadata alike.

        The metadata of a file is at the file's location with :data:`SIDECAR` behind it.
        """
        raise NotImplementedError

    def on_its_way(self, location: str) -> bool:
        """Whether an upload may have stored this, or be about to, whose row is not there yet.

        Only a driver that stores before :meth:`create_release` can say so.
        """
        return False

    def set_aside(self, location: str) -> str:
        """Moves one thing that is stored to where :meth:`stored` does not list it.

        Nothing that was set aside before is replaced. Returns its new location, from which
        :meth:`get_file` still reads it.
        """
        raise NotImplementedError

    def note(self, location: str) -> Path | None:
        """Notes on this machine's disk that something may lie there which is not on the index.

        A driver does so before it stores, and :mod:`~extrapypi.packages` before it deletes. Who is
        done removes the note; one that stays was left by a crash. None without a disk for it: then
        only `check` finds what is left.
        """
        with suppress(OSError):
            if self.spool is not None:
                path = self.spool / secrets.token_hex(16)
                path.symlink_to(self.noted_as + location)  # at once, unlike a file and its text
                return path
        return None

    def notes(self) -> Iterator[tuple[Path, str]]:
        """The notes that are there, each with its location."""
        if self.spool is None:
            return
        with storage_errors():
            paths = [path for path in self.spool.iterdir() if path.is_symlink()]
        for path in paths:
            with suppress(FileNotFoundError):  # it is done
                text = os.readlink(path)
                if text.startswith(self.noted_as):
                    yield path, text.removeprefix(self.noted_as)

    @property
    def noted_as(self) -> str:
        """Begins the text of the notes, where other storages may have the same spool."""
        return ""

    def sweep(self) -> None:
        """Removes what uploads left that never came to an end, but for notes; may do nothing."""

    def ping(self) -> None:
        """Raises StorageError while files cannot be read and written."""
        raise NotImplementedError

    @property
    def spool(self) -> Path | None:
        """A folder for request bodies on their way in, or None for the system's."""
        return None

    @property
    def folders(self) -> list[Path]:
        """Where `import` looks for files that were put there by hand; may be none."""
        return []


class LocalStorage(BaseStorage):
    """A directory per normalized project name below ``packages_root``."""

    NAME = "LocalStorage"

    def __init__(self, packages_root: str) -> None:
        super().__init__(packages_root=packages_root)
        self.root = Path(packages_root)
        self.incoming = self.root / ".incoming"
        try:
            make_folder(self.incoming)
        except OSError as error:
            raise StorageError(f"{self.root} cannot be written: {error.strerror}.") from error

    def receive(self) -> Incoming:
        with arrival_errors():
            return Incoming(*new_file(self.incoming))

    def prepare(self, package: Package, incoming: Incoming) -> None:
        if incoming.metadata is not None and incoming.sidecar is None:
            sidecar = incoming.sidecar = self.receive()
            with storage_errors():
                sidecar.stream.write(incoming.metadata)
            sidecar.finish()

    def create_package(self, package: Package) -> None:
        with storage_errors():
            make_folder(self.root / package.normalized_name)

    def create_release(self, package: Package, incoming: Incoming) -> str:
        if incoming.location:
            if not self.has(incoming.location, incoming.size):  # between two attempts
                raise StorageError(f"{incoming.filename} was swept away; send it again.")
            return incoming.location
        location = f"{package.normalized_name}/{incoming.filename}"
        target = self.root / location
        with storage_errors():
            if target.is_file() and not has_bytes(target, incoming):
                self.set_aside(location)
            incoming.note = self.note(location)
            # Both lie in the same file system, complete and synced: a rename shows the whole file
            # or none of it, whenever the power goes.
            if incoming.sidecar is not None:
                os.replace(incoming.sidecar.path, target.with_name(target.name + SIDECAR))
            os.replace(incoming.path, target)
            sync(target.parent)
        incoming.location = location
        return location

    def delete_file(self, location: str) -> None:
        with storage_errors():
            for path in (self.root / location, self.root / (location + SIDECAR)):
                path.unlink(missing_ok=True)

    def delete_package(self, package: Package) -> None:
        with suppress(OSError):  # not empty: something that is not ours lies there
            (self.root / package.normalized_name).rmdir()

    def get_files(self, package: Package) -> list[str]:
        prefix = f"{package.normalized_name}/"
        stored = [location for location, _ in self.stored() if location.startswith(prefix)]
        return [name.removeprefix(prefix) for name in stored if not name.endswith(SIDECAR)]

    def get_file(self, location: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        with storage_errors():
            stream = self.get_path(location).open("rb")
            stream.seek(start)
            return stream

    def get_path(self, location: str) -> Path:
        return self.root / location

    def has(self, location: str, size: int) -> bool:
        try:
            found = (self.root / location).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def has_metadata(self, location: str) -> bool:
        return (self.root / (location + SIDECAR)).is_file()

    def get_metadata(self, location: str) -> bytes:
        with storage_errors():
            return (self.root / (location + SIDECAR)).read_bytes()

    def get_releases_metadata(self) -> Iterator[tuple[str, RawMetadata]]:
        for location, _ in self.stored():
            if location.endswith(SIDECAR):
                yield (
                    location.partition("/")[0],
                    parse_email((self.root / location).read_bytes())[0],
                )

    def stored(self) -> Iterator[tuple[str, int]]:
        for directory, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(directory, name)
                with storage_errors(), suppress(FileNotFoundError):  # deleted meanwhile
                    if path.is_file():
                        yield path.relative_to(self.root).as_posix(), path.stat().st_size

    def set_aside(self, location: str) -> str:
        folder = self.root / ".aside" / f"{utcnow():%Y-%m-%d}"
        target, number = folder / location, 1
        with storage_errors():
            while target.exists():
                target, number = folder / f"{location}.{number}", number + 1
            make_folder(target.parent)
            (self.root / location).rename(target)
            sync(target.parent)
        return target.relative_to(self.root).as_posix()

    def sweep(self) -> None:
        sweep_folder(self.incoming)

    def ping(self) -> None:
        if not os.access(self.incoming, os.R_OK | os.W_OK | os.X_OK):
            raise StorageError(f"The storage {self.root} cannot be read and written.")

    @property
    def spool(self) -> Path | None:
        return self.incoming

    @property
    def folders(self) -> list[Path]:
        return [self.root]


def has_bytes(path: Path, incoming: Incoming) -> bool:
    """Whether the file has the bytes that came in."""
    if path.stat().st_size != incoming.size:
        return False
    with path.open("rb") as stream:
        return sha256_of(stream) == incoming.digests["sha256"]


@contextmanager
def received(storage: BaseStorage, stream: BinaryIO) -> Iterator[Incoming]:
    """A finished file of the storage's own, with the rest of the stream in it.

    It is discarded at the end, unless the storage has taken it over.
    """
    incoming = storage.receive()
    try:
        while chunk := stream.read(CHUNK):
            incoming.write(chunk)
        incoming.finish()
        yield incoming
    finally:
        incoming.discard()


BUILT_IN = {  # name -> where the driver is, which is imported only when it is chosen
    "LocalStorage": "extrapypi.storage:LocalStorage",
    "S3Storage": "extrapypi.s3:S3Storage",
}


def get_store(name: str, params: dict[str, Any]) -> BaseStorage:
    """The storage driver of this name, ready to use.

    :raises ConfigError: for an unknown driver (listing the known ones) or wrong parameters.
    """
    driver = find_driver(name)
    if not (isinstance(driver, type) and issubclass(driver, BaseStorage)):
        raise ConfigError(f"STORAGE {name!r} is no kind of extrapypi.storage.BaseStorage.")
    try:
        inspect.signature(driver).bind(**params)
    except TypeError as error:
        raise ConfigError(f"STORAGE_PARAMS do not fit {name}: {error}.") from error
    try:
        return driver(**params)
    except (StorageError, ValueError) as error:  # ValueError: a NUL in a path
        raise ConfigError(f"STORAGE_PARAMS cannot be used: {error}") from error


def find_driver(name: str) -> type[BaseStorage]:
    """The class of a driver: built in, by dotted path, or of an installed package."""
    installed = {point.name: point for point in entry_points(group=GROUP)}
    place = BUILT_IN.get(name, name)
    try:
        if ":" not in place and place in installed:
            return installed[place].load()
        if ":" in place:
            module, _, attribute = place.partition(":")
            return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"STORAGE {name!r} cannot be loaded: {error}.") from error
    known = ", ".join(sorted({*BUILT_IN, *installed}))
    raise ConfigError(f"STORAGE {name!r} is unknown; known are {known}, or 'my.module:MyStorage'.")
