"""The journal as a page, CSV and JSON: readable, filtered, paged, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta, timezone

import pytest
from archives_made import wheel_bytes
from browsers import Browser, fault
from conftest import COMMAND_LINE, upload

from extrapypi import accounts, database, history, packages
from extrapypi.models import Journal

PATH = "/dashboard/journal/"
START = datetime(2026, 3, 1, tzinfo=timezone.utc)


def sentences(answer) -> list[str]:
    """What the lines of the page tell."""
    cells = answer.html.select("tbody td:nth-of-type(2)")
    return [" ".join(cell.get_text(" ", strip=True).split()) for cell in cells]


def fill(number: int, **changes) -> None:
    """Lines, an hour apart."""
    line = {"serial": 1, "who": "anna", "action": "upload", "package": "Demo.Pkg"}
    rows = [
        {**line, "version": f"1.{n}", "at": START + timedelta(hours=n), **changes}
        for n in range(number)
    ]
    Journal.insert_many(rows).execute()


def test_lines_are_sentences(app, as_role):
    upload(as_role("developer"), headers={"User-Agent": "twine/6.1 CPython/3.12"})
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0", "bad build")
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "maintainer")
    packages.set_status(COMMAND_LINE, "demo-pkg", "archived", "done")
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", reason="gone")
    found = sentences(Browser(app, "admin").get(PATH))
    assert found[:6] == [
        "(command line) deleted the project demo-pkg (gone)",
        "(command line) set the status of demo-pkg to archived: done",
        "(command line) made maintainer a maintainer of demo-pkg",
        "(command line) yanked demo-pkg 1.0 (bad build)",
        "developer uploaded demo_pkg-1.0-py3-none-any.whl of demo-pkg 1.0 (with twine/6.1)",
        "developer created the project demo-pkg",
    ]


def test_every_action_of_the_program_has_its_sentence(app):
    import ast
    from pathlib import Path

    used = set()
    for path in Path(history.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Journal.add":
                used |= {n.value for n in ast.walk(node.args[2]) if isinstance(n, ast.Constant)}
    assert used - {None} <= set(history.ACTIONS), used


def test_pages_follow_one_another_in_both_directions(app):
    fill(120, who="ben")
    browser = Browser(app, "admin")
    page = browser.get(f"{PATH}?who=ben")
    seen = sentences(page)
    while older := page.html.find("a", rel="next"):
        page = browser.get(older["href"])
        seen += sentences(page)
    assert [each.split()[3] for each in seen] == [f"1.{n}" for n in reversed(range(120))]
    page = browser.get(page.html.find("a", rel="prev")["href"])
    assert sentences(page) == seen[50:100]
    page = browser.get(page.html.find("a", rel="prev")["href"])
    assert sentences(page) == seen[:50]
    assert sentences(browser.get(f"{PATH}?who=ben&after=99999999")) == []


def test_the_number_of_queries_does_not_depend_on_the_lines(app, monkeypatch):
    fill(60)
    browser, asked = Browser(app, "admin"), []
    real = type(database.database.obj).execute_sql

    def execute_sql(self, sql, params=None):
        asked.append(sql)
        return real(self, sql, params)

    monkeypatch.setattr(type(database.database.obj), "execute_sql", execute_sql)
    browser.get(PATH)
    assert len([sql for sql in asked if sql.startswith(("SELECT", "\n"))]) <= 5


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("who=ANNA", 48),
        ("who=nobody", 0),
        ("package=demo_pkg", 51),
        ("package=other", 0),
        ("action=yank", 2),
        ("action=nonsense", 0),
        ("since=2026-03-02", 24),
        ("until=2026-03-01", 27),
        ("since=2026-03-01&until=2026-03-01&who=anna", 24),
        ("since=2026-03-05&until=2026-03-01", 0),
        ("since=2027-01-01", 0),
        ("until=2025-01-01", 0),
        ("who=anna&action=yank", 0),
        ("who=%00%01", 51),
    ],
)
def test_filters_by_person_project_action_and_time(app, query, number):
    accounts.create_user(COMMAND_LINE, "Anna", "a long one", "anna@example.org", "developer")
    Journal.delete().execute()
    fill(1, who="Ben", action="create project", at=START - timedelta(days=40))
    fill(2, who="Ben", action="yank")
    fill(48, who="Anna")
    assert len(Browser(app, "admin").get(f"{PATH}?format=json&{query}").json) == number
    assert len(sentences(Browser(app, "admin").get(f"{PATH}?{query}"))) == min(number, 50)


@pytest.mark.parametrize(
    "value", ["nonsense", "2026-02-30", "9999-12-31", "0001-01-01", "²026-01-01", "20260101"]
)
@pytest.mark.parametrize("name", ["since", "until"])
def test_what_is_no_day_is_said_beside_its_field(app, name, value):
    answer = Browser(app, "admin").get(PATH, {name: value, "who": "kept"}, status=400)
    assert "is no day" in fault(answer, name)
    assert 'value="kept"' in answer.text


def test_files_hold_every_line_that_fits_and_no_formula(app, as_role):
    fill(2100, who="=HYPERLINK(1)", detail="+1")
    fill(1, who="ben", detail='<b>, "x"\n')
    browser = Browser(app, "admin")
    answer = browser.get(f"{PATH}?format=csv&package=demo-pkg")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="journal.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows == []  # nobody has created the project
    fill(1, action="create project")
    rows = list(
        csv.DictReader(io.StringIO(browser.get(f"{PATH}?format=csv&package=demo-pkg").text))
    )
    assert len(rows) == 2102
    assert {row["who"] for row in rows} == {"anna", "ben", "'=HYPERLINK(1)"}
    assert {row["detail"] for row in rows} == {"", "'+1", '<b>, "x"\n'}
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    lines = browser.get(f"{PATH}?format=json&who=ben").json
    assert [line["sentence"] for line in lines] == ["ben uploaded Demo.Pkg 1.0"]
    assert lines[0]["at"] == "2026-03-01T00:00:00.000000Z"
    assert browser.get(f"{PATH}?format=json&who=nobody").json == []


def test_a_bad_day_makes_no_file(app):
    answer = Browser(app, "admin").get(f"{PATH}?format=csv&since=x", status=400)
    assert answer.content_type == "text/html"


def test_hostile_lines_stay_text(app):
    fill(1, who="<script>alert(1)</script>", package="javascript:alert(1)", detail="<img src=x>")
    text = Browser(app, "admin").get(PATH).text
    assert "<script>alert" not in text and "<img" not in text and 'href="javascript' not in text


def test_an_empty_journal_says_what_will_be_there(app):
    browser = Browser(app, "admin")
    Journal.delete().execute()
    assert "Nothing has happened yet." in browser.get(PATH).text
    assert "Show the whole journal" in browser.get(f"{PATH}?who=x").text


def test_a_token_is_named_with_what_was_done_by_it(app, as_role):
    from conftest import as_user

    secret = accounts.create_token(COMMAND_LINE, "developer", "of CI")[1]
    upload(as_user(app, "__token__", secret), *wheel_bytes())
    assert "127.0.0.1, token of CI" in Browser(app, "admin").get(PATH).text
