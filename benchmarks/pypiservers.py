"""pypiserver, as pip installs it, and made to wait for the disk."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from checkout import CACHE
from peers import ACCOUNT, HERE, Peer, write_passwords
from processes import free_port
from rows import Projects, wheels
from samples import SMALL


class PyPIServer(Peer):
    """pypiserver as pip installs it, in an environment of its own."""

    NAME = "pypiserver"
    READER = UPLOADER = ACCOUNT
    PLACE = CACHE / "pypiserver"
    PROGRAM: tuple[str, ...] = ("-m", "pypiserver")

    def __init__(self) -> None:
        """Makes its environment on first use."""
        if not (self.PLACE / "bin" / "pypi-server").exists():
            venv.create(self.PLACE, with_pip=True, clear=True)
            self._python("-m", "pip", "install", "--quiet", "pypiserver[passlib]")

    def version(self) -> str:
        ask = "from importlib.metadata import version; print(version('pypiserver'))"
        return f"pypiserver {self._python('-c', ask).strip()}, its own choice of server (wsgiref)"

    def _python(self, *arguments: str) -> str:
        command = [str(self.PLACE / "bin" / "python"), *arguments]
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout

    def prepare(self, folder: Path, projects: Projects) -> None:
        write_passwords(folder / "htpasswd", ACCOUNT)
        (folder / "packages").mkdir()
        for _, _, filename in wheels(projects):
            (folder / "packages" / filename).write_bytes(b"small" * 50)

    def command(self, folder: Path, port: int) -> list[str]:
        program = [str(self.PLACE / "bin" / "python"), *self.PROGRAM]
        options = ["-i", "127.0.0.1", "-p", str(port), "-a", "update,download,list"]
        return [*program, "run", *options, "-P", "htpasswd", "--disable-fallback", "packages"]

    def file(self, name: str, filename: str) -> str:
        return f"/packages/{filename}"

    def pages(self, sizes: dict[str, int]) -> dict[str, str]:
        """It knows neither JSON nor metadata, nor ETags of pages."""
        wheel = self.file("small", SMALL.filename)
        return {"few": "/simple/few/", "many": "/simple/many/", "list": "/simple/", "wheel": wheel}

    def port(self) -> int:
        return free_port()


class SyncedPyPIServer(PyPIServer):
    """The same with fsync; see :mod:`synced_pypiserver`."""

    NAME = "pypiserver with fsync"
    PROGRAM = (str(HERE / "synced_pypiserver.py"),)
