"""Backup and restore: across databases, while files come and go, after a crash, and damaged."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from threading import Thread

import peewee
import pytest
from archives_made import sdist_bytes, wheel_bytes
from clients import CHECKOUT, isolated
from conftest import COMMAND_LINE, USERS, as_user, at_once, drop_tables, empty_database, upload

from extrapypi import accounts, checking, database, models, packages, schema
from extrapypi.app import create_app
from extrapypi.backup import MARK, back_up
from extrapypi.commandline import main
from extrapypi.errors import InvalidInput, SchemaError, Unavailable
from extrapypi.mending import repair
from extrapypi.models import Download, Failure, File, Package, Serial, Session, User
from extrapypi.restoring import restore, value_of
from extrapypi.storage import LocalStorage, get_store

JSON = "application/vnd.pypi.simple.v1+json"
DESCRIPTION = 'naïve 日本 😀 \u2028 \\ "quoted"\n' * 30_000
PEOPLE = ("Ångström", "left")
ENGINES = pytest.mark.parametrize("database_url", ["sqlite", "postgresql", "mysql"], indirect=True)


def disk(request, folder: Path) -> dict:
    """Settings of an empty storage on the disk."""
    params = {"packages_root": str(folder / "packages")}
    return {"STORAGE": "LocalStorage", "STORAGE_PARAMS": params}


def bucket(request, folder: Path) -> dict:
    """Settings of an empty bucket."""
    server = request.getfixturevalue("object_store")
    params = server.params(server.new_bucket(), spool_folder=str(folder / "spool"))
    return {"STORAGE": "S3Storage", "STORAGE_PARAMS": params}


class Move:
    """From a database to another, and from a storage, ``disk`` or ``bucket``, to another."""

    def __init__(self, source: str, target: str, origin=disk, storage=disk) -> None:
        self.source, self.target = source, target
        self.origin, self.storage = origin, storage

    def __str__(self) -> str:
        storages = f"{self.origin.__name__}-{self.storage.__name__}"
        return f"{self.source}-{self.target}-{storages}"


MOVES = (
    Move("sqlite", "postgresql"),
    Move("postgresql", "mysql"),
    Move("mysql", "sqlite"),
    Move("sqlite", "postgresql", disk, bucket),
    Move("postgresql", "sqlite", bucket, disk),
)


@pytest.fixture
def move(request):
    """What a round trip goes through."""
    return request.param


@pytest.fixture
def database_url(request, tmp_path):
    """The database of the move's beginning; else SQLite, unless a test asks for all."""
    if "move" in request.fixturenames:
        engine = request.getfixturevalue("move").source
    else:
        engine = getattr(request, "param", "sqlite")
    return empty_database(request, engine, tmp_path)


@pytest.fixture
def settings(request, settings, tmp_path):
    """The settings of the move's beginning; else of a disk."""
    if "move" in request.fixturenames:
        origin = request.getfixturevalue("move").origin
        settings |= origin(request, tmp_path / "origin")
    return settings


@pytest.fixture
def target(request, move, tmp_path, settings):
    """The settings of the move's end: a database without tables, and another secret key."""
    url = f"sqlite:///{tmp_path}/target/extrapypi.db"
    if move.target != "sqlite":
        url = request.getfixturevalue(move.target)
        database.bind(url)
        drop_tables()
        database.bind(settings["DATABASE_URL"])
    key = "another key, which only the new server has"
    yield {
        **settings,
        "DATABASE_URL": url,
        "SECRET_KEY": key,
        **move.storage(request, tmp_path / "target"),
    }
    database.bind(url)
    drop_tables()
    schema.upgrade()  # as other tests expect it
    database.close()


def fill(app) -> dict[str, str]:
    """Puts something of everything on the index; name to token."""
    developer = as_user(app, "developer", USERS["developer"])
    metadata = {"requires_python": ">=3.9", "requires_dist": ["other>=1", "x; extra == 'y'"]}
    upload(developer, *sdist_bytes(description="plain", **metadata))
    upload(developer, *wheel_bytes(description=DESCRIPTION, **metadata))
    upload(developer, *wheel_bytes(version="2.0rc1"))
    upload(developer, *wheel_bytes(name="Big.Thing", files={"big.bin": os.urandom(6 * 1024**2)}))
    for name in ("gone", "archived", "deprecated", "quarantined"):
        upload(developer, *wheel_bytes(name=name))
        if name != "gone":
            packages.set_status(COMMAND_LINE, name, name, "because of ünïcode")
    packages.delete(app.site.storage, COMMAND_LINE, "gone")
    packages.yank(COMMAND_LINE, "demo-pkg", "2.0rc1", "no 日本 good")
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "maintainer")
    for name in PEOPLE:
        accounts.create_user(COMMAND_LINE, name, "a long secret", f"{name}@x.org", "developer")
    upload(as_user(app, "left", "a long secret"), *wheel_bytes(name="orphan"))
    accounts.delete_user(COMMAND_LINE, "left")
    Download.create(file=File.select().first(), day=date(2026, 1, 2), client="pip", number=2**40)
    _, reading = accounts.create_token(COMMAND_LINE, "installer", "ci", "read", days=30)
    _, limited = accounts.create_token(COMMAND_LINE, "developer", "one", packages=["demo-pkg"])
    token, revoked = accounts.create_token(COMMAND_LINE, "developer", "no more")
    accounts.revoke_token(COMMAND_LINE, token.id)
    return {"reading": reading, "limited": limited, "revoked": revoked}


def pages(app, tokens: dict[str, str]) -> dict[str, tuple]:
    """Status, headers and body of every page and file, and of what each of the users gets."""
    asked = {}
    client = as_user(app, "installer", USERS["installer"])

    def ask(url: str, accept: str = "*/*", client=client):
        answer = client.get(url, headers={"Accept": accept}, status="*")
        del answer.headers["X-Request-ID"]  # which every request has for itself
        key = (client.authorization, accept, url)
        asked[key] = (answer.status, sorted(answer.headers.items()), answer.body)
        return answer

    ask("/simple/")
    for project in ask("/simple/", JSON).json["projects"]:
        name = project["name"]
        ask(f"/simple/{name}/", "text/html")
        page = ask(f"/simple/{name}/", JSON).json
        for version in ("", *(f"{version}/" for version in page["versions"])):
            ask(f"/pypi/{name}/{version}json")
        for file in page["files"]:
            ask(f"/packages/{name}/{file['filename']}")
            ask(f"/packages/{name}/{file['filename']}.metadata")
    for username, password in {**USERS, **dict.fromkeys(PEOPLE, "a long secret")}.items():
        ask("/simple/", client=as_user(app, username, password))
    for secret in tokens.values():
        ask("/simple/demo-pkg/", client=as_user(app, "__token__", secret))
    return asked


def content(storage) -> dict[str, tuple]:
    """All rows, but for the locations of files; and all files with their core metadata."""
    found = {}
    for model in set(models.TABLES) - {Serial, Session, Failure}:
        query = model.select().order_by(*model._meta.get_primary_keys()).dicts()
        found[model.__name__] = [{**row, "location": ""} for row in query]
    for file in File.select():
        with closing(storage.get_file(file.location)) as stream:
            body = b"".join(iter(lambda: stream.read(2**20), b""))
        found[file.filename] = (body, storage.get_metadata(file.location))
    return {**found, "serial": Serial.select(Serial.value).scalar()}


def differences(one: dict, other: dict) -> list:
    """The keys whose values are not the same in both; the values may be too large to print."""
    return [key for key in {**one, **other} if one.get(key) != other.get(key)]


@pytest.mark.parametrize("move", MOVES, indirect=True, ids=str)
def test_an_index_moves_to_another_server_with_every_page_and_byte(
    app, target, tmp_path, monkeypatch
):
    monkeypatch.setattr("extrapypi.dumping.PAGE", 3)  # so that it takes several
    tokens = fill(app)
    before = pages(app, tokens)
    app.site.writer.stop()  # it writes when the tokens were used
    back_up(app.site.storage, tmp_path / "backup")
    everything = content(app.site.storage)

    database.bind(target["DATABASE_URL"])
    storage = get_store(target["STORAGE"], target["STORAGE_PARAMS"])
    restore(storage, tmp_path / "backup")
    assert differences(content(storage), everything) == []
    assert list(checking.check(storage, deep=True)) == []
    with closing(create_app(target)) as moved:
        assert differences(pages(moved, tokens), before) == []
        developer = as_user(moved, "developer", USERS["developer"])
        upload(developer, *wheel_bytes(name="gone", description="other bytes"), status=400)
        upload(developer, *wheel_bytes(name="gone"))  # the bytes that had the name
        limited = as_user(moved, "__token__", tokens["limited"])
        upload(limited, *wheel_bytes(version="3.0"))
        upload(limited, *wheel_bytes(name="other"), status=403)
        accounts.create_user(COMMAND_LINE, "new", "a long secret", "new@x.org", "installer")
        assert Serial.get().value == everything["serial"] + 3


def refuse_unsound(folder: Path) -> None:
    """Fails unless every file of the backup's rows is there, and every sum is right."""
    listed = map(json.loads, (folder / "tables/files.jsonl").read_bytes().splitlines())
    for row in listed:
        assert digest_of(folder / "files" / row["location"]) == row["sha256"]
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split()) for line in lines)
    assert sums == {path: digest_of(folder / path) for path in sums}
    below = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert below == {*sums, "SHA256SUMS", MARK}


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@ENGINES
def test_a_backup_while_files_come_and_go_has_the_bytes_of_every_row(app, tmp_path):
    def come_and_go(number: int) -> None:
        client = as_user(app, "developer", USERS["developer"])
        for version in range(8):
            upload(client, *wheel_bytes(name=f"busy-{number}", version=f"{version}.0"))
        packages.delete(app.site.storage, COMMAND_LINE, f"busy-{number}", "1.0")

    others = Thread(target=at_once, args=(2, come_and_go))
    others.start()
    serials = []
    while others.is_alive():
        serials.append(back_up(app.site.storage, tmp_path / "backup")["serial"])
        refuse_unsound(tmp_path / "backup")
    others.join()
    manifest = back_up(app.site.storage, tmp_path / "backup")
    refuse_unsound(tmp_path / "backup")
    assert sorted(serials) == serials
    assert manifest["tables"]["files"]["rows"] == File.select().count() == 14
    assert manifest["serial"] == Serial.get().value


class Forgetful(LocalStorage):
    """Deletes a project whose file is asked for, before it gives it; so many times."""

    NAME = "Forgetful"
    names: list[str]

    def get_file(self, location: str, start: int = 0, stop: int | None = None):
        if self.names:
            packages.delete(self, COMMAND_LINE, self.names.pop(), reason="in the middle")
        return super().get_file(location, start, stop)


def forgetful(app, count: int) -> Forgetful:
    """A storage with so many projects that go when they are copied, and one that stays."""
    storage = Forgetful(str(app.site.storage.root))
    storage.names = [f"p{number:02}" for number in range(count)]
    for name in ("p-stays", *storage.names):
        upload(as_user(app, "developer", USERS["developer"]), *wheel_bytes(name=name))
    return storage


def test_what_is_deleted_before_it_was_copied_is_not_in_the_backup(app, tmp_path):
    manifest = back_up(forgetful(app, 2), tmp_path / "backup")
    assert manifest["tables"]["files"]["rows"] == 1
    assert manifest["missing"] == []
    refuse_unsound(tmp_path / "backup")


def test_a_backup_that_never_finds_an_index_at_rest_says_so_and_keeps_the_earlier(
    app, tmp_path, monkeypatch
):
    storage = forgetful(app, 1)
    storage.names = []
    back_up(storage, tmp_path / "backup")
    upload(as_user(app, "developer", USERS["developer"]), *wheel_bytes(name="p-new"))
    storage.names = ["p-new"]
    monkeypatch.setattr("extrapypi.backup.ROUNDS", 1)
    with pytest.raises(Unavailable, match="run the backup again"):
        back_up(storage, tmp_path / "backup")
    empty_server(tmp_path)
    restore(LocalStorage(str(tmp_path / "other")), tmp_path / "backup")
    assert [package.name for package in Package.select()] == ["p-stays", "p00"]


def empty_server(tmp_path: Path, name: str = "other.db") -> None:
    """Binds a database that does not exist yet."""
    database.bind(f"sqlite:///{tmp_path}/{name}")


@pytest.fixture
def backed_up(app, tmp_path) -> Path:
    """A backup of an index with a wheel and an sdist; what is bound then is an empty database."""
    developer = as_user(app, "developer", USERS["developer"])
    upload(developer)
    upload(developer, *sdist_bytes())
    back_up(app.site.storage, tmp_path / "backup")
    empty_server(tmp_path)
    return tmp_path / "backup"


def test_a_backup_is_for_its_owner_and_has_no_secrets_that_it_need_not_have(app, backed_up):
    for path in (backed_up, *backed_up.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    everything = b"".join(path.read_bytes() for path in backed_up.rglob("*.json*"))
    assert app.site.config.SECRET_KEY.encode() not in everything
    assert {path.stem for path in (backed_up / "tables").iterdir()} == {
        model._meta.table_name for model in models.TABLES
    } - {"serial", "sessions", "failures"}
    row = json.loads((backed_up / "tables/users.jsonl").read_bytes().partition(b"\n")[0])
    assert row["created_at"].endswith("+00:00")
    assert row["is_active"] is True


def test_what_other_tools_make_of_the_sums_is_the_same(backed_up):
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=backed_up, capture_output=True).stdout == b""


def test_a_second_backup_copies_what_is_new_and_drops_what_is_gone(app, tmp_path):
    developer = as_user(app, "developer", USERS["developer"])
    for name in ("kept", "gone"):
        upload(developer, *wheel_bytes(name=name))
    folder = tmp_path / "backup"
    back_up(app.site.storage, folder)
    kept = folder / "files/kept" / wheel_bytes(name="kept")[0]
    inode = kept.stat().st_ino
    packages.delete(app.site.storage, COMMAND_LINE, "gone")
    upload(developer, *wheel_bytes(name="new"))
    back_up(app.site.storage, folder)
    refuse_unsound(folder)
    assert kept.stat().st_ino == inode
    assert sorted(path.name for path in (folder / "files").iterdir()) == [
        ".incoming",
        "kept",
        "new",
    ]


def test_a_crash_between_the_old_manifest_and_the_new_leaves_none_and_is_made_good(
    app, as_role, tmp_path
):
    upload(as_role("developer"))
    folder = tmp_path / "backup"
    back_up(app.site.storage, folder)
    (folder / "manifest.json").unlink()
    shutil.move(folder / "tables", folder / "tables.new")
    (folder / "files" / ".incoming" / "half").touch()
    back_up(app.site.storage, folder)
    refuse_unsound(folder)


@ENGINES
def test_a_snapshot_sees_no_change_and_keeps_nobody_waiting(app):
    with database.snapshot():
        assert not File.select().exists()
        at_once(1, lambda _: upload(as_user(app, "developer", USERS["developer"])))
        assert not File.select().exists()
    assert File.select().exists()


def test_a_damaged_copy_is_copied_again(app, as_role, tmp_path):
    upload(as_role("developer"))
    folder = tmp_path / "backup"
    for name in (wheel_bytes()[0], f"{wheel_bytes()[0]}.metadata"):
        back_up(app.site.storage, folder)
        (folder / "files/demo-pkg" / name).write_bytes(b"short")
    back_up(app.site.storage, folder)
    refuse_unsound(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"serial": 10**6}, "of a later state .serial 1000000"),
        ({"index": "2020-01-01T00:00:00.000000+00:00"}, "another index"),
        ({"tables": []}, "damaged: it lacks"),
    ],
)
def test_a_backup_that_is_not_an_earlier_one_of_this_index_is_left_alone(
    app, as_role, tmp_path, change, words
):
    upload(as_role("developer"))
    back_up(app.site.storage, tmp_path / "backup")
    change_manifest(tmp_path / "backup", change)
    before = below(tmp_path / "backup")
    with pytest.raises(InvalidInput, match=words):
        back_up(app.site.storage, tmp_path / "backup")
    assert below(tmp_path / "backup") == before


def change_manifest(folder: Path, change: dict, sums: bool = False) -> None:
    """Changes values of the manifest, and its sum on demand."""
    path = folder / "manifest.json"
    old = digest_of(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    if sums:
        replace(folder / "SHA256SUMS", old, digest_of(path))


def replace(path: Path, old: str, new: str) -> None:
    """Replaces words in a file, where they have to be."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def below(folder: Path) -> dict[str, bytes | None]:
    """What is in the folder."""
    return {str(path): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def test_only_an_empty_folder_outside_of_the_storage_is_taken(app, tmp_path):
    storage, folder = app.site.storage, tmp_path / "there"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "one").touch()
    with pytest.raises(InvalidInput, match="neither empty nor a backup"):
        back_up(storage, folder)
    with pytest.raises(InvalidInput, match="is no folder"):
        back_up(storage, folder / "photos" / "one")
    with pytest.raises(InvalidInput, match="lies in the storage"):
        back_up(storage, storage.root / "backup")
    assert [path.name for path in folder.rglob("*")] == ["photos", "one"]
    assert list(storage.root.iterdir()) == [storage.incoming]


def test_two_backups_into_one_folder_do_not_meet(app, tmp_path):
    back_up(app.site.storage, tmp_path / "backup")
    with (tmp_path / "backup" / MARK).open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with pytest.raises(InvalidInput, match="under way"):
            back_up(app.site.storage, tmp_path / "backup")


def test_what_the_storage_has_lost_is_told_and_the_rest_is_moved(app, as_role, tmp_path):
    root, folder = app.site.storage.root, tmp_path / "backup"
    files = {name: wheel_bytes(name=name) for name in ("lost", "wrong", "bare", "odd", "whole")}
    for filename, body in files.values():
        upload(as_role("developer"), filename, body)
    places = {name: f"{name}/{filename}" for name, (filename, _) in files.items()}
    (root / places["lost"]).unlink()
    (root / places["wrong"]).write_bytes(b"x" * len(files["wrong"][1]))
    (root / f"{places['bare']}.metadata").unlink()
    (root / f"{places['odd']}.metadata").write_bytes(b"odd")
    missing = [places["lost"], places["wrong"]]
    missing += [f"{places['bare']}.metadata", f"{places['odd']}.metadata"]
    assert back_up(app.site.storage, folder)["missing"] == missing
    assert back_up(app.site.storage, folder)["missing"] == missing
    empty_server(tmp_path)
    storage = LocalStorage(str(tmp_path / "other"))
    assert restore(storage, folder)["missing"] == missing
    faults = list(checking.check(storage, deep=True))
    done = [bool(done) for _, done in repair(storage, COMMAND_LINE, faults)]
    assert done == [False, False, True, True]
    assert File.select().count() == 5


@ENGINES
def test_a_database_that_is_not_empty_is_left_as_it_is(app, as_role, tmp_path):
    upload(as_role("developer"))
    back_up(app.site.storage, tmp_path / "backup")
    before = content(app.site.storage)
    with pytest.raises(InvalidInput, match=r"not empty .table users.*do not run `init`"):
        restore(app.site.storage, tmp_path / "backup")
    assert differences(content(app.site.storage), before) == []


def test_tables_without_rows_are_as_good_as_none(backed_up, tmp_path):
    schema.upgrade()
    restore(LocalStorage(str(tmp_path / "other")), backed_up)
    assert User.select().count() == len(USERS)


NEWER = """
import peewee
def up(migrator, db):
    migrator.migrate(migrator.add_column("packages", "karma", peewee.IntegerField(default=7)))
"""


def test_a_backup_of_an_older_schema_is_brought_up_to_date(backed_up, tmp_path, monkeypatch):
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "9999_karma.py").write_text(NEWER)
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    restore(LocalStorage(str(tmp_path / "other")), backed_up)
    assert database.fetch("SELECT name, karma FROM packages") == ("demo-pkg", 7)
    assert schema.status()[-1][0] == "9999_karma"

    empty_server(tmp_path, "upgraded.db")
    schema.upgrade()
    with pytest.raises(SchemaError, match="newer than the backup"):
        restore(LocalStorage(str(tmp_path / "other")), backed_up)


def test_a_backup_of_a_newer_schema_is_refused(backed_up, tmp_path):
    names = json.loads((backed_up / "manifest.json").read_text())["schema"]
    change_manifest(backed_up, {"schema": [*names, "9999_karma"]}, sums=True)
    with pytest.raises(SchemaError, match="newer extrapypi"):
        restore(LocalStorage(str(tmp_path / "other")), backed_up)
    assert schema.no_file()


WHEEL = f"files/demo-pkg/{wheel_bytes()[0]}"


def flip(path: Path) -> None:
    """Changes one byte."""
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def change_row(folder: Path, old: str, new: str) -> None:
    """Changes the rows of the files, with all sums that tell of them."""
    path = folder / "tables" / "files.jsonl"
    before = digest_of(path)
    replace(path, old, new)
    replace(folder / "SHA256SUMS", before, digest_of(path))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "broken off"),
        (lambda folder: shutil.rmtree(folder), "broken off"),
        (lambda folder: os.truncate(folder / "manifest.json", 100), "no JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "lacks what"),
        (lambda folder: change_manifest(folder, {"tables": {"users": 1}}), "lacks what"),
        (lambda folder: change_manifest(folder, {"format": 2}), "format 2.*use a newer"),
        (lambda folder: change_manifest(folder, {"serial": 5}), "manifest.json was changed"),
        (lambda folder: change_manifest(folder, {"tables": {}}, True), "no table files"),
        (lambda folder: change_manifest(folder, {"schema": []}, True), "newer extrapypi"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS lacks manifest.json"),
        (lambda folder: (folder / "tables/users.jsonl").unlink(), "lacks tables/users.jsonl"),
        (lambda folder: flip(folder / "tables/users.jsonl"), "tables/users.jsonl was changed"),
        (lambda folder: flip(folder / f"{WHEEL}.metadata"), r"metadata was changed"),
        (lambda folder: flip(folder / WHEEL), "whl was changed"),
        (lambda folder: (folder / WHEEL).unlink(), "lacks files/demo-pkg"),
        (lambda folder: os.truncate(folder / WHEEL, 5), "is not there with its"),
        (
            lambda folder: replace(folder / "SHA256SUMS", WHEEL, f"files/../{WHEEL}"),
            "outside of it",
        ),
        (lambda folder: replace(folder / "SHA256SUMS", WHEEL, "/etc/passwd"), "outside of it"),
        (lambda folder: replace(folder / "SHA256SUMS", "files", "f\xefles"), "lacks tables/f"),
        (lambda folder: change_row(folder, '"location": "demo', '"location": "../x'), "a file at"),
        (lambda folder: change_row(folder, '"filename": "', '"filename": "../'), "a file at"),
        (lambda folder: change_row(folder, '"size": ', '"size": "x", "y": '), "is no row of files"),
        (lambda folder: change_row(folder, "{", "["), "is no row of files"),
        (lambda folder: change_row(folder, '"upload_time": "2', '"upload_time": "x'), "a time"),
        (lambda folder: change_row(folder, '"yanked": false', '"yanked": {}'), "a boolean"),
    ],
)
def test_a_damaged_backup_is_refused_and_the_server_stays_empty(backed_up, tmp_path, damage, words):
    damage(backed_up)
    with pytest.raises((InvalidInput, SchemaError), match=words):
        restore(LocalStorage(str(tmp_path / "other")), backed_up)
    if not schema.no_file():
        assert [table for table in models.TABLES if table.select().exists()] == [Serial]
        assert Serial.get().value == 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((value, "text") for value in (1, 1.0, True, [], {"a": 1})),
        *((value, "integer") for value in ("1", 1.0, True, [])),
        *((value, "boolean") for value in (0, "true", {})),
        *((value, "time") for value in (0, "now", [], "0001-01-01T00:00:00+14:00")),
        ("x", "unheard-of"),
        ("x", ["text"]),
    ],
)
def test_a_value_of_another_kind_than_its_column_is_refused_in_a_sentence(value, kind):
    with pytest.raises(InvalidInput, match=r"^The backup has .* where a .* should be\.$"):
        value_of(value, kind)
    assert value_of(None, "text") is None


def test_rows_that_the_database_refuses_leave_it_empty_until_it_takes_them(backed_up, tmp_path):
    schema.upgrade()
    refusal = "BEFORE INSERT ON used_filenames BEGIN SELECT raise(ABORT, 'not now'); END"
    database.database.execute_sql(f"CREATE TRIGGER refusal {refusal}")
    storage = LocalStorage(str(tmp_path / "other"))
    with pytest.raises(peewee.IntegrityError, match="not now"):
        restore(storage, backed_up)
    assert [table for table in models.TABLES if table.select().exists()] == [Serial]
    database.database.execute_sql("DROP TRIGGER refusal")
    restore(storage, backed_up)
    assert list(checking.check(storage, deep=True)) == []


DYING = """
import os, signal
from extrapypi.storage import LocalStorage

class Dying(LocalStorage):
    NAME = "Dying"
    left = int(os.environ["LIVES"])

    def get_file(self, *place):
        self.one_more()
        return super().get_file(*place)

    def create_release(self, *what):
        self.one_more()
        return super().create_release(*what)

    def one_more(self):
        Dying.left -= 1
        if Dying.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def process(tmp_path):
    """A function that runs a command in a process that is killed when it has handled 3 files."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "dying.py").write_text(DYING)

    def run(name: str, *words: object, lives: int = 3, **limits) -> subprocess.CompletedProcess:
        environment = {
            **isolated(tmp_path),
            "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{tmp_path / 'modules'}",
            "EXTRAPYPI_BASE_DIR": str(tmp_path / name),
            "EXTRAPYPI_STORAGE": "dying:Dying",
            "EXTRAPYPI_STORAGE_PARAMS": json.dumps(
                {"packages_root": str(tmp_path / name / "packages")}
            ),
            "LIVES": str(lives),
        }
        command = [sys.executable, "-m", "extrapypi", *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, **limits)

    return run


def test_after_kill_9_in_the_middle_the_next_run_ends_well(app, as_role, process, tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        upload(as_role("developer"), *wheel_bytes(name=name))
    app.site.writer.stop()
    before = content(app.site.storage)
    folder = tmp_path / "backup"
    assert process("index", "backup", folder).returncode == -signal.SIGKILL
    done = process("other", "restore", folder)
    assert (done.returncode, "broken off" in done.stderr) == (1, True), done.stderr
    done = process("index", "backup", folder)  # 3 files are there, so it needs not more than 2
    assert (done.returncode, done.stderr) == (0, "")
    refuse_unsound(folder)

    assert process("other", "restore", folder).returncode == -signal.SIGKILL
    database.bind(f"sqlite:///{tmp_path}/other/extrapypi.db")
    assert not User.select().exists()
    done = process("other", "restore", folder, lives=5)
    assert done.returncode == 0, done.stderr
    storage = LocalStorage(str(tmp_path / "other" / "packages"))
    assert differences(content(storage), before) == []
    assert list(checking.check(storage, deep=True)) == []


def test_a_full_disk_is_told_in_one_sentence_and_the_earlier_backup_stays(
    app, as_role, process, tmp_path
):
    folder, limit = tmp_path / "backup", 2**20
    upload(as_role("developer"))
    back_up(app.site.storage, folder)
    upload(as_role("developer"), *wheel_bytes(name="big", files={"x": os.urandom(limit)}))
    small = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}
    done = process("index", "backup", folder, **small)
    assert done.returncode == 1
    assert done.stderr == f"extrapypi: There is no room left for the backup in {folder}.\n"
    done = process("other", "restore", folder, **small)
    assert done.returncode == 0, done.stderr


def test_the_commands_say_what_was_moved_and_what_is_missing(
    app, as_role, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("EXTRAPYPI_BASE_DIR", str(tmp_path / "index"))
    upload(as_role("developer"))
    folder = tmp_path / "backup"
    assert main(["backup", str(folder)]) == 0
    serial = Serial.get().value
    told = f"has 1 packages, 1 releases, 1 files, 4 users, serial {serial}.\n"
    assert capsys.readouterr().out == f"{folder} {told}"
    monkeypatch.setenv("EXTRAPYPI_BASE_DIR", str(tmp_path / "other"))
    assert main(["restore", str(folder)]) == 0
    assert capsys.readouterr().out.endswith(told)
    assert main(["restore", str(folder)]) == 1
    assert "do not run `init` before" in capsys.readouterr().err
    (tmp_path / "other" / "packages" / File.get().location).unlink()
    assert main(["backup", str(tmp_path / "second")]) == 1
    assert "missing: demo-pkg/demo_pkg-1.0" in capsys.readouterr().err
    monkeypatch.setenv("EXTRAPYPI_BASE_DIR", str(tmp_path / "third"))
    assert main(["restore", str(tmp_path / "second")]) == 1
    assert "missing: demo-pkg/demo_pkg-1.0" in capsys.readouterr().err
    assert Package.get().name == "demo-pkg"


def test_a_storage_with_other_files_is_left_as_it_is(backed_up, tmp_path):
    settings_of = f"sqlite:///{tmp_path}/new/extrapypi.db"
    root = tmp_path / "new" / "packages"
    (root / "demo-pkg").mkdir(parents=True)
    for name in (wheel_bytes()[0], sdist_bytes()[0]):
        (root / "demo-pkg" / name).write_bytes(b"of another index")
    database.bind(settings_of)
    with pytest.raises(InvalidInput, match="needs an empty one"):
        restore(LocalStorage(packages_root=str(root)), backed_up)
    assert {path.read_bytes() for path in (root / "demo-pkg").iterdir()} == {b"of another index"}
    database.close()
