"""Two servers on one PostgreSQL and one bucket, behind nginx, as the example starts them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from archives_made import wheel_bytes
from clients import CHECKOUT, Machine, form, isolated, with_credentials

DATABASE = f"extrapypi_several_{os.getpid()}"
URL = f"postgresql://postgres@127.0.0.1:5432/{DATABASE}"
START_TIME = 90  # seconds


class Several(NamedTuple):
    """The URLs of nginx and of the two servers, and a function that runs a command."""

    nginx: str
    servers: list[str]
    command: object


@pytest.fixture(scope="module")
def several(tmp_path_factory, postgresql):
    """The example, running."""
    if not os.environ.get("CI") and not shutil.which(
        "nginx", path=f"{os.environ['PATH']}:/usr/sbin"
    ):
        pytest.skip("nginx is not installed (see the README)")
    folder, home = tmp_path_factory.mktemp("several"), tmp_path_factory.mktemp("home")
    variables = {**isolated(home), "PYTHONPATH": str(CHECKOUT)}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    example = [sys.executable, CHECKOUT / "examples" / "several_servers.py", folder]
    options = ["--port", port, "--database-url", URL]

    def command(*words: str) -> str:
        program = [sys.executable, "-m", "extrapypi", *words]
        settings = {**variables, "EXTRAPYPI_CONFIG": str(folder / "config.py")}
        done = subprocess.run(program, env=settings, cwd=home, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [str(word) for word in (*example, *options)],
            cwd=home,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            yield Several(*announced(process), command)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_TIME)
            drop_database(postgresql)


def announced(process: subprocess.Popen) -> tuple[str, list[str]]:
    """The URLs that the example prints: nginx's and those of the servers."""
    said = ""
    while "The index is at" not in said:
        assert select.select([process.stdout], [], [], START_TIME)[0], said
        chunk = os.read(process.stdout.fileno(), 65536).decode()
        assert chunk, said
        said += chunk
    *servers, front = re.findall(r"(http://[\d.:]+)/", said)
    return front, servers


def drop_database(url: str) -> None:
    """Drops the example's database."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}")


def ask(url: str, user: str = "admin:admin", data: bytes | None = None, **headers: str):
    """Status, headers and body of an answer."""
    request = urllib.request.Request(url, data)
    request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def publish(url: str, name: str, user: str = "admin:admin", **metadata: str) -> tuple[int, bytes]:
    """The status of an upload, and the bytes that were sent."""
    filename, body = wheel_bytes(name, **metadata)
    fields = {
        ":action": "file_upload",
        "metadata_version": "2.1",
        "name": name,
        "version": "1.0",
        "filetype": "bdist_wheel",
        "sha256_digest": hashlib.sha256(body).hexdigest(),
    }
    kind = "multipart/form-data; boundary=xxxx"
    return ask(f"{url}/legacy/", user, form(fields, filename, body), Content_Type=kind)[0], body


def listed(url: str, name: str) -> dict:
    """A project's page, as JSON."""
    status, _, body = ask(f"{url}/simple/{name}/", Accept="application/vnd.pypi.simple.v1+json")
    return json.loads(body) if status == 200 else {"files": []}


def test_what_was_uploaded_through_one_is_on_the_others_index_at_the_next_request(several):
    one, other = several.servers
    assert listed(other, "first")["files"] == []
    assert publish(one, "first")[0] == 200
    (file,) = listed(other, "first")["files"]
    assert listed(one, "first")["files"] == [file]
    for url in (one, other, several.nginx):
        status, _, body = ask(url + file["url"])
        assert (status, hashlib.sha256(body).hexdigest()) == (200, file["hashes"]["sha256"])


def test_a_kept_page_is_right_on_both_after_a_yank_through_neither(several):
    publish(several.servers[0], "kept")
    tags = [ask(f"{url}/simple/kept/")[1]["ETag"] for url in several.servers]
    assert tags[0] == tags[1]
    for url in several.servers:
        assert ask(f"{url}/simple/kept/", If_None_Match=tags[0])[0] == 304
    several.command("yank", "kept", "1.0", "--reason", "broken")
    for url in several.servers:
        status, headers, body = ask(f"{url}/simple/kept/", If_None_Match=tags[0])
        assert (status, headers["ETag"] != tags[0]) == (200, True)
        assert b'data-yanked="broken"' in body


def test_a_token_and_a_password_count_and_end_on_both_at_once(several):
    token = several.command("token", "create", "admin", "--name", "ci").strip()
    several.command("create-user", "anna", "her first secret", "anna@example.org")
    users = [f"__token__:{token}", "anna:her first secret"]
    for url in several.servers:
        assert [ask(f"{url}/simple/", user)[0] for user in users] == [200, 200]
    (number,) = re.findall(r"^(\d+)\tadmin\tci\t", several.command("token", "list"), re.MULTILINE)
    several.command("token", "revoke", number)
    several.command("set-password", "anna", "her second secret")
    for url in several.servers:
        assert [ask(f"{url}/simple/", user)[0] for user in users] == [401, 401]
        assert ask(f"{url}/simple/", "anna:her second secret")[0] == 200


def test_wrong_passwords_are_counted_over_both(several):
    statuses = [ask(f"{several.servers[n % 2]}/simple/", "eve:guess")[0] for n in range(10)]
    assert statuses == [401] * 10
    for url in several.servers:
        status, headers, _ = ask(f"{url}/simple/", "eve:guess")
        assert (status, headers["Retry-After"]) == (429, "300")
        assert ask(f"{url}/simple/")[0] == 200


def test_of_20_uploads_of_one_name_over_both_one_wins_and_its_bytes_are_served(several):
    def send(number: int) -> tuple[int, bytes]:
        return publish(several.servers[number % 2], "race", description=str(number))

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(send, range(20)))
    assert sorted(status for status, _ in answers) == [200] + [400] * 19
    (won,) = (body for status, body in answers if status == 200)
    for url in (*several.servers, several.nginx):
        (file,) = listed(url, "race")["files"]
        assert file["hashes"]["sha256"] == hashlib.sha256(won).hexdigest()
        assert ask(url + file["url"])[2] == won
    assert "faults: 0" in several.command("check", "--deep")  # the losers' bytes are gone, too


def test_twine_and_pip_and_uv_work_through_the_proxy(several, tmp_path):
    machine = Machine(tmp_path)
    machine.dist(wheel_bytes("proxied"))
    url = ("--repository-url", f"{several.nginx}/legacy/")
    machine.run("twine", "upload", *url, "-u", "admin", "-p", "admin", "dist/*")
    for tool in ("pip", "uv"):
        machine.install(tool, with_credentials(f"{several.nginx}/simple/", "pip", "pip"), "proxied")
        assert machine.installed("proxied") == "1.0"
