"""How often files go out: counted in memory, written in batches, and told by week and client."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone

import peewee
from peewee import chunked, fn

from extrapypi.batches import Batch, Writer
from extrapypi.database import database, retried, transaction, tuples, utcnow
from extrapypi.models import Download, File, Package, Release, writers

log = logging.getLogger("extrapypi")

WEEKS = 26  # that a project's page shows
LONGEST_AGENT = 100  # characters of a User-Agent that are kept until it is read
PER_TRANSACTION = 500  # rows; other writers of SQLite wait so long
MOST_UNWRITTEN = 100_000  # rows that wait for a database that takes nothing, about 200 bytes each
DAYS = 30  # that the packages list tells of
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
PER_RECOUNT = 100  # projects of which the downloads are summed in one transaction

Key = tuple[int, date, str]  # a row of downloads: id of the file, day in UTC, client


class Downloads(Batch):
    """Counts what goes out."""

    NAME = "The numbers of downloads"

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        # Unlike +=, append and popleft are atomic: threads need no lock, and nothing is lost.
        self.noted: deque[tuple[int, float, str]] = deque()
        self.unwritten: Counter[Key] = Counter()
        self.recounted: date | None = None

    def note(self, file_id: int, agent: str) -> None:
        """Counts a file that goes out now, to a client that calls itself so."""
        self.noted.append((file_id, time.time(), agent[:LONGEST_AGENT]))
        self.writer.start()

    def take(self) -> list[tuple[Key, int]]:
        counted, self.unwritten = self.unwritten, Counter()
        for _ in range(len(self.noted)):
            file_id, at, agent = self.noted.popleft()
            day = datetime.fromtimestamp(at, timezone.utc).date()
            counted[file_id, day, client(agent)] += 1
        return sorted(counted.items())  # locked in one order, in all processes

    def write(self, noted: list[tuple[Key, int]]) -> None:
        while noted:
            add(noted[:PER_TRANSACTION])
            del noted[:PER_TRANSACTION]
        if self.recounted != utcnow().date() and not self.writer.stopping.is_set():
            self.recounted = utcnow().date()
            recount()

    def keep(self, noted: list[tuple[Key, int]]) -> None:
        self.unwritten = Counter(dict(noted[:MOST_UNWRITTEN]))
        if len(noted) > MOST_UNWRITTEN:
            log.warning("%d numbers of downloads are lost.", len(noted) - MOST_UNWRITTEN)


def client(agent: str) -> str:
    """What kind of program calls itself so: one of CLIENTS, or "other"."""
    product = agent.partition("/")[0].partition(" ")[0].lower()
    return CLIENTS.get(product, "other")


@retried
def add(rows: list[tuple[Key, int]]) -> None:
    """Adds the numbers to what is in the tables; files that are gone are passed over."""
    ids, days = {key[0] for key, _ in rows}, {key[1] for key, _ in rows}
    with transaction():
        here = File.select(File.id, Release.package).join(Release).where(File.id.in_(ids))
        files = dict(tuples(here))
        columns = Download.select(Download.file_id, Download.day, Download.client)
        known = columns.where(Download.file.in_(ids), Download.day.in_(days))
        keys = set(tuples(known))
        for key, number in rows:
            # On MySQL an update of a row that is not there yet would lock others' way to add it.
            if key[0] in files and (key in keys or not insert(key, number)):
                increase(key, number)
        increase_projects((files[key[0]], number) for key, number in rows if key[0] in files)


def recount() -> None:
    """Lets the projects forget the downloads that are older than DAYS by now.

    The packages list is sorted by what they remember, which would only grow without this. It is
    done on each day with downloads, so the order may be that of the day before.
    """
    counted = Package.select(Package.id).where(Package.recent_downloads > 0).order_by(Package.id)
    for rows in chunked(list(tuples(counted)), PER_RECOUNT):
        recount_projects([package_id for (package_id,) in rows])


@retried
def recount_projects(ids: list[int]) -> None:
    """Counts the recent downloads of these projects anew."""
    with writers, transaction():
        numbers = of_projects(ids)
        known = Package.select(Package.id, Package.recent_downloads).where(Package.id.in_(ids))
        for package_id, remembered in tuples(known.order_by(Package.id)):
            if remembered != (number := numbers.get(package_id, 0)):
                Package.update(recent_downloads=number).where(Package.id == package_id).execute()


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


def increase_projects(rows: Iterable[tuple[int, int]]) -> None:
    """Adds downloads to those that projects, given by their ids, had recently."""
    projects: Counter[int] = Counter()
    for package_id, number in rows:
        projects[package_id] += number
    for package_id, number in sorted(projects.items()):
        more = Package.recent_downloads + number
        Package.update(recent_downloads=more).where(Package.id == package_id).execute()


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
    return tuples(query.where(chosen).group_by(column))


def since(weeks: int) -> date:
    """The Monday with which the last weeks begin."""
    today = utcnow().date()
    return today - timedelta(days=today.weekday(), weeks=weeks - 1)


def of_projects(package_ids: Iterable[int]) -> dict[int, int]:
    """How often the files of each project went out in the last DAYS, by its id; 0 is left out."""
    before = utcnow().date() - timedelta(days=DAYS)
    query = Download.select(Release.package_id, fn.SUM(Download.number)).join(File).join(Release)
    chosen = Release.package.in_(list(package_ids)) & (Download.day > before)
    rows = tuples(query.where(chosen).group_by(Release.package))
    return {package_id: int(number) for package_id, number in rows}
