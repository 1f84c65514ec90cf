"""Upgrades of filled databases from every earlier schema, also after one that broke off."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import peewee
import pytest
from clients import CHECKOUT, isolated
from conftest import USERS, drop_tables
from playhouse.migrations import Runner
from playhouse.schema_diff import diff_models

from extrapypi import database, engines, models, schema, search
from extrapypi.app import create_app
from extrapypi.catalogue import totals
from extrapypi.commandline import main
from extrapypi.errors import SchemaError

NAMES = sorted(path.stem for path in schema.MIGRATIONS.glob("[0-9]*.py"))
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901)
DIGEST = "0123456789abcdef" * 4
FILLED = {  # a row of every table, as the first schema has it
    "users": {
        "username": "Ångström",
        "username_key": "ångström",
        "email": "a@example.org",
        "email_key": "a@example.org",
        "password_hash": "$2b$",
        "default_password": False,
        "role": "developer",
        "is_active": True,
        "created_at": MOMENT,
    },
    "packages": {
        "name": "Demo.Pkg",
        "normalized_name": "demo-pkg",
        "summary": "naïve 😀",
        "status": "deprecated",
        "status_reason": "old",
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "last_serial": 7,
    },
    "releases": {
        "package_id": 1,
        "version": "1.0",
        "canonical_version": "1",
        "summary": "",
        "description": "日本" * 100_000,
        "created_at": MOMENT,
        "updated_at": MOMENT,
        **dict.fromkeys(("description_content_type", "requires_python"), ""),
        **dict.fromkeys(
            ("author", "author_email", "maintainer", "maintainer_email", "license"), "x"
        ),
        **dict.fromkeys(("license_expression", "keywords", "home_page", "download_url"), ""),
        **dict.fromkeys(("license_files", "classifiers", "platforms", "dynamic"), '["x"]'),
        **dict.fromkeys(("requires_dist", "provides_extra"), "[]"),
        "project_urls": "{}",
    },
    "files": {
        "release_id": 1,
        "filename": "demo_pkg-1.0.tar.gz",
        "location": "demo-pkg/demo_pkg-1.0.tar.gz",
        "size": 2**40,
        "md5": DIGEST[:32],
        "sha256": DIGEST,
        "blake2b_256": DIGEST,
        "packagetype": "sdist",
        "python_version": "source",
        "requires_python": "",
        "upload_time": MOMENT,
        "uploaded_by_id": 1,
        "user_agent": "",
        "yanked": True,
        "yanked_reason": "broken",
    },
    "dependencies": {
        "release_id": 1,
        "normalized_name": "other",
        "specifier": ">=1",
        "marker": "",
        "extra": "",
    },
    "maintainers": {"package_id": 1, "user_id": 1},
    "sessions": {
        "user_id": 1,
        "token_sha256": DIGEST,
        "created_at": MOMENT,
        "last_seen_at": MOMENT,
        "expires_at": MOMENT,
        "address": "",
        "browser": "",
    },
    "tokens": {
        "user_id": 1,
        "name": "ci",
        "scope": "upload",
        "packages": '["demo-pkg"]',
        "secret_sha256": DIGEST,
        "created_at": MOMENT,
    },
    "used_filenames": {"filename": "demo_pkg-1.0.tar.gz", "sha256": DIGEST},
    "journal": {
        "serial": 7,
        "at": MOMENT,
        "who": "Ångström",
        "token": "",
        "address": "",
        "action": "upload",
        "package": "Demo.Pkg",
        "version": "1.0",
        "filename": "",
        "detail": "",
    },
    "failures": {"address": "::1", "username": "x", "at": MOMENT},
}


@pytest.fixture
def empty(database_url):
    """A database without any table, bound."""
    database.bind(database_url)
    if not schema.no_file():
        drop_tables()
    yield
    drop_tables()  # what other tests find is made anew
    schema.upgrade()
    database.close()


def fill() -> None:
    """One row in every table of the first schema."""
    for table, row in FILLED.items():
        insert(table, row)
    database.database.execute_sql("UPDATE serial SET value = 7")


def insert(table: str, row: dict) -> None:
    """A row of this table, whatever the models say of it today."""
    is_sqlite = isinstance(database.database.obj, peewee.SqliteDatabase)
    values = [
        value.isoformat(" ", "microseconds") if is_sqlite and value is MOMENT else value
        for value in row.values()
    ]
    marks = ", ".join([database.database.param] * len(row))
    sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
    database.database.execute_sql(sql, values)


def make_schema(name: str) -> None:
    """The tables as they were after this migration, filled with rows since the first."""
    if schema.no_file():
        schema.create_file()
    with schema.migrating():
        runner = Runner(database.database.obj, str(schema.MIGRATIONS))
        runner.up(NAMES[0])
        fill()
        runner.up(name)


def differences() -> list:
    """What the tables have otherwise than the models, but for PostgreSQL's index of trigrams."""
    found = diff_models(database.database.obj, models.TABLES)
    return [
        each for part in found for each in part if getattr(each, "name", "") != "packages_texts"
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_filled_database_of_every_schema_is_upgraded_and_loses_nothing(empty, name):
    make_schema(name)
    assert schema.upgrade() == NAMES[NAMES.index(name) + 1 :]
    assert differences() == []
    file, release = models.File.get(), models.Release.get()
    assert (file.size, file.yanked_reason) == (2**40, "broken")
    assert file.upload_time == MOMENT.replace(tzinfo=timezone.utc)
    assert file.uploaded_by.username == "Ångström"
    assert release.description == "日本" * 100_000
    assert release.classifiers == ["x"]
    assert models.Token.get().packages == ["demo-pkg"]
    package = models.Package.get()
    assert package.last_serial == models.Serial.get().value == 7
    assert (package.latest_version, package.search_author) == ("1.0", "x\nx\nx\nx")
    assert package.search_text == "demo.pkg\ndemo-pkg\n\n"
    assert totals() == (1, 1, 1, 2**40)
    assert [found.name for found in search.find("mo-p", 1).rows] == ["Demo.Pkg"]
    assert [found.name for found in search.find("g author:x", 1).rows] == ["Demo.Pkg"]
    filled = [table for table in models.TABLES if table is not models.Download]
    assert [table.select().count() for table in filled] == [1] * len(filled)


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """The program's next version, which has one more migration."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    script = 'def up(migrator, db):\n    db.execute_sql("CREATE TABLE later (id INTEGER)")\n'
    (folder / "9000_later.py").write_text(script)
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    yield
    with database.connection():
        database.database.execute_sql("DROP TABLE IF EXISTS later")
        database.database.execute_sql("DELETE FROM schema_migration WHERE name = '9000_later'")


def test_an_older_schema_is_refused_until_it_is_upgraded_by_command(
    settings, tables, next_version, monkeypatch, capsys
):
    with pytest.raises(SchemaError, match="older than the program; run: extrapypi db upgrade"):
        create_app(settings)
    for name in ("BASE_DIR", "DATABASE_URL", "SECRET_KEY"):
        monkeypatch.setenv(f"EXTRAPYPI_{name}", settings[name])
    assert main(["db", "status"]) == 1
    assert "9000_later pending" in capsys.readouterr().out
    assert main(["db", "upgrade"]) == 0
    assert "Applied 9000_later." in capsys.readouterr().out
    assert main(["db", "status"]) == 0
    create_app(settings).close()
    assert models.User.select().count() == len(USERS)


def test_a_newer_schema_is_refused(settings, tables, next_version, monkeypatch):
    schema.upgrade()
    monkeypatch.undo()
    with pytest.raises(SchemaError, match="made by a newer extrapypi"):
        create_app(settings)


class Cut(Exception):
    """The power goes."""


@pytest.mark.parametrize("database_url", ["mysql"], indirect=True)
@pytest.mark.parametrize("statements", [1, 2, 7, 20, 30, 41, 52, 57, 61])
def test_an_upgrade_that_broke_off_in_the_middle_is_completed(empty, monkeypatch, statements):
    done, real = [], engines.MySQL.execute_sql

    def execute_sql(self, sql, params=None):
        if sql.startswith(("CREATE", "ALTER")):
            done.append(sql)
            if len(done) > statements:
                raise Cut
        return real(self, sql, params)

    monkeypatch.setattr(engines.MySQL, "execute_sql", execute_sql)
    with pytest.raises(Cut):
        schema.upgrade()
    monkeypatch.undo()
    assert schema.upgrade()[-1] == NAMES[-1]
    assert differences() == []


MORTAL = """
import os, signal, sys
import peewee
from extrapypi.commandline import main

left, real = int(sys.argv[1]), peewee.Database.execute_sql

def execute_sql(self, sql, *parameters, **options):
    global left
    left -= sql.startswith(("CREATE", "ALTER", "UPDATE"))
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, sql, *parameters, **options)

peewee.Database.execute_sql = execute_sql
sys.exit(main(["db", "upgrade"]))
"""


def test_an_upgrade_that_was_killed_is_completed_and_loses_nothing(empty, database_url, tmp_path):
    make_schema(NAMES[0])
    database.close()
    variables = {"EXTRAPYPI_BASE_DIR": str(tmp_path), "EXTRAPYPI_DATABASE_URL": database_url}
    environment = {**isolated(tmp_path), "PYTHONPATH": str(CHECKOUT), **variables}
    command = [sys.executable, "-c", MORTAL]
    done = subprocess.run([*command, "9"], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = subprocess.run([*command, "1000"], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert differences() == []
    assert totals() == (1, 1, 1, 2**40)
    assert models.Package.get().latest_version == "1.0"


def test_the_columns_that_an_upgrade_fills_are_as_the_program_keeps_them(empty):
    make_schema(NAMES[0])
    keywords = "Straße,\N{FULLWIDTH LATIN CAPITAL LETTER W}IDE"
    row = {**FILLED["releases"], "keywords": keywords, "summary": "of 2.0rc1"}
    versions = ("2.0rc1", "1.10", "1.9", "not a version", "3.0")
    for number, version in enumerate(versions, 2):
        insert("releases", {**row, "version": version, "canonical_version": version})
        file = {**FILLED["files"], "filename": f"{number}.whl", "release_id": number}
        insert("files", {**file, "yanked": version == "3.0"})
    schema.upgrade()
    upgraded, summed = models.Package.get(), totals()
    assert upgraded.latest_version == "1.10"
    assert "strasse,wide" in upgraded.search_text
    with database.transaction():
        models.Package.get().touch(8)
    kept = models.Package.get()
    for column in ("latest_release_id", "latest_version", "search_text", "search_author"):
        assert getattr(kept, column) == getattr(upgraded, column)
    numbers = ("release_count", "file_count", "offered_count", "total_size")
    assert [getattr(upgraded, column) for column in numbers] == [6, 6, 4, 6 * 2**40]
    assert [getattr(kept, column) for column in numbers] == [6, 6, 4, 6 * 2**40]
    assert summed == totals() == (1, 6, 6, 6 * 2**40)


def test_an_upgrade_fills_in_the_downloads_of_30_days(empty):
    make_schema(NAMES[1])
    today = database.utcnow().date()
    for ago, number in ((0, 1), (29, 10), (30, 100)):
        day = today - timedelta(days=ago)
        insert("downloads", {"file_id": 1, "day": day, "client": "pip", "number": number})
    schema.upgrade()
    assert models.Package.get().recent_downloads == 11
