"""The package as it is installed: from wheel, sdist and checkout, on every Python that is here."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives_made import wheel_bytes
from clients import CHECKOUT, environment, isolated

LEFT_OUT = (".*", "build", "dist", "*.egg-info", "__pycache__")
HOSTILE = 'raise SystemExit("the user\'s own {name} was imported")\n'


def pythons() -> list[str]:
    """An interpreter of each version that is supported, as far as they are on this machine."""
    found = []
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14"):
        places = [shutil.which(f"python{version}")]
        places += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        found += [str(place) for place in places if place and runs(place, version)][-1:]
    return found or [sys.executable]


def runs(python: str | Path, version: str) -> bool:
    """Whether it is an interpreter of this version, and not a shim without one behind it."""
    done = subprocess.run([str(python), "--version"], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.startswith(f"Python {version}.")


def uv(*arguments: object) -> None:
    """Runs uv with the machine's own settings."""
    words = [str(word) for word in arguments]
    done = subprocess.run([sys.executable, "-m", "uv", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"uv {words}\n{done.stderr}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A clean copy of the checkout."""
    folder = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(CHECKOUT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return folder


@pytest.fixture(scope="module")
def built(checkout) -> dict[str, Path]:
    """A wheel and an sdist, built from the copy."""
    uv("build", "--quiet", "--out-dir", checkout.parent / "dist", checkout)
    return {path.suffix: path for path in (checkout.parent / "dist").iterdir()}


@pytest.fixture
def install(tmp_path):
    """A function that installs something into a new environment; the environment."""

    def into(python: str, *what: object) -> Path:
        uv("venv", "--quiet", "--python", python, tmp_path / "venv")
        uv("pip", "install", "--quiet", "--python", tmp_path / "venv/bin/python", *what)
        return tmp_path / "venv"

    return into


@pytest.fixture
def hostile(tmp_path) -> Path:
    """A directory with modules that are named like ours."""
    folder = tmp_path / "work"
    folder.mkdir()
    for path in CHECKOUT.glob("*.py"):
        if path.name != "extrapypi.py":
            (folder / path.name).write_text(HOSTILE.format(name=path.name))
    (folder / "views").mkdir()
    (folder / "views" / "__init__.py").write_text(HOSTILE.format(name="views"))
    return folder


def printed(process: subprocess.Popen, pattern: str) -> tuple[re.Match, str]:
    """The first match of the pattern in what the process prints, and all of it until then."""
    said = ""
    while not (match := re.search(pattern, said, re.MULTILINE)):
        assert select.select([process.stdout], [], [], 60)[0], said
        chunk = os.read(process.stdout.fileno(), 65536).decode()
        assert chunk, said
        said += chunk
    return match, said


@contextmanager
def serving(command: list[object], folder: Path, variables: dict[str, str]) -> Iterator[tuple]:
    """A server as a process, which has to end well: its URL, and what it has said."""
    process = subprocess.Popen(
        [*map(str, command), "run", "--port", "0"],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
    )
    try:
        match, said = printed(process, r"^Serving on (http://\S+/) ")
        yield match[1], said
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stdout.close()


def serve_once(command: list[object], folder: Path, home: Path) -> None:
    """Starts the server with nothing configured, sees it answer, and stops it."""
    home.mkdir(exist_ok=True)
    with serving(command, folder, isolated(home)) as (url, said):
        assert urllib.request.urlopen(url + "health").read() == b"OK"
        assert urllib.request.urlopen(url + "favicon.ico").read()
        if "first start" in said:
            assert "pip install --extra-index-url http://pip:" in said


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).name)
def test_the_wheel_works_in_a_hostile_directory_and_takes_only_our_names(
    python, built, install, hostile, tmp_path
):
    venv = install(python, built[".whl"])
    serve_once([venv / "bin/extrapypi"], hostile, tmp_path / "home")
    serve_once([venv / "bin/python", "-m", "extrapypi"], hostile, tmp_path / "home")
    (packages,) = venv.glob("lib/python3*/site-packages")
    ours = {"extrapypi.py", "_extrapypi", "extrapypi-1.0.0.dist-info", "__pycache__"}
    (record,) = packages.glob("extrapypi-*.dist-info/RECORD")
    names = {line.partition(",")[0].partition("/")[0] for line in record.read_text().splitlines()}
    assert names - {".."} <= ours


def test_the_sdist_installs_and_works(built, install, hostile, tmp_path):
    venv = install(sys.executable, built[".gz"])
    serve_once([venv / "bin/extrapypi"], hostile, tmp_path / "home")


def test_an_editable_checkout_works(checkout, install, hostile, tmp_path):
    venv = install(sys.executable, "-e", checkout)
    serve_once([venv / "bin/extrapypi"], hostile, tmp_path / "home")
    serve_once([venv / "bin/python", "-m", "extrapypi"], hostile, tmp_path / "home")


def test_the_lowest_versions_that_we_name_work(built, install, hostile, tmp_path):
    venv = install(sys.executable, "--resolution", "lowest-direct", built[".whl"])
    serve_once([venv / "bin/extrapypi"], hostile, tmp_path / "home")


def test_the_oldest_pip_that_matters_installs_the_wheel(built, tmp_path):
    pip = [environment("pip21") / "bin" / "python", "-m", "pip", "install", "--no-deps"]
    command = [*pip, "--target", tmp_path / "target", built[".whl"]]
    subprocess.run([str(word) for word in command], env=isolated(tmp_path), check=True)
    assert (tmp_path / "target" / "extrapypi.py").exists()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["gunicorn", "--bind", "127.0.0.1:0", "extrapypi.wsgi:app"], id="gunicorn"),
        pytest.param(
            ["waitress-serve", "--listen", "127.0.0.1:0", "--call", "extrapypi:create_app"],
            id="waitress-serve",
        ),
        pytest.param(
            ["waitress-serve", "--listen", "127.0.0.1:0", "--call", "extrapypi.app:create_app"],
            id="waitress-serve, the factory's other name",
        ),
    ],
)
def test_other_servers_serve_it(command, built, install, hostile, tmp_path):
    venv = install(sys.executable, built[".whl"], "gunicorn")
    environ = {**isolated(tmp_path), "EXTRAPYPI_BASE_DIR": str(tmp_path / "data")}
    program = [venv / "bin/extrapypi", "init"]
    subprocess.run([str(word) for word in program], cwd=hostile, env=environ, check=True)
    process = subprocess.Popen(
        [str(venv / "bin" / command[0]), *command[1:]],
        cwd=hostile,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        match, _ = printed(process, r"http://127\.0\.0\.1:[1-9]\d*")
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, match[0], "pip", "pip")
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
        assert b"Simple index" in opener.open(match[0] + "/simple/").read()
        post = urllib.request.Request(match[0] + "/legacy/", b"x" * 20_000_000)
        post.add_header("Authorization", "Basic bm9ib2R5Ondyb25n")
        with pytest.raises(urllib.error.HTTPError, match="User name or password is wrong"):
            urllib.request.urlopen(
                post
            )  # the body was read, or the connection would have been reset
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_a_driver_package_proves_itself_and_is_used_by_name_and_by_path(built, install, tmp_path):
    package = shutil.copytree(CHECKOUT / "examples" / "driver", tmp_path / "driver")
    venv = install(sys.executable, built[".whl"], package, "pytest")
    home = tmp_path / "home"
    home.mkdir()
    test = [venv / "bin/pytest", "-c", os.devnull, "-p", "no:cacheprovider", package]
    done = subprocess.run(test, cwd=home, env=isolated(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    filename, body = wheel_bytes()
    (home / filename).write_bytes(body)
    for storage in ("Cupboard", "extrapypi_cupboard:Cupboard"):
        folder = tmp_path / storage
        variables = {
            **isolated(home),
            "EXTRAPYPI_BASE_DIR": str(folder),
            "EXTRAPYPI_STORAGE": storage,
            "EXTRAPYPI_STORAGE_PARAMS": json.dumps({"folder": str(folder / "shelf")}),
            "EXTRAPYPI_ANONYMOUS_READ": "true",
        }
        for command in ("init", f"import {filename}", "check --deep"):
            program = [venv / "bin/python", "-m", "extrapypi", *command.split()]
            subprocess.run(program, cwd=home, env=variables, check=True)
        assert (folder / "shelf" / f"demo-pkg@{filename}").read_bytes() == body
        with serving([venv / "bin/extrapypi"], home, variables) as (url, _):
            assert urllib.request.urlopen(f"{url}packages/demo-pkg/{filename}").read() == body
