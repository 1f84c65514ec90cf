"""Real clients of pinned versions, a home directory of their own, and a running index for them.

The environments of the clients are made on first use and kept below ``.cache/clients``; they
come from wherever this machine gets its packages. What runs in them sees none of its settings.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from archives_made import wheel_bytes

CHECKOUT = Path(__file__).parent.parent
ENVIRONMENTS = CHECKOUT / ".cache" / "clients"
REQUIREMENTS = {  # tool -> what its environment has, the tool first
    "pip": "pip==26.3",
    "pip21": "pip==21.3.1",
    "uv": "uv==0.13.9",
    "twine": "twine==7.0.0",
    "poetry": "poetry==2.5.1",
    "pdm": "pdm==2.29.3 hishel<2 unearth<0.19",  # it breaks with newer ones of these two
    "hatch": "hatch==1.18.2",
    "flit": "flit==4.2.0 pip",
    "pypiserver": "pypiserver==2.4.2",
    "build": "build==1.6.1 setuptools==84.2.1 hatchling==1.33.0 poetry-core==2.5.0 "
    "pdm-backend==2.5.0 flit-core==4.2.0 uv-build==0.13.6",
}
MODULES = {"pip": "pip", "pip21": "pip", "build": "build"}  # run with -m, not as a script
FOREIGN = re.compile(  # variables of the machine that would change what a tool does
    "(PIP|UV|TWINE|POETRY|PDM|HATCH|FLIT|XDG|EXTRAPYPI|PYTEST|VIRTUALENV)_.*"
    "|PYTHONPATH|PYTHONHOME|PYTHONWARNINGS|VIRTUAL_ENV|NETRC|CI|FORCE_COLOR"
)
OURS = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "UV_NO_CONFIG": "1",
    "UV_PYTHON": sys.executable,
    "UV_PYTHON_DOWNLOADS": "never",
    "PDM_CHECK_UPDATE": "0",
    "POETRY_VIRTUALENVS_IN_PROJECT": "true",
    "FLIT_NO_NETWORK": "1",
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "PYTHONUTF8": "1",
    "NO_COLOR": "1",
    "COLUMNS": "1000",  # or twine breaks its lines
}
PROJECT = """[project]
name = "app"
version = "1.0"
requires-python = ">=3.10"
dependencies = {dependencies}
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "ours"
url = "{url}"
[tool.pdm]
distribution = false
[[tool.pdm.source]]
name = "pypi"
url = "{url}"
"""
AT_ONCE = """
from extrapypi.settings import LOGGING_CONFIG
LOGGING_CONFIG["handlers"]["access"] = LOGGING_CONFIG["handlers"]["default"]
"""  # so that a request's line is in the log before its answer is under way
LOCK = {"poetry": ("lock", "--regenerate"), "pdm": ("lock",)}
INSTALL = {"poetry": ("install",), "pdm": ("sync",)}
CREDENTIALS = {  # tool -> its file for them, below the home directory, and the table in it
    "poetry": (".config/pypoetry/auth.toml", "http-basic.ours"),
    "pdm": (".config/pdm/config.toml", "pypi"),
}
CLIENT_TIME = 120  # seconds that one run of a client may take
START_TIME, STOP_TIME = 30, 30  # seconds
ADMIN, MAINTAINER, DEVELOPER, INSTALLER = "admin", "maintainer", "developer", "pip"
PASSWORDS = {
    ADMIN: "admin-secret",
    MAINTAINER: "maintainer-secret",
    DEVELOPER: "developer-secret",
    INSTALLER: "pip-secret@#:/%",  # has to be quoted in a URL
}
ACCESS = re.compile(r'\] \S+ (\S+) "(\S+) (\S+)" (\d{3}) \S+ [\d.]+ms "[^"]*"$')


@cache
def environment(tool: str) -> Path:
    """The tool's virtual environment, made anew unless a finished one of this Python is there."""
    requirements = REQUIREMENTS[tool].split()
    folder = ENVIRONMENTS / requirements[0].replace("==", "-")
    stamp = folder / "finished"
    finished = f"{sys.version} {sys.prefix} {REQUIREMENTS[tool]}"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run may be at it
        if not stamp.exists() or stamp.read_text() != finished:
            shutil.rmtree(folder, ignore_errors=True)
            python = [sys.executable, "-m"]
            run_quietly(*python, "venv", "--without-pip", folder)
            # Compiled, because a tool may not be allowed to write what it has compiled.
            options = ("--quiet", "--compile-bytecode", "--python", folder / "bin" / "python")
            run_quietly(*python, "uv", "pip", "install", *options, *requirements)
            stamp.write_text(finished)
    return folder


def run_quietly(*command: object) -> None:
    """Runs a command with the machine's own settings; a failure shows what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def isolated(home: Path) -> dict[str, str]:
    """Environment variables for a program that knows nothing but this home directory."""
    variables = {name: text for name, text in os.environ.items() if not FOREIGN.fullmatch(name)}
    folders = {"CONFIG": ".config", "CACHE": ".cache", "DATA": ".local/share", "STATE": ".state"}
    xdg = {f"XDG_{name}_HOME": str(home / folder) for name, folder in folders.items()}
    own = {
        "HOME": str(home),
        "POETRY_CONFIG_DIR": str(home / ".config" / "pypoetry"),
        "PDM_CONFIG_FILE": str(home / ".config" / "pdm" / "config.toml"),
    }
    return {**variables, **OURS, **xdg, **own}


class Machine:
    """A user's machine: a fresh home directory, with ``work`` in it, and the clients."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.work = home / "work"
        self.work.mkdir()

    def run(self, tool: str, *arguments: object, status: int = 0, **variables: str) -> str:
        """What the tool prints, run in ``work``; it has to end with the exit status."""
        scripts = environment(tool) / "bin"
        program = [scripts / "python", "-m", MODULES[tool]] if tool in MODULES else [scripts / tool]
        done = subprocess.run(
            [str(word) for word in (*program, *arguments)],
            cwd=self.work,
            env={**isolated(self.home), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=CLIENT_TIME,
        )
        assert done.returncode == status, f"{tool} {arguments}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def install(self, tool: str, url: str, *arguments: object, status: int = 0) -> str:
        """What pip, pip21 or uv prints when it installs into the folder ``installed``, anew."""
        shutil.rmtree(self.work / "installed", ignore_errors=True)
        words = ("pip", "install") if tool == "uv" else ("install", "--trusted-host", "127.0.0.1")
        options = ("--target", self.work / "installed", "--index-url", url)
        return self.run(tool, *words, *options, *arguments, status=status)

    def installed(self, module: str) -> str:
        """VERSION of a module that :meth:`install` or :meth:`lock_and_install` has installed."""
        if (self.work / ".venv").exists():
            return module_version(module, self.work / ".venv" / "bin" / "python")
        return module_version(module, sys.executable, str(self.work / "installed"))

    def project(self, tool: str, url: str, *dependencies: str, username: str = "") -> None:
        """A project of poetry or pdm that depends on these, in ``work``."""
        self.write("pyproject.toml", PROJECT.format(url=url, dependencies=[*dependencies]))
        if username:
            path, table = CREDENTIALS[tool]
            values = f'username = "{username}"\npassword = "{PASSWORDS[username]}"\n'
            self.write(self.home / path, f"[{table}]\n{values}")

    def lock_and_install(self, tool: str) -> None:
        """Locks the project anew, and installs it into a new environment."""
        shutil.rmtree(self.work / ".venv", ignore_errors=True)
        self.run(tool, *LOCK[tool])
        self.run(tool, *INSTALL[tool])

    def write(self, path: str | Path, content: str | bytes) -> Path:
        """A file, below ``work`` unless the path is absolute."""
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def dist(self, *archives: tuple[str, bytes]) -> list[Path]:
        """The archives as files in ``dist``."""
        return [self.write(f"dist/{filename}", content) for filename, content in archives]

    def netrc(self, username: str) -> None:
        """Credentials in ``~/.netrc``."""
        line = f"machine 127.0.0.1 login {username} password {PASSWORDS[username]}\n"
        self.write(self.home / ".netrc", line).chmod(0o600)


class Request(NamedTuple):
    """A line of the access log."""

    user: str  # "-" for nobody
    method: str
    path: str
    status: int


class Index:
    """extrapypi as a process of its own, below a folder.

    It has an admin, a user for pip and one of each of the roles.
    """

    PROGRAM = ("extrapypi", "run", "--port", "0")  # behind python -m

    def __init__(
        self, folder: Path, settings: str = "", roles: Iterable[str] = (MAINTAINER, DEVELOPER)
    ) -> None:
        self.folder = folder
        self.empty = folder / "empty"
        self.empty.mkdir()
        self.log = folder / "stderr"
        self.environment = {**isolated(folder), "PYTHONPATH": str(CHECKOUT)}
        self._set_up(settings)
        for role in roles:
            mail = f"{role}@localhost"
            self.command("create-user", role, PASSWORDS[role], mail, "--role", role)
        if DEVELOPER in roles:
            self.token = self.command("token", "create", DEVELOPER, "--scope", "upload").strip()
        self.start()

    def _set_up(self, settings: str) -> None:
        config = self.folder / "config.py"
        self.command("start", "--filename", config)
        config.write_text(f"{config.read_text()}\n{AT_ONCE}\n{settings}\n")
        self.environment["EXTRAPYPI_CONFIG"] = str(config)
        self.command("init", "--password", PASSWORDS[ADMIN], "--pip-pwd", PASSWORDS[INSTALLER])

    def start(self) -> None:
        """Starts the server, which listens at a port of its own."""
        self.process = self._start()
        self.url = self._announced().rstrip("/")
        self.simple, self.legacy = f"{self.url}/simple/", f"{self.url}/legacy/"

    def _start(self) -> subprocess.Popen:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *self.PROGRAM],
                cwd=self.empty,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _announced(self) -> str:
        ready, _, _ = select.select([self.process.stdout], [], [], START_TIME)
        line = self.process.stdout.readline() if ready else ""
        if not line.startswith("Serving on http"):
            self.stop()
            raise AssertionError(f"The server did not start: {line}{self.log.read_text()}")
        return line.split()[2]

    def stop(self) -> int:
        """The exit status, after SIGTERM; a server that does not end is killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIME)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    def kill(self) -> None:
        """Ends the server, and the processes that it has started, as they are."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def command(self, *arguments: object) -> str:
        """What a command of extrapypi prints to stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "extrapypi", *map(str, arguments)],
            cwd=self.empty,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def simple_for(self, username: str = INSTALLER) -> str:
        """The index URL with credentials."""
        return with_credentials(self.simple, username, PASSWORDS[username])

    def get(self, path: str) -> bytes:
        """The body of a page, as the admin gets it."""
        with urllib.request.urlopen(self._request(path)) as answer:
            return answer.read()

    def about(self, project: str) -> dict:
        """PyPI's JSON document of a project."""
        return json.loads(self.get(f"/pypi/{project}/json"))

    def filenames(self, project: str) -> list[str]:
        """What the project's latest release has."""
        return sorted(file["filename"] for file in self.about(project)["urls"])

    def add(self, name: str, version: str = "1.0", maker=wheel_bytes, **metadata) -> str:
        """Uploads a made archive; its sha256."""
        filename, content = maker(name, version, **metadata)
        digest = hashlib.sha256(content).hexdigest()
        fields = {
            ":action": "file_upload",
            "metadata_version": "2.1",
            "name": name,
            "version": version,
            "filetype": "bdist_wheel" if filename.endswith(".whl") else "sdist",
            "sha256_digest": digest,
        }
        request = self._request("/legacy/")
        request.data = form(fields, filename, content)
        request.add_header("Content-Type", "multipart/form-data; boundary=xxxx")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        return digest

    def _request(self, path: str) -> urllib.request.Request:
        credentials = base64.b64encode(f"{ADMIN}:{PASSWORDS[ADMIN]}".encode()).decode()
        return urllib.request.Request(
            self.url + path, headers={"Authorization": f"Basic {credentials}"}
        )

    @contextmanager
    def requests(self) -> Iterator[list[Request]]:
        """A list that holds, after the block, what the server was asked meanwhile.

        Complete without waiting, because of AT_ONCE.
        """
        seen: list[Request] = []
        start = self.log.stat().st_size
        yield seen
        seen += access_lines(self.log.read_bytes()[start:].decode())


@contextmanager
def second_server(
    index: Index, log: Path, limit: str = "", **variables: str
) -> Iterator[SimpleNamespace]:
    """The URL of another server of the same index, or of one with these settings."""
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            ["sh", "-c", f"{limit} exec {sys.executable} -m extrapypi run --port 0"],
            cwd=index.empty,
            env={**index.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        ) as process,
    ):
        try:
            said = process.stdout.readline()
            assert said.startswith("Serving on http"), log.read_text()
            yield SimpleNamespace(url=said.split()[2].rstrip("/"))
        finally:
            process.terminate()
            assert process.wait(STOP_TIME) == 0
    assert "Traceback" not in log.read_text()


def form(fields: dict[str, str], filename: str, content: bytes) -> bytes:
    """An upload form, with the boundary ``xxxx``."""
    part = '--xxxx\r\nContent-Disposition: form-data; name="{}"'
    texts = [f"{part.format(name)}\r\n\r\n{text}\r\n" for name, text in fields.items()]
    head = "".join(texts) + f'{part.format("content")}; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n--xxxx--\r\n"


def access_lines(log: str) -> list[Request]:
    """The requests in a piece of the log."""
    found = (ACCESS.search(line) for line in log.splitlines())
    lines = (match.groups() for match in found if match)
    return [Request(user, method, path, int(code)) for user, method, path, code in lines]


def with_credentials(url: str, username: str, password: str) -> str:
    """The URL with a user name and a password in it."""
    quoted = urllib.parse.quote(password, safe="")
    return url.replace("://", f"://{username}:{quoted}@", 1)


def module_version(module: str, python: object, path: str = "") -> str:
    """VERSION of a module, as this Python imports it, with ``path`` as PYTHONPATH."""
    code = f"import {module}; print({module}.VERSION)"
    environ = {**isolated(Path(os.devnull)), "PYTHONPATH": path}
    command = [str(python), "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
