"""Texts that contain another one: what each database has an index of trigrams for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import peewee

from extrapypi.database import database, fetch
from extrapypi.engines import PostgreSQL

TRIGRAM = 3  # characters, of which the search's index on SQLite is made
PARTS = (4, 3, 3)  # how many of those are asked for in each of one, two and more words


def contains(field: peewee.Field, text: str) -> peewee.Expression:
    """The field has the text somewhere; upper and lower case differ, no sign is a wildcard."""
    if isinstance(database.obj, PostgreSQL):  # its index of trigrams serves LIKE only
        pattern = "".join(f"\\{sign}" if sign in "\\%_" else sign for sign in text)
        return peewee.Expression(field, peewee.OP.LIKE, f"%{pattern}%")
    return peewee.fn.INSTR(field, text) > 0


def with_texts(texts: list[tuple[str, list[str]]]) -> peewee.Select | None:
    """Query of the ids of projects that may have all these texts, as only SQLite has to be asked.

    None where there is no such index, or where the database uses one by itself.

    :param texts: columns, and the spellings of what each is to have; one of them will do.
    """
    is_sqlite = isinstance(database.obj, peewee.SqliteDatabase)
    if not is_sqlite or fetch("SELECT 1 FROM sqlite_master WHERE name = 'packages_texts'") is None:
        return None
    long = [each for each in texts if min(map(len, each[1])) >= TRIGRAM]
    if long:
        rarest = sorted(long, key=lambda each: min(map(len, each[1])), reverse=True)[: len(PARTS)]
        table = peewee.Table("packages_texts").bind(database)
        asked = " AND ".join(phrase(*each, PARTS[len(rarest) - 1]) for each in rarest)
        matches = peewee.Expression(table.c.packages_texts, "MATCH", asked)
        return table.select(table.c.rowid.alias("id")).where(matches)
    column, (text, *others) = texts[0]
    if others:
        return None
    table = peewee.Table("packages_trigrams").bind(database)
    begins = table.c.term.between(text, text + chr(sys.maxunicode))
    return table.select(table.c.doc.alias("id")).where(begins, table.c.col == column).distinct()


@contextmanager
def planned_anew() -> Iterator[None]:
    """PostgreSQL plans each query inside for what it asks, where a prepared one has one for all.

    Whether its index of trigrams is worth it depends on the word.
    """
    if not isinstance(database.obj, PostgreSQL):
        yield
        return
    connection = database.connection()
    threshold, connection.prepare_threshold = connection.prepare_threshold, None
    try:
        yield
    finally:
        connection.prepare_threshold = threshold


def phrase(column: str, spellings: list[str], parts: int) -> str:
    """What FTS5 is asked for the projects that may have one of the spellings in the column.

    So many of the trigrams are enough, and take a third of the time: what has them and not the
    spelling is rare, and told apart afterwards.
    """
    ways = []
    for text in spellings:
        last = len(text) - TRIGRAM
        starts = (*range(0, last, max(TRIGRAM, -(-last // (parts - 1)))), last)
        asked = (text[start : start + TRIGRAM].replace('"', '""') for start in starts)
        ways.append(" AND ".join(f'"{part}"' for part in asked))
    return f"{column} : ({' OR '.join(f'({way})' for way in ways)})"
