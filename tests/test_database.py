"""Schema, transactions and times, on a real database."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import pytest
from conftest import at_once
from playhouse.schema_diff import diff_models

from extrapypi import database, models, schema
from extrapypi.app import create_app
from extrapypi.errors import ConfigError, SchemaError, Unavailable
from extrapypi.models import Failure, Serial, writing


def test_the_migrations_make_the_tables_of_the_models(tables):
    difference = diff_models(database.database.obj, models.TABLES)
    # The search's index on PostgreSQL is not of a kind that a model can have.
    surplus = [index for index in difference.drop_indexes if index.name != "packages_texts"]
    assert not difference._replace(drop_indexes=surplus), difference


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_without_tables_is_refused_and_not_even_created(settings, tmp_path):
    with pytest.raises(SchemaError, match="run: extrapypi init"):
        create_app(settings)
    assert not (tmp_path / "index" / "extrapypi.db").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_older_and_a_newer_schema_are_refused_with_what_to_do(settings, tables):
    database.database.execute_sql(
        "INSERT INTO schema_migration (name, applied) VALUES ('9999', '')"
    )
    with pytest.raises(SchemaError, match="newer extrapypi"):
        create_app(settings)
    database.database.execute_sql(
        "UPDATE schema_migration SET name = '0000' WHERE name LIKE '0001%'"
    )
    database.database.execute_sql("DELETE FROM schema_migration WHERE name = '9999'")
    database.database.execute_sql("UPDATE schema_migration SET name = '0001_x' WHERE name = '0000'")
    with pytest.raises(SchemaError):
        create_app(settings)


def test_a_database_of_2018_is_left_alone(tmp_path):
    database.bind(f"sqlite:///{tmp_path}/old.db")
    database.database.execute_sql("CREATE TABLE alembic_version (version_num TEXT)")
    for act in (schema.upgrade, schema.check_current):
        with pytest.raises(SchemaError, match=r"0\.4 or older"):
            act()
    assert database.database.get_tables() == ["alembic_version"]
    database.close()


def test_upgrading_twice_at_once_is_done_once(tmp_path):
    database.bind(f"sqlite:///{tmp_path}/x.db")
    applied = []

    def upgrade(number: int) -> None:
        applied.append(schema.upgrade())

    at_once(4, upgrade)
    assert [len(names) > 0 for names in sorted(applied)] == [False, False, False, True]
    assert Serial.select().count() == 1
    database.close()


def test_serials_are_given_one_by_one_and_none_is_lost(tables):
    start, given = Serial.get().value, []

    def work(number: int) -> None:
        for _ in range(20):
            with writing() as serial:
                given.append(serial)

    at_once(8, work)
    assert sorted(given) == list(range(start + 1, start + 161))
    assert Serial.get().value == start + 160


def test_whoever_waits_too_long_for_others_that_write_is_told(tables, monkeypatch):
    told: list[Exception] = []

    def work(number: int) -> None:
        try:
            with writing():
                Failure.create(address="x", username="y")
        except Unavailable as error:
            told.append(error)

    with monkeypatch.context() as patch, writing():
        patch.setattr(models, "BUSY_TIMEOUT", 0.1)
        at_once(2, work)
    assert ["waiting for the database" in str(error) for error in told] == [True, True]
    at_once(2, work)
    assert (len(told), Failure.select().count()) == (2, 2)


def test_a_failed_unit_of_work_leaves_nothing(tables):
    before = Serial.get().value
    with pytest.raises(ZeroDivisionError), writing():
        Failure.create(address="x", username="y")
        raise ZeroDivisionError
    assert (Serial.get().value, Failure.select().count()) == (before, 0)


@pytest.mark.parametrize("microsecond", [0, 1, 999999])
def test_times_come_back_aware_in_utc_and_to_the_microsecond(tables, microsecond):
    east = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 1, 1, 3, 0, 0, microsecond, tzinfo=east)
    Failure.create(address="x", username="y", at=moment)
    found = Failure.get().at
    assert found == moment
    assert found.utcoffset() == timedelta(0)
    assert Failure.select().where(Failure.at >= moment).exists()
    assert not Failure.select().where(Failure.at > moment).exists()


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [("postgresql://h/x", "psycopg", "postgres"), ("mysql://h/x", "pymysql", "mysql")],
)
def test_a_missing_driver_names_the_extra(monkeypatch, url, driver, extra):
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(sys.modules, driver, raising=False)
    with pytest.raises(ConfigError, match=f"driver {driver}; .* the extra {extra}"):
        database.bind(url)


def test_an_application_is_made_without_a_connection_left_open(app):
    if database.database.database.startswith("extrapypi_test_"):
        database.close()
    again = create_app(app.site.config)
    assert database.database.is_closed()  # processes that are forked now must not share one
    again.close()
