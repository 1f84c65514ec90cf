"""`extrapypi doctor`: it finds what is wrong, says how to mend it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import threading
import wsgiref.simple_server
from contextlib import contextmanager

import pytest
from archives_made import wheel_bytes
from conftest import USERS, upload

from extrapypi import accounts, database
from extrapypi.app import create_app
from extrapypi.commandline import main
from extrapypi.config import Config
from extrapypi.doctor import Fault, database_clock, local, same_clock, tried
from extrapypi.models import User
from extrapypi.outside import Running
from extrapypi.starting import COMMAND_LINE

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def wrong(findings) -> dict[str, str]:
    """Subject and text of the faults."""
    return {each.subject: each.text for each in findings if not each.is_ok}


def everything(folder) -> list[str]:
    """All files and folders below."""
    return sorted(str(path) for path in folder.rglob("*") if "extrapypi.db" not in path.name)


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """A handler that writes nothing."""

    def log_message(self, *words: object) -> None:
        """Nothing."""


@contextmanager
def served(app):
    """The URL of a server with the application, for as long as it is needed."""
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet)

    def serve() -> None:
        server.serve_forever(0.05)
        database.close()  # SQLite's connections are one a thread

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_proxy(app, **headers: str):
    """The application behind a proxy that sends these headers; an underscore is a dash."""

    def proxied(environ, start_response):
        return app({**environ, **{f"HTTP_{k}": v for k, v in headers.items()}}, start_response)

    return proxied


def test_a_sound_index_has_no_faults_and_nothing_is_left_in_it(settings, tables, tmp_path):
    config = Config(settings)
    create_app(settings).close()
    before = everything(tmp_path)
    findings = list(local(config))
    assert wrong(findings) == {}
    assert {"tables", "storage", "writing to the database"} <= {each.subject for each in findings}
    assert everything(tmp_path) == before


def test_a_clock_that_goes_wrong_is_told():
    with pytest.raises(Fault, match=r"The server is \d+ s behind"):
        same_clock(0, "The server")


def test_every_database_tells_its_time(tables):
    with database.connection():
        assert "own" in database_clock() or "within" in database_clock()


@on_sqlite
def test_what_is_wrong_on_this_machine_is_found(settings, tables, tmp_path):
    accounts.create_user(COMMAND_LINE, "weak", "admin", "w@example.org", "admin", True)
    path = tmp_path / "index" / "extrapypi.db"
    path.chmod(0o644)
    found = wrong(local(Config({**settings, "SECRET_KEY": "changeit"})))
    assert set(found) == {"secret key", "permissions of the database", "passwords"}
    assert f"chmod 0640 {path}" in found["permissions of the database"]
    assert "extrapypi set-password weak -" in found["passwords"]


@on_sqlite
def test_tables_and_storage_that_fail_are_one_line_each(settings, tmp_path):
    (tmp_path / "file").write_text("")
    params = {"packages_root": str(tmp_path / "file" / "below")}
    config = Config({**settings, "STORAGE_PARAMS": params})
    database.bind(config.DATABASE_URL)
    findings = list(local(config))
    assert set(wrong(findings)) == {"tables", "storage"}
    assert "extrapypi init" in wrong(findings)["tables"]
    assert all("\n" not in str(each) for each in findings)


def test_a_reason_that_is_in_the_sentence_already_is_not_said_again():
    def refused(reason: str) -> str:
        try:
            raise OSError("no such bucket")
        except OSError as error:
            raise Fault(f"It fails{reason}.") from error

    assert tried("storage", refused, ": no such bucket").text == "It fails: no such bucket."
    assert tried("storage", refused, "").text == "It fails. no such bucket"


@on_sqlite
def test_a_storage_that_loses_bytes_is_found(settings, tables, monkeypatch):
    class Lossy(type(create_app(settings).site.storage)):
        def get_file(self, location, start=0, stop=None):
            return super().get_file(location, 5, stop)

    monkeypatch.setattr("extrapypi.storage.LocalStorage", Lossy)
    assert "not what comes back" in wrong(local(Config(settings)))["storage"]


@on_sqlite
def test_a_running_server_that_is_right_has_no_faults(app, as_role):
    upload(as_role("developer"), *wheel_bytes())
    with served(app) as url:
        findings = list(Running(url + "/simple/", "installer", USERS["installer"]).findings())
    assert wrong(findings) == {}
    assert "a file of it come" in findings[-1].text


@on_sqlite
@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X_FORWARDED_PROTO": "https"}, "X-Forwarded-Proto"),
        ({"X_FORWARDED_HOST": "inner.example"}, "pass on Host"),
        ({"X_FORWARDED_PREFIX": "/other"}, "URL_PREFIX"),
    ],
)
def test_links_that_lead_elsewhere_say_what_the_proxy_lacks(settings, tables, headers, words):
    app = create_app({**settings, "TRUSTED_PROXY": "127.0.0.1"})
    with served(as_proxy(app, **headers)) as url:
        found = wrong(Running(url, "installer", USERS["installer"]).findings())
    assert words in found["links of the server"]
    app.close()


@on_sqlite
def test_wrong_credentials_and_a_url_of_something_else_are_found(app):
    with served(app) as url:
        assert (
            "Authorization" in wrong(Running(url, "installer", "no").findings())["index as uv asks"]
        )
        assert "--password" in wrong(Running(url).findings())["index as pip asks"]
        elsewhere = Running(url + "/nothing").findings()
        assert list(wrong(elsewhere)) == [f"{url}/nothing/ping"]
    assert "ping" in next(iter(wrong(Running(url).findings())))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, log):
    """A function that runs a command after `start` and `init`; its status and output."""

    def command(*words: str) -> tuple[int, str]:
        status = main(list(words))
        return status, capsys.readouterr().out

    monkeypatch.setenv("EXTRAPYPI_CONFIG", str(tmp_path / "config.py"))
    command("start", "--filename", str(tmp_path / "config.py"))
    command("init", "--password", "a good secret", "--pip-pwd", "another good one")
    yield command
    database.close()


def test_the_command_ends_with_1_when_something_is_wrong(run, tmp_path):
    status, text = run("doctor")
    assert (status, "WRONG" in text) == (0, False)
    os.chmod(tmp_path / "config.py", 0o644)
    status, text = run("doctor", "--json")
    faults = [each for each in json.loads(text) if not each["ok"]]
    assert (status, len(faults)) == (1, 1)
    assert faults[0]["subject"] == "permissions of the configuration"
    (tmp_path / "config.py").write_text("PORT = 'x'")
    status, text = run("doctor")
    assert status == 1
    assert text.startswith("WRONG  configuration: PORT must be int")


def test_what_scripts_want_comes_as_json(run):
    _, text = run("token", "create", "admin", "--package", "demo", "--expires", "9", "--json")
    made = json.loads(text)
    assert made.pop("secret").startswith("xpypi_")
    assert json.loads(run("token", "list", "--json")[1]) == [made]
    assert (made["packages"], made["state"], made["last_used"]) == (["demo"], "usable", None)
    users = json.loads(run("list-users", "--json")[1])
    assert [(user["username"], user["role"]) for user in users] == [
        ("admin", "admin"),
        ("pip", "installer"),
    ]
    rows = json.loads(run("db", "status", "--json")[1])
    assert all(row["applied"] and row["known"] for row in rows)
    assert json.loads(run("check", "--json")[1]) == {"files": 0, "faults": []}


def test_check_tells_its_faults_and_what_was_mended_as_json(run, tmp_path):
    filename, body = wheel_bytes()
    (tmp_path / filename).write_bytes(body)
    run("import", str(tmp_path / filename))  # of an index without files nothing is set aside
    leftover = tmp_path / "packages" / "demo" / "x.whl"
    leftover.parent.mkdir()
    leftover.write_bytes(b"x")
    status, text = run("check", "--json")
    (fault,) = json.loads(text)["faults"]
    assert (status, fault["kind"], fault["mended"]) == (1, "leftover", None)
    status, text = run("check", "--json", "--repair")
    assert status == 0
    assert json.loads(text)["faults"][0]["mended"]
    assert User.select().count() == 2
