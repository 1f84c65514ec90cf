"""How often files go out: counted in memory, written in batches, and told by week and client."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone

import peewee
from peewee import chunked, fn

from extrapypi.batches import Batch, Writer
from extrapypi.database import database, retried, transaction, utcnow
from extrapypi.models import Download, File, Package, Release

WEEKS = 26  # that a project's page shows
LONGEST_AGENT = 100  # characters of a User-Agent that are kept until it is read
PER_TRANSACTION = 500  # rows; other writers of SQLite wait so long
MOST_NAMED = 500  # projects that a query names; of more it asks for all
CLIENTS = {  # the product that a User-Agent begins with -> whose it is
    **{
        name: name
        for name in (
            *("pip", "uv", "poetry", "pdm", "hatch", "twine", "pipenv", "conda", "mamba", "pixi"),
            *("pex", "bazel", "curl", "wget", "setuptools", "bandersnatch", "devpi"),
        )
    },
    "micromamba": "mamba",
    "unearth": "pdm",
    "devpi-server": "devpi",
    "python-urllib": "setuptools",  # easy_install had this one
    "mozilla": "browser",
}
# Summing by file first is five times as fast: the key of the table begins with it.
OF_ALL_SQL = """
    SELECT r.package_id, SUM(s.number)
    FROM (SELECT file_id, SUM(number) AS number FROM downloads WHERE day > ? GROUP BY file_id) s
    JOIN files f ON f.id = s.file_id JOIN releases r ON r.id = f.release_id
    GROUP BY r.package_id"""

Key = tuple[int, date, str]  # a row of downloads: id of the file, day in UTC, client


class Downloads(Batch):
    """Counts what goes out."""

    NAME = "The numbers of downloads"

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        # Unlike +=, append and popleft are atomic: threads need no lock, and nothing is lost.
        self.noted: deque[tuple[int, float, str]] = deque()

    def note(self, file_id: int, agent: str) -> None:
        """Counts a file that goes out now, to a client that calls itself so."""
        self.noted.append((file_id, time.time(), agent[:LONGEST_AGENT]))
        self.writer.start()

    def take(self) -> list[tuple[Key, int]]:
        counted: Counter[Key] = Counter()
        for _ in range(len(self.noted)):
            file_id, at, agent = self.noted.popleft()
            day = datetime.fromtimestamp(at, timezone.utc).date()
            counted[file_id, day, client(agent)] += 1
        return sorted(counted.items())  # locked in one order, in all processes

    def write(self, noted: list[tuple[Key, int]]) -> None:
        for batch in chunked(noted, PER_TRANSACTION):
            add(batch)


def client(agent: str) -> str:
    """What kind of program calls itself so: one of CLIENTS, or "other"."""
    product = agent.partition("/")[0].partition(" ")[0].lower()
    return CLIENTS.get(product, "other")


@retried
def add(rows: list[tuple[Key, int]]) -> None:
    """Adds the numbers to what is in the table; files that are gone are passed over."""
    ids, days = {key[0] for key, _ in rows}, {key[1] for key, _ in rows}
    with transaction():
        here = File.select(File.id).where(File.id.in_(ids))
        files = {file_id for (file_id,) in here.tuples()}
        columns = Download.select(Download.file_id, Download.day, Download.client)
        known = columns.where(Download.file.in_(ids), Download.day.in_(days))
        keys = set(known.tuples())
        for key, number in rows:
            # On MySQL an update of a row that is not there yet would lock others' way to add it.
            if key[0] in files and (key in keys or not insert(key, number)):
                increase(key, number)


def insert(key: Key, number: int) -> bool:
    """Adds a row; False when another process was quicker, or the file has gone."""
    file_id, day, name = key
    try:
        with database.atomic():
            Download.insert(file=file_id, day=day, client=name, number=number).execute()
    except peewee.IntegrityError:
        return False
    return True


def increase(key: Key, number: int) -> None:
    """Adds to a row, if it is there."""
    file_id, day, name = key
    row = (Download.file == file_id) & (Download.day == day) & (Download.client == name)
    Download.update(number=Download.number + number).where(row).execute()


def by_week(package: Package, weeks: int = WEEKS) -> list[tuple[date, int]]:
    """How often the project's files went out in each of the last weeks, by its Monday.

    The oldest week comes first, the one that is under way last; none is left out.
    """
    days = summed(package, since(weeks), Download.day)
    found: Counter[date] = Counter()
    for day, number in days:
        found[day - timedelta(days=day.weekday())] += int(number)
    first = since(weeks)
    mondays = (first + timedelta(weeks=number) for number in range(weeks))
    return [(monday, found[monday]) for monday in mondays]


def by_client(package: Package, weeks: int = WEEKS) -> list[tuple[str, int]]:
    """How often the project's files went to each kind of client in the last weeks, most first."""
    found = [(name, int(number)) for name, number in summed(package, since(weeks), Download.client)]
    return sorted(found, key=lambda row: (-row[1], row[0]))


def summed(package: Package, first: date, column: peewee.Field) -> Iterable[tuple]:
    """The project's downloads since a day, by the values of a column."""
    query = Download.select(column, fn.SUM(Download.number)).join(File).join(Release)
    chosen = (Release.package == package) & (Download.day >= first)
    return query.where(chosen).group_by(column).tuples()


def since(weeks: int) -> date:
    """The Monday with which the last weeks begin."""
    today = utcnow().date()
    return today - timedelta(days=today.weekday(), weeks=weeks - 1)


def of_projects(package_ids: Iterable[int], days: int = 30) -> dict[int, int]:
    """How often the files of each project went out in the last days, by its id; 0 is left out."""
    ids, before = set(package_ids), utcnow().date() - timedelta(days=days)
    if len(ids) > MOST_NAMED:
        rows = database.execute_sql(OF_ALL_SQL.replace("?", database.param), (before,)).fetchall()
    else:
        query = Download.select(Release.package_id, fn.SUM(Download.number))
        chosen = Release.package.in_(ids) & (Download.day > before)
        rows = query.join(File).join(Release).where(chosen).group_by(Release.package).tuples()
    return {package_id: int(number) for package_id, number in rows if package_id in ids}
