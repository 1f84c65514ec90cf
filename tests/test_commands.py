"""The command line: what each command does and says, right and wrong."""

from __future__ import annotations

import io
import os
import re
import socket
import stat
import subprocess
import sys

import pytest
from archives_made import wheel_bytes
from clients import CHECKOUT
from conftest import at_once

from extrapypi import config, database, passwords
from extrapypi.commandline import COMMANDS, main, parser
from extrapypi.errors import ConfigError
from extrapypi.models import File, Package, Token, User


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, log):
    """A function that runs a command in an environment with nothing but a configuration file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXTRAPYPI_CONFIG", str(tmp_path / "config.py"))

    def command(*arguments: object, status: int = 0) -> str:
        assert main([str(word) for word in arguments]) == status
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return captured.out + captured.err

    yield command
    database.close()


@pytest.fixture
def ready(run, tmp_path):
    """The same, after `start` and `init`, with two files to import in the folder `dist`."""
    run("start", "--filename", tmp_path / "config.py")
    run("init")
    (tmp_path / "dist").mkdir()
    for version in ("1.0", "2.0"):
        filename, body = wheel_bytes(version=version)
        (tmp_path / "dist" / filename).write_bytes(body)
    return run


def said_by(*arguments: object) -> str:
    """What a process of its own says, which has to end with status 1 and without a traceback."""
    command = [sys.executable, "-m", "extrapypi", *map(str, arguments)]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_start_writes_a_configuration_that_works_and_never_overwrites_one(run, tmp_path):
    path = tmp_path / "config.py"
    assert "extrapypi init --password - --pip-pwd -" in run("start", "--filename", path)
    first = config.load(path)
    assert f"sqlite:///{tmp_path}/extrapypi.db" == first.DATABASE_URL
    assert len(first.SECRET_KEY) > 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "--force" in run("start", "--filename", path, status=1)
    assert config.load(path).SECRET_KEY == first.SECRET_KEY
    run("start", "--force", "--filename", path)
    assert config.load(path).SECRET_KEY != first.SECRET_KEY


def test_the_sample_names_every_setting(run, tmp_path):
    run("start", "--filename", tmp_path / "config.py")
    text = (tmp_path / "config.py").read_text()
    for name in config.SETTINGS:
        assert re.search(rf"^(# )?{name} = ", text, re.MULTILINE), name


def test_init_makes_an_admin_and_an_installer_and_may_be_repeated(ready):
    roles = {user.username: (user.role, user.default_password) for user in User.select()}
    assert roles == {"admin": ("admin", True), "pip": ("installer", True)}
    assert "there already" in ready("init", "--password", "another one")
    assert User.named("admin").default_password
    ready("set-password", "admin", "a good secret")
    assert not User.named("admin").default_password


def test_init_takes_names_and_passwords(run, tmp_path):
    run("start", "--filename", tmp_path / "config.py")
    run(
        "init",
        "--user",
        "boss@home",
        "--password",
        "good enough",
        "--pip-user",
        "ci",
        "--pip-pwd",
        "x y z 1 2",
    )
    assert [user.default_password for user in User.select()] == [False, False]


@pytest.mark.parametrize(
    "words",
    [
        ("--password", "short"),
        ("--pip-pwd", "short"),
        ("--user", "a:b"),
        ("--user", "same", "--pip-user", "SAME"),
    ],
)
def test_init_with_something_wrong_leaves_nothing(run, tmp_path, words):
    run("start", "--filename", tmp_path / "config.py")
    run("init", *words, status=1)
    assert not (tmp_path / "extrapypi.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///config.py",
        "sqlite:///.",
        "postgresql://nobody@127.0.0.1:1/x",
        "mysql://nobody@127.0.0.1:1/x",
    ],
)
@pytest.mark.parametrize("words", [["init"], ["db", "status"], ["db", "upgrade"], ["list-users"]])
def test_a_database_that_cannot_be_used_is_one_sentence(run, tmp_path, url, words):
    (tmp_path / "config.py").write_text(f"BASE_DIR = {str(tmp_path)!r}\nDATABASE_URL = {url!r}")
    said = run(*words, status=1).splitlines()
    assert said[-1].startswith("extrapypi: ")
    assert (tmp_path / "config.py").read_text().startswith("BASE_DIR")


@pytest.mark.parametrize(
    "parameter",
    [
        "foo=2",
        "charset=nope",
        "defer_connect=1",
        "timeout=5",
        "compress=1",
        "ssl=x",
        "ssl_ca=/no/file",
    ],
)
def test_a_parameter_that_the_driver_does_not_take_is_one_sentence(run, tmp_path, parameter):
    url = f"mysql://root:secret@127.0.0.1:1/x?{parameter}"
    (tmp_path / "config.py").write_text(f"BASE_DIR = {str(tmp_path)!r}\nDATABASE_URL = {url!r}")
    said = run("list-users", status=1)
    assert "parameters that the driver takes" in said
    assert "secret" not in said


def test_a_folder_that_cannot_be_made_is_one_sentence(run, tmp_path):
    (tmp_path / "config.py").write_text("BASE_DIR = '/proc/nothing'")
    for words in (["init"], ["db", "upgrade"]):
        assert run(*words, status=1).startswith("extrapypi: ")


def test_the_database_is_for_its_owner_only(ready, tmp_path):
    assert stat.S_IMODE((tmp_path / "extrapypi.db").stat().st_mode) == 0o600


def test_the_first_start_says_its_passwords_even_when_it_cannot_serve(tmp_path, monkeypatch):
    monkeypatch.delenv("EXTRAPYPI_CONFIG", raising=False)
    monkeypatch.setenv("EXTRAPYPI_BASE_DIR", str(tmp_path / "new"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = said_by("run", "--port", taken.getsockname()[1])
    assert "This is the first start" in said
    assert "Cannot listen on" in said


@pytest.mark.parametrize("host", ["nosuch.invalid", "256.1.1.1"])
def test_a_host_that_is_none_is_one_sentence(ready, host):
    for name in ("admin", "pip"):
        ready("set-password", name, "a good secret")
    assert f"Cannot listen on {host}" in said_by("run", "--host", host, "--port", "0")


def test_commands_without_tables_say_init(run, tmp_path):
    run("start", "--filename", tmp_path / "config.py")
    for words in (["list-users"], ["run"], ["check"]):
        assert "run: extrapypi init" in run(*words, status=1)
    assert not (tmp_path / "extrapypi.db").exists()


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::"])
def test_run_shows_no_default_password_to_the_world(ready, address):
    said = ready("run", "--host", address, "--port", "0", status=1)
    assert "Documented passwords are still in place (admin, pip)" in said
    assert "set-password admin" in said


def test_run_shows_no_sample_key_to_the_world(ready, tmp_path):
    for name in ("admin", "pip"):
        ready("set-password", name, "a good secret")
    with (tmp_path / "config.py").open("a") as stream:
        stream.write("SECRET_KEY = 'changeit'\n")
    assert "SECRET_KEY is a sample" in ready("run", "--host", "0.0.0.0", status=1)


def test_users_come_and_go(ready, monkeypatch):
    ready("create-user", "anna", "good enough", "anna@example.org", "--role", "developer")
    assert re.search(
        r"^anna\tdeveloper\tactive\tanna@example.org\tnever$", ready("list-users"), re.M
    )
    assert "There is a user ANNA" in ready("create-user", "ANNA", "good enough", "b@c", status=1)
    assert "8 to 128" in ready("create-user", "bob", "short", "b@c", status=1)
    monkeypatch.setattr("sys.stdin", io.StringIO("a secret from a pipe\n"))
    ready("set-password", "anna", "-")
    ready("delete-user", "Anna")
    assert "no user anna" in ready("delete-user", "anna", status=1)
    assert "last active admin" in ready("delete-user", "admin", status=1)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("create-user", "anna", "-", "anna@example.org"), "anna"),
        (("set-password", "admin", "-"), "admin"),
        (("init", "--user", "ben", "--password", "-"), "ben"),
        (("init", "--pip-user", "ci", "--pip-pwd", "-"), "ci"),
    ],
)
def test_a_password_need_not_stand_in_the_list_of_processes_and_is_not_told(
    ready, monkeypatch, words, name
):
    for password, status in (("pA-55", 1), ("a secret from a pipe", 0)):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        assert password not in ready(*words, status=status)
    assert passwords.matches("a secret from a pipe", User.named(name).password_hash)


def test_a_token_is_shown_once_and_can_be_revoked(ready):
    said = ready(
        "token", "create", "admin", "--package", "Demo_Pkg", "--expires", "3", "--name", "ci"
    )
    secret = said.splitlines()[0]
    assert secret.startswith("xpypi_")
    assert Token.get().packages == ["demo-pkg"]
    listed = ready("token", "list")
    assert secret not in listed
    assert listed.split("\t")[:6] == ["1", "admin", "ci", "upload", "demo-pkg", "usable"]
    ready("token", "revoke", "1")
    assert "revoked" in ready("token", "list")
    assert "no token 7" in ready("token", "revoke", "7", status=1)
    assert "too large" in ready("token", "revoke", "9" * 30, status=1)
    assert "no user nobody" in ready("token", "create", "nobody", status=1)
    assert "1 to 36500" in ready("token", "create", "admin", "--expires", "0", status=1)
    assert "'b@d' is no name" in ready("token", "create", "admin", "--package", "b@d", status=1)


def test_files_are_imported_yanked_marked_checked_and_deleted(ready, tmp_path, monkeypatch):
    assert "2 added, 0 there already, 0 skipped" in ready("import", tmp_path / "dist")
    assert "0 added, 2 there already" in ready("import", tmp_path / "dist")
    assert "Yanked demo_pkg-1.0" in ready("yank", "Demo-Pkg", "1.0", "--reason", "broken")
    assert [file.yanked_reason for file in File.select().where(File.yanked)] == ["broken"]
    ready("yank", "demo-pkg", "1", "--undo")
    ready("status", "demo-pkg", "archived", "--reason", "done")
    assert (Package.get().status, Package.get().status_reason) == ("archived", "done")
    assert "Files: 2, faults: 0." in ready("check", "--deep")
    next((tmp_path / "packages").rglob("*2.0*.whl")).unlink()
    assert "missing: demo_pkg-2.0" in ready("check", status=1)
    monkeypatch.setattr("builtins.input", lambda prompt: "no")
    assert "Nothing was deleted" in ready("delete", "demo-pkg", status=1)
    ready("delete", "demo-pkg", "2.0", "--yes")
    ready("delete", "demo-pkg", "1.0", "demo_pkg-1.0-py3-none-any.whl", "--yes")
    assert not Package.select().exists()
    assert "no project demo-pkg" in ready("delete", "demo-pkg", "--yes", status=1)


def test_an_argument_that_is_no_text_is_one_sentence(ready):
    for words in (
        ["yank", "demo\udcff\udcfe", "1.0"],
        ["set-password", "demo\udcff\udcfe", "good enough"],
    ):
        said = ready(*words, status=1)
        assert said == "extrapypi: '\\udcff\\udcfe' is not text in UTF-8.\n"


def test_an_import_with_bad_files_says_so_and_ends_with_1(ready, tmp_path):
    (tmp_path / "dist" / "demo-3.0.tar.gz").write_text("no archive")
    said = ready("import", tmp_path / "dist", status=1)
    assert "2 added, 0 there already, 1 skipped" in said
    assert "demo-3.0.tar.gz: " in said
    assert "no user nobody" in ready("import", "--user", "nobody", status=1)
    assert "no folder" in ready("import", tmp_path / "nothing", status=1)
    assert "empty path" in ready("import", "", status=1)


def test_the_state_of_the_schema_is_told(run, tmp_path):
    run("start", "--filename", tmp_path / "config.py")
    assert "0001_initial pending" in run("db", "status", status=1)
    assert not (tmp_path / "extrapypi.db").exists()
    assert "0001_initial" in run("db", "upgrade")
    assert "up to date" in run("db", "upgrade")
    assert "pending" not in run("db", "status")


def test_two_first_starts_at_once_create_one_pair_of_users(tmp_path, capsys):
    from extrapypi.starting import set_up

    database.bind(f"sqlite:///{tmp_path}/x.db")

    def first_start(number: int) -> None:
        set_up(config.load({"BASE_DIR": str(tmp_path)}))

    at_once(3, first_start)
    assert capsys.readouterr().out.count("This is the first start") == 1
    assert User.select().count() == 2
    database.close()


def test_a_bad_configuration_is_one_sentence(run, tmp_path):
    (tmp_path / "config.py").write_text("PROT = 1")
    assert run("list-users", status=1).startswith("extrapypi: ")
    with pytest.raises(ConfigError):
        config.load(tmp_path / "config.py")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([*command.words.split(), "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 60


@pytest.mark.parametrize(
    "words", [[], ["nothing"], ["yank"], ["token"], ["run", "--port", "x"], ["status", "x", "gone"]]
)
def test_wrong_usage_is_exit_status_2(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
