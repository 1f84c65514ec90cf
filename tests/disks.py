"""Disks of a test's own, in memory, which are full, read-only or without room for one more file."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

SIZE = 112 * 1024**2  # bytes, some more than are to stay free on a disk that takes uploads
FILES = 1000


class Disk:
    """A file system below a folder, until it is closed; skips the test where none can be made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        made = self._make()
        if made.returncode:
            pytest.skip(f"No disk can be mounted here: {made.stderr}")

    def _make(self) -> subprocess.CompletedProcess:
        options = f"size={SIZE},nr_inodes={FILES}"
        return run("mount", "-t", "tmpfs", "-o", options, "none", self.folder)

    def close(self) -> None:
        """Takes the disk away, whoever still uses it."""
        self._run("umount", "--lazy")

    @contextmanager
    def full(self, leaving: int = 0) -> Iterator[None]:
        """While it has room for no more than so many bytes."""
        filling = self.folder / ".filling"
        with filling.open("wb", buffering=0) as stream, no_room():
            while stream.write(bytes(1024**2)):
                pass
        with filling.open("r+b") as stream:
            stream.truncate(filling.stat().st_size - leaving)
        try:
            yield
        finally:
            filling.unlink()

    @contextmanager
    def without_files(self) -> Iterator[None]:
        """While it has room for many bytes, but for no more files."""
        folder = self.folder / ".filling"
        folder.mkdir()
        with no_room():
            for number in count():
                (folder / str(number)).touch()
        try:
            yield
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """While nothing on it can be changed."""
        self._run("mount", "-o", "remount,ro")
        try:
            yield
        finally:
            self._run("mount", "-o", "remount,rw")

    def _run(self, *command: str) -> None:
        done = run(*command, self.folder)
        assert done.returncode == 0, done.stderr


class BreakableDisk(Disk):
    """A file system in a file."""

    def _make(self) -> subprocess.CompletedProcess:
        image = self.folder.with_name(f"{self.folder.name}.image")
        with image.open("wb") as stream:
            stream.truncate(SIZE)
        made = run("env", f"PATH={os.environ['PATH']}:/sbin", "mkfs.ext4", "-q", image)
        return made if made.returncode else run("mount", "-o", "loop", image, self.folder)

    def break_down(self) -> None:
        """From now on nothing can be changed; unlike a remount, also by who has files open."""
        self._run("mount", "-o", "remount,abort")


@contextmanager
def no_room() -> Iterator[None]:
    """Goes on until the disk takes nothing more."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == errno.ENOSPC


def run(*command: object) -> subprocess.CompletedProcess:
    """A command that came to its end."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)
