"""What `deploy/` and the Dockerfile ship, tried as it is: only ports and paths are filled in."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from archives_made import wheel_bytes
from clients import ADMIN, CHECKOUT, PASSWORDS, Index, Machine, isolated, with_credentials

from extrapypi.settings import SETTINGS

DEPLOY = CHECKOUT / "deploy"
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
SETUP = (CHECKOUT / "setup.cfg").read_text(encoding="utf-8")
SHIPPED = [CHECKOUT / "Dockerfile", *sorted(path for path in DEPLOY.iterdir() if path.is_file())]
START_TIME = 30  # seconds
AROUND = """\
user root;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/errors warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/extrapypi.conf;
}}
"""


def program(name: str, *others: str) -> str:
    """The path of a program that is installed beside this Python, or on this machine."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    found = [shutil.which(each, path=path) for each in (name, *others)]
    if not any(found) and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed (see the documentation for contributors)")
    return next(filter(None, found))


def shipped(name: str, changes: Mapping[str, str]) -> str:
    """A file of `deploy/`, with what stands in it once changed to what is here."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    for ours, here in changes.items():
        assert text.count(ours) == 1, ours
        text = text.replace(ours, here)
    return text


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen) -> None:
    """Returns as soon as the process listens at the port."""
    deadline = time.monotonic() + START_TIME
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args} does not listen.")


@contextmanager
def running(command: list[object], port: int, home: Path) -> Iterator[None]:
    """A process that listens at the port, and is ended at last."""
    words = [str(word) for word in command]
    with (home / "front.log").open("wb") as log:
        process = subprocess.Popen(words, env=isolated(home), stdout=log, stderr=log)
    try:
        wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(START_TIME)


class OtherServer(Index):
    """An index under a server that is not ours."""

    def command_line(self) -> list[object]:
        """The command that serves it at ``self.port``."""
        raise NotImplementedError

    def _start(self) -> subprocess.Popen:
        self.port = free_port()
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(word) for word in self.command_line()],
                cwd=self.empty,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def _announced(self) -> str:
        wait_for(self.port, self.process)
        return f"http://127.0.0.1:{self.port}/"


class Gunicorn(OtherServer):
    """An index under gunicorn, by the file that is shipped."""

    def command_line(self) -> list[object]:
        bind = ("--config", DEPLOY / "gunicorn.conf.py", "--bind", f"127.0.0.1:{self.port}")
        return [program("gunicorn"), *bind, "extrapypi.wsgi:app"]


class UWSGI(OtherServer):
    """An index under uWSGI, by the file that is shipped."""

    def command_line(self) -> list[object]:
        changes = {
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "= /opt/extrapypi": f"= {sys.prefix}",
        }
        config = self.folder / "uwsgi.ini"
        config.write_text(shipped("uwsgi.ini", changes))
        return [program("pyuwsgi", "uwsgi_python3"), "--ini", config]


class Site(NamedTuple):
    """Where an index is for clients, and the certificate by which they know it."""

    url: str
    certificate: Path
    index: Index
    sendfile: bool


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("keys")
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return certificate, key


@contextmanager
def nginx(folder: Path, index: Index, prefix: str, keys: tuple[Path, Path]) -> Iterator[int]:
    """nginx before the index; its port."""
    port, plain = free_port(), free_port()
    changes = {
        "127.0.0.1:8000": index.url.partition("//")[2].partition("/")[0],
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen [::]:80;": "",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "listen [::]:443 ssl;": "",
        "/etc/ssl/pypi.example.org/fullchain.pem": str(keys[0]),
        "/etc/ssl/pypi.example.org/privkey.pem": str(keys[1]),
        "/var/lib/extrapypi/packages/": f"{index.folder}/packages/",
    }
    if prefix:
        changes["location / {"] = f"location {prefix}/ {{"
    if isinstance(index, UWSGI):
        changes["proxy_request_buffering off;"] = "proxy_request_buffering on;"
    (folder / "extrapypi.conf").write_text(shipped("nginx.conf", changes))
    config = folder / "nginx.conf"
    config.write_text(AROUND.format(folder=folder))
    with running([program("nginx"), "-e", folder / "errors", "-c", config], port, folder):
        yield port


@contextmanager
def caddy(folder: Path, index: Index, prefix: str, keys: tuple[Path, Path]) -> Iterator[int]:
    """Caddy before the index; its port."""
    port = free_port()
    changes = {
        "pypi.example.org {": f"https://127.0.0.1:{port} {{\ntls {keys[0]} {keys[1]}",
        "reverse_proxy 127.0.0.1:8000": f"reverse_proxy {prefix}/* "
        + index.url.partition("//")[2].partition("/")[0],
    }
    config = folder / "Caddyfile"
    config.write_text(
        "{\nadmin off\nauto_https disable_redirects\n}\n" + shipped("Caddyfile", changes)
    )
    command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", config]
    with running(command, port, folder):
        yield port


@pytest.fixture(
    params=[
        pytest.param((Index, nginx, ""), id="run, nginx"),
        pytest.param((Gunicorn, nginx, "/index"), id="gunicorn, nginx, /index"),
        pytest.param((UWSGI, nginx, ""), id="uWSGI, nginx"),
        pytest.param((Index, caddy, "/index"), id="run, Caddy, /index"),
    ]
)
def site(request, tmp_path, keys):
    """An index behind a proxy with TLS."""
    server, proxy, prefix = request.param
    settings = f"TRUSTED_PROXY, URL_PREFIX = '127.0.0.1', '{prefix}'\n"
    settings += "SENDFILE = 'nginx'\n" * (proxy is nginx)
    with ExitStack() as stack:
        index = server(tmp_path, settings, [])
        stack.callback(index.stop)
        port = stack.enter_context(proxy(tmp_path, index, prefix, keys))
        yield Site(f"https://127.0.0.1:{port}{prefix}", keys[0], index, proxy is nginx)
    assert "Traceback" not in index.log.read_text()


def test_what_is_published_through_a_proxy_by_https_is_installed_through_it(site, tmp_path):
    (tmp_path / "home").mkdir()
    machine = Machine(tmp_path / "home")
    members = {"demo_pkg.py": "VERSION = '1.0'\n", "demo_pkg.bin": os.urandom(2**21)}
    filename, content = wheel_bytes(files=members)  # larger than nginx takes by itself
    (wheel,) = machine.dist((filename, content))
    certificate = ("--cert", site.certificate)
    trust = {"REQUESTS_CA_BUNDLE": str(site.certificate)}  # or one that is set here comes first
    who = ("-u", ADMIN, "-p", PASSWORDS[ADMIN])
    upload = ("upload", *certificate, "--repository-url", f"{site.url}/legacy/", *who, wheel)
    machine.run("twine", *upload, **trust)
    simple = with_credentials(f"{site.url}/simple/", ADMIN, PASSWORDS[ADMIN])
    target = ("--target", machine.work / "installed")
    machine.run("pip", "install", *certificate, "--index-url", simple, *target, "demo-pkg", **trust)
    assert machine.installed("demo_pkg") == "1.0"
    trusted = ssl.create_default_context(cafile=str(site.certificate))
    with urllib.request.urlopen(f"{site.url}/dashboard/login", context=trusted) as answer:
        assert answer.headers["Strict-Transport-Security"]  # it knows that it was asked by https
    forged = urllib.request.Request(f"{site.url}/ping", headers={"X-Request-ID": "forged"})
    with urllib.request.urlopen(forged, context=trusted) as answer:
        assert len(answer.headers["X-Request-ID"]) >= 32  # the proxy's own
    request = site.index._request("/packages/demo-pkg/" + filename)
    request.full_url = f"{site.url}/packages/demo-pkg/{filename}"
    with urllib.request.urlopen(request, context=trusted) as answer:  # no page
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    if site.sendfile:
        assert f'/packages/demo-pkg/{filename}" 200 0 ' in site.index.log.read_text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_is_shipped_names_no_setting_that_we_do_not_have(path):
    named = re.findall(r"\bEXTRAPYPI_([A-Z_]+)", path.read_text(encoding="utf-8"))
    assert set(named) - {"CONFIG"} <= set(SETTINGS)


def test_the_image_has_what_the_wheel_is_built_from():
    ignored = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").split("\n")[1:]
    needed = ["setup.cfg", "pyproject.toml", "README.md", "LICENSE", "migrations", "static"]
    needed += ["templates", "views", *(path.name for path in CHECKOUT.glob("*.py"))]
    assert not [name for name in needed for pattern in ignored if fnmatch(name, pattern)]
    extras = re.search(r"\[options\.extras_require\](.*?)\n\[", SETUP, re.DOTALL)[1]
    asked = re.search(r"\$\{wheel\}\[(.*?)\]", DOCKERFILE)[1].split(",")
    assert set(asked) <= set(re.findall(r"^([\w-]+) =", extras, re.MULTILINE))


def test_the_image_runs_as_the_user_that_it_makes_and_keeps_everything_in_its_volume():
    (user,) = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    uid, gid = user.split(":")
    assert f"--uid {uid} --gid {gid} " in DOCKERFILE
    assert f"--owner={uid} --group={gid} --mode=0700 /data\n" in DOCKERFILE
    assert "\nVOLUME /data\n" in DOCKERFILE
    assert "EXTRAPYPI_BASE_DIR=/data " in DOCKERFILE
    (port,) = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
    assert f"EXTRAPYPI_PORT={port}\n" in DOCKERFILE


def test_the_health_check_of_the_image_sees_whether_the_server_is_well(tmp_path):
    index = Index(tmp_path, "URL_PREFIX = '/index'", [])
    words = json.loads(re.search(r"HEALTHCHECK.*?CMD (\[.*?\])\n", DOCKERFILE, re.DOTALL)[1])
    port = index.url.removesuffix("/index").rpartition(":")[2]
    environ = {"EXTRAPYPI_PORT": port, "http_proxy": "http://127.0.0.1:1", "PATH": os.defpath}
    check = [sys.executable, *words[1:]]
    try:
        well = subprocess.run(check, env={**environ, "EXTRAPYPI_URL_PREFIX": "/index/"})
    finally:
        index.stop()
    assert well.returncode == 0
    assert subprocess.run(check, env=environ, capture_output=True).returncode == 1


@pytest.mark.parametrize("command", ["run", "init"])
@pytest.mark.parametrize("database", [False, True], ids=["empty", "with a database"])
def test_a_volume_that_cannot_be_written_is_told_in_one_sentence(command, database, tmp_path):
    volume = tmp_path / "data"
    volume.mkdir()
    if database:
        (volume / "extrapypi.db").touch()
    volume.chmod(0o555)
    environ = {**isolated(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    environ["EXTRAPYPI_BASE_DIR"] = str(volume)
    words = [sys.executable, "-m", "extrapypi", command]
    if os.geteuid() == 0:  # who writes everywhere, unless this is taken from him
        words = ["setpriv", "--bounding-set=-dac_override", *words]
    done = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    folder = volume if command == "run" else volume / "packages"
    assert f"{folder} cannot be written" in done.stderr


def test_systemd_knows_every_word_of_the_units(tmp_path):
    units = []
    kinds = {".service", ".socket", ".timer"}
    for unit in sorted(each for each in DEPLOY.iterdir() if each.suffix in kinds):
        units.append(tmp_path / unit.name)
        units[-1].write_text(unit.read_text().replace("/opt/extrapypi/bin/", "/usr/bin/env "))
    verify = [program("systemd-analyze"), "verify", *map(str, units)]
    done = subprocess.run(verify, capture_output=True, text=True)
    assert (len(units), done.returncode, done.stderr) == (5, 0, "")
