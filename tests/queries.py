"""What the database is asked, and how it goes about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from extrapypi.database import database

SMALL = ("serial", "sqlite_master")  # tables that do not grow with the index
# The names that a query gives to those, and to tables that it makes itself.
OWN = re.compile(r'"?(?:serial|sqlite_master)"?(?: AS)? "?(\w+)|\) AS "(\w+)"')


def asked(monkeypatch, work: Callable[[], Any]) -> list[tuple[str, Any]]:
    """The statements, with their parameters, that the work sends to the database."""
    statements = []
    real = database.obj.execute_sql

    def noting(sql, parameters=None):
        statements.append((sql, parameters))
        return real(sql, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(database.obj, "execute_sql", noting)
        work()
    return statements


def plan(sql: str, parameters: Any) -> str:
    """How the database goes about it, in its own words."""
    is_sqlite = database.param == "?"
    words = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    rows = database.execute_sql(f"{words} {sql}", parameters).fetchall()
    return "\n".join(str(row[-1]) for row in rows)


def scans(sql: str, parameters: Any) -> list[str]:
    """What SQLite goes through as a whole for it: a table without an index, or all that it sorts.

    Following an index is none: the queries take only so many rows then.
    """
    if not sql.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
        return []
    own = {*SMALL, *(name for names in OWN.findall(sql) for name in names if name)}
    lines = plan(sql, parameters).splitlines()
    return [line for line in lines if "FOR ORDER BY" in line or goes_through(line, own)]


def goes_through(line: str, but_for: set[str]) -> bool:
    """Whether a line of the plan tells of a table without an index."""
    is_scan = re.match(r"SCAN (?!CONSTANT)(\w+)(?!.* (USING|VIRTUAL) )", line)
    return bool(is_scan) and is_scan[1] not in but_for
