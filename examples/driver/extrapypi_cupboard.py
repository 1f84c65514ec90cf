"""A storage driver for extrapypi: all files in one flat folder.

With this package installed, a configuration chooses it by its entry point's name::

    STORAGE = "Cupboard"
    STORAGE_PARAMS = {"folder": "/srv/cupboard"}
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from packaging.metadata import RawMetadata, parse_email

from extrapypi.incoming import Incoming, storage_errors
from extrapypi.models import Package
from extrapypi.storage import SIDECAR, BaseStorage


class Cupboard(BaseStorage):
    """Files named ``<project>@<filename>``, below ``folder``."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder=folder)
        self.shelf = Path(folder)
        with storage_errors():
            self.shelf.mkdir(parents=True, exist_ok=True)

    def receive(self) -> Incoming:
        path = self.shelf / f".{secrets.token_hex(16)}"
        with storage_errors():
            return Incoming(path, path.open("x+b"))

    def create_release(self, package: Package, incoming: Incoming) -> str:
        if not incoming.location:
            location = f"{package.normalized_name}@{incoming.filename}"
            if (self.shelf / location).exists():  # left by a crash
                self.set_aside(location)
            with storage_errors():
                if incoming.metadata is not None:
                    (self.shelf / (location + SIDECAR)).write_bytes(incoming.metadata)
                incoming.path.replace(self.shelf / location)
            incoming.location = location
        return incoming.location

    def delete_file(self, location: str) -> None:
        with storage_errors():
            for name in (location, location + SIDECAR):
                (self.shelf / name).unlink(missing_ok=True)

    def get_files(self, package: Package) -> list[str]:
        parts = [location.partition("@") for location, _ in self.stored()]
        names = [name for project, _, name in parts if project == package.normalized_name]
        return [name for name in names if not name.endswith(SIDECAR)]

    def get_file(self, location: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        with storage_errors():
            stream = (self.shelf / location).open("rb")
            stream.seek(start)
            return stream

    def has(self, location: str, size: int) -> bool:
        path = self.shelf / location
        return path.is_file() and path.stat().st_size == size

    def has_metadata(self, location: str) -> bool:
        return (self.shelf / (location + SIDECAR)).is_file()

    def get_metadata(self, location: str) -> bytes:
        with storage_errors():
            return (self.shelf / (location + SIDECAR)).read_bytes()

    def get_releases_metadata(self) -> Iterator[tuple[str, RawMetadata]]:
        for location, _ in self.stored():
            if location.endswith(SIDECAR):
                metadata = self.get_metadata(location.removesuffix(SIDECAR))
                yield location.partition("@")[0], parse_email(metadata)[0]

    def stored(self) -> Iterator[tuple[str, int]]:
        with storage_errors():
            for path in sorted(self.shelf.iterdir()):
                if not path.name.startswith("."):
                    yield path.name, path.stat().st_size

    def set_aside(self, location: str) -> str:
        aside = f".{secrets.token_hex(4)}-{location}"
        with storage_errors():
            (self.shelf / location).rename(self.shelf / aside)
        return aside

    def ping(self) -> None:
        with storage_errors():
            next(self.shelf.iterdir(), None)
