"""Downloads: what counts as one, how it is written, and what the pages are told of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from archives_made import wheel_bytes
from bs4 import BeautifulSoup
from conftest import COMMAND_LINE, at_once, upload

from extrapypi import counts, database, packages, views
from extrapypi.batches import Writer
from extrapypi.counts import Downloads
from extrapypi.models import Download, File, Package

NAME, BODY = wheel_bytes()
URL = f"/packages/demo-pkg/{NAME}"
TODAY = datetime.now(timezone.utc).date()


@pytest.fixture
def client(as_role):
    """A client that may install, beside an index with one wheel."""
    upload(as_role("developer"), NAME, BODY)
    return as_role("installer")


def written(app) -> list[tuple]:
    """The table after everything has been written: client and number."""
    app.site.writer.flush()
    return sorted(Download.select(Download.client, Download.number).tuples())


@pytest.mark.parametrize("url", [URL, f"/simple/demo-pkg/{NAME}"])
def test_a_file_that_goes_out_counts_for_its_day_and_client(app, client, url):
    for _ in range(3):
        client.get(url, headers={"User-Agent": 'pip/26.3 {"ci":null}'})
    client.get(url, headers={"User-Agent": "uv/0.13.9"})
    assert written(app) == [("pip", 3), ("uv", 1)]
    assert {row.day for row in Download.select()} <= {TODAY, TODAY + timedelta(days=1)}
    client.get(url, headers={"User-Agent": "pip/26.3"})
    assert written(app) == [("pip", 4), ("uv", 1)]


PARTS = [
    ("bytes=0-", 1),
    ("bytes=0-9", 1),
    ("bytes = 0 - 9", 1),
    ("bytes=10-", 0),
    ("bytes=-10", 0),
    ("bytes=-100000", 0),
    ("bytes=99999999-", 0),
]


@pytest.mark.parametrize(("part", "number"), PARTS)
def test_a_part_counts_only_with_the_first_byte(app, client, part, number):
    client.get(URL, headers={"Range": part}, status="*")
    assert sum(row[1] for row in written(app)) == number


def test_what_sends_no_file_does_not_count(app, client):
    client.head(URL)
    client.get(f"{URL}.metadata")
    tag = client.head(URL).headers["ETag"]
    client.get(URL, headers={"If-None-Match": tag}, status=304)
    client.get("/packages/demo-pkg/demo_pkg-9.9-py3-none-any.whl", status=404)
    client.get(f"/packages/Demo_Pkg/{NAME}", status=301)
    client.get("/simple/demo-pkg/")
    client.authorization = None
    client.get(URL, status=401)
    assert written(app) == []


def test_a_redirect_to_the_storage_counts(app, client, monkeypatch):
    monkeypatch.setattr(app.site.storage, "get_url", lambda *_: "https://store.example.org/x")
    client.get(URL, status=302)
    assert written(app) == [("other", 1)]


AGENTS = [
    ('pip/26.3 {"ci":null,"cpu":"x86_64"}', "pip"),
    ('uv/0.13.9 {"installer":{"name":"uv"}}', "uv"),
    ("poetry/2.5.1 CPython/3.11.7 Linux/6.1", "poetry"),
    ("pdm/2.29.4 CPython/3.11", "pdm"),
    ("unearth/0.19.0", "pdm"),
    ("Hatch/1.18.2 CPython/3.12", "hatch"),
    ("twine/7.0.0 CPython/3.12", "twine"),
    ("pipenv/2026.1", "pipenv"),
    ("conda/25.1 requests/2.32", "conda"),
    ("Bazel/release 8.0", "bazel"),
    ("curl/8.5.0", "curl"),
    ("Wget/1.24", "wget"),
    ("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "browser"),
    ("python-requests/2.32", "other"),
    ("Pipsqueak/1.0", "other"),
    ("pip", "pip"),
    ("", "other"),
    ("/" * 5000, "other"),
    ("\xff\xfe<script>", "other"),
]


@pytest.mark.parametrize(("agent", "name"), AGENTS, ids=[agent[:20] for agent, _ in AGENTS])
def test_clients_are_known_by_what_they_call_themselves(agent, name):
    assert counts.client(agent) == name


def test_nothing_is_written_while_a_request_runs(app, client, monkeypatch):
    seen = []
    real = Download.insert
    monkeypatch.setattr(Download, "insert", lambda *a, **k: seen.append(1) or real(*a, **k))
    client.get(URL)
    assert (seen, Download.select().count()) == ([], 0)
    assert written(app) == [("other", 1)]
    assert seen == [1]


def test_the_rest_is_written_when_the_application_is_closed(app, client):
    client.get(URL)
    app.close()
    assert Download.get().number == 1


def test_none_is_lost_with_many_threads(app, client):
    file_id = File.get().id

    def download(_):
        for _ in range(200):
            app.site.downloads.note(file_id, "pip/1")
        app.site.writer.flush()

    at_once(4, download)
    assert written(app) == [("pip", 800)]


def test_none_is_lost_with_many_processes_on_the_same_rows(app, client):
    # Each process has a writer of its own, and nothing else for this in common.
    file_id = File.get().id

    def process(_):
        downloads = Downloads(Writer())
        downloads.writer.stopping.set()  # no thread
        for _ in range(5):
            for agent in ("pip/1", "uv/1", "curl/1"):
                downloads.note(file_id, agent)
            downloads.flush()

    at_once(4, process)
    assert written(app) == [("curl", 20), ("pip", 20), ("uv", 20)]


def test_a_row_that_another_process_adds_meanwhile_is_added_to(app, client):
    key = (File.get().id, TODAY, "pip")
    with database.transaction():
        assert counts.insert(key, 3)
        assert not counts.insert(key, 4)
        counts.increase(key, 4)
    assert Download.get().number == 7


def test_a_file_that_is_deleted_meanwhile_takes_no_others_with_it(app, client, as_role):
    upload(as_role("developer"), *wheel_bytes(version="2.0"))
    client.get(URL)
    client.get(URL.replace("1.0", "2.0"))
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", "1.0")
    assert written(app) == [("other", 1)]
    gone = 10**6
    with database.transaction():
        assert not counts.insert((gone, TODAY, "pip"), 1)
        counts.increase((gone, TODAY, "pip"), 1)
    assert Download.get().file.filename == NAME.replace("1.0", "2.0")


def test_with_a_file_go_its_numbers(app, client):
    client.get(URL)
    assert written(app) == [("other", 1)]
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg")
    assert written(app) == []


def failing(*_) -> None:
    """A database that takes nothing."""
    raise counts.peewee.OperationalError("gone")


def test_while_the_database_takes_nothing_the_numbers_wait(app, client, monkeypatch, log):
    client.get(URL)
    with monkeypatch.context() as patch:
        patch.setattr(counts, "add", failing)
        for _ in range(2):
            app.site.writer.flush()
            client.get(URL)
    assert "The numbers of downloads were not written: The database" in log.read_text()
    assert written(app) == [("other", 3)]
    assert written(app) == [("other", 3)]


def test_of_what_is_written_in_parts_no_part_counts_twice(app, client, monkeypatch):
    for agent in ("pip/1", "uv/1", "curl/1"):
        client.get(URL, headers={"User-Agent": agent})
    parts = iter([counts.add, failing])
    with monkeypatch.context() as patch:
        patch.setattr(counts, "PER_TRANSACTION", 1)
        patch.setattr(counts, "add", lambda rows: next(parts)(rows))
        app.site.writer.flush()
    assert written(app) == [("curl", 1), ("pip", 1), ("uv", 1)]


def test_only_so_many_numbers_wait(app, client, monkeypatch, log):
    monkeypatch.setattr(counts, "MOST_UNWRITTEN", 2)
    for agent in ("pip/1", "uv/1", "curl/1"):
        client.get(URL, headers={"User-Agent": agent})
    with monkeypatch.context() as patch:
        patch.setattr(counts, "add", failing)
        app.site.writer.flush()
    assert "1 numbers of downloads are lost" in log.read_text()
    assert len(written(app)) == 2


def fill(file: File, days: dict[int, int], client: str = "pip") -> None:
    """So many downloads so many days ago."""
    with database.transaction():
        for ago, number in days.items():
            day = TODAY - timedelta(days=ago)
            Download.create(file=file, day=day, client=client, number=number)


def test_weeks_begin_on_monday_and_none_is_left_out(client):
    monday = TODAY.weekday()  # days ago
    fill(File.get(), {0: 1, monday + 1: 20, monday + 7: 300, monday + 25 * 7: 4000, 400: 7})
    weeks = counts.by_week(Package.get())
    assert len(weeks) == 26
    assert all(day.weekday() == 0 for day, _ in weeks)
    assert weeks[-1] == (TODAY - timedelta(days=monday), 1)
    assert weeks[-2][1] == 320
    assert (weeks[0][1], sum(number for _, number in weeks)) == (4000, 4321)


def test_clients_come_by_how_often_they_took_it(client, as_role):
    fill(File.get(), {0: 1, 1: 1}, "uv")
    fill(File.get(), {0: 5, 300: 9}, "pip")
    fill(File.get(), {2: 2}, "curl")
    assert counts.by_client(Package.get()) == [("pip", 5), ("curl", 2), ("uv", 2)]


def test_totals_of_many_projects_are_those_of_30_days(client, as_role):
    upload(as_role("developer"), *wheel_bytes("other"))
    upload(as_role("developer"), *wheel_bytes("third"))
    for number, file in enumerate(File.select().order_by(File.id), 1):
        fill(file, {0: number, 29: 10, 30: 500})
    first, second, third = (each.id for each in Package.select().order_by(Package.id))
    assert counts.of_projects([first, third, 10**6]) == {first: 11, third: 13}
    assert counts.of_projects([]) == {}
    assert counts.of_projects([second, 10**6]) == {second: 12}


def remembered() -> list[int]:
    """The downloads by which the packages list is sorted."""
    return [each.recent_downloads for each in Package.select().order_by(Package.id)]


def test_what_the_list_is_sorted_by_grows_with_each_download(app, client, as_role):
    upload(as_role("developer"), *wheel_bytes(version="2.0"))
    upload(as_role("developer"), *wheel_bytes("other"))
    for _ in range(2):
        client.get(URL)
        client.get(URL.replace("1.0", "2.0"), headers={"User-Agent": "uv/1"})
        written(app)
    assert remembered() == [4, 0]


def test_downloads_of_more_than_30_days_ago_are_forgotten_at_the_first_of_a_day(app, client):
    fill(File.get(), {29: 10, 30: 500})
    Package.update(recent_downloads=510).execute()  # as it was yesterday
    client.get(URL)
    written(app)
    assert remembered() == [11]
    Package.update(recent_downloads=7).execute()
    client.get(URL)
    written(app)
    assert remembered() == [8]  # it is the same day still


def chart(weeks) -> BeautifulSoup:
    """What the macro makes of the numbers."""
    template = "{% from 'macros/chart.html' import chart %}{{ chart(weeks) }}"
    made = views.environment().from_string(template).render(weeks=weeks)
    return BeautifulSoup(made, "html.parser")


def test_the_chart_is_drawn_without_styles_and_told_as_a_table():
    mondays = [TODAY - timedelta(weeks=ago) for ago in range(25, -1, -1)]
    weeks = [(monday, 1000 * number) for number, monday in enumerate(mondays)]
    page = chart(weeks)
    assert not page.select("[style]")
    heights = [float(bar["height"]) for bar in page.svg("rect")]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1], len(heights)) == (0, 48, 26)
    assert page.svg["role"] == "img"
    for label in page.svg["aria-labelledby"].split():
        assert page.svg.find(id=label).text.strip()
    assert page.table.caption
    assert [cell.text for cell in page.table("td")] == [f"{n:,}" for _, n in reversed(weeks)]
    assert all(cell["scope"] for cell in page.table("th"))


def test_a_chart_of_nothing_says_so():
    assert "Nothing was downloaded in the last 2 weeks." in chart([(TODAY, 0), (TODAY, 0)]).text
