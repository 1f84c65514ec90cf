"""Whether pages, uploads and searches take as long on a large index as on a small one.

Two indexes are filled straight in the database, with the same kind of projects, and served side by
side; see README.md in this folder.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from checkout import CACHE
from lines import Line
from peers import ACCOUNT, ADMIN, ExtraPyPI
from peewee import PostgresqlDatabase, SqliteDatabase, chunked
from processes import Running, environment
from rows import file_row
from tqdm import tqdm

# peers has put the checkout and its tests on the path
from archives_made import wheel_bytes  # isort: skip
from extrapypi import catalogue, database, models, rendering, schema  # isort: skip
from extrapypi.models import searchable  # isort: skip

PEER = ExtraPyPI()
SMALL, LARGE = 1_000, 100_000  # projects
RELEASES = 10  # of each project, with a file each
ROUNDS, REQUESTS = 5, 15  # of each case, on each index
FLAT, STARTED, IDLE = 1.5, 2, 120  # what is to be kept: a ratio, seconds, MB
LONGEST = 50  # ms that a search may take which finds a hundred times as much
MORE = "search that finds more"  # begins its titles
TEAM, FIRST_USER = 20, 11  # projects of one account, and ids: those of `init` come before
POPULAR = "core-runtime"  # every second project needs it
BATCH = 5_000  # rows that are inserted at once
CACHED = 2_000_000  # kB of what SQLite writes, until it is committed
DESCRIPTION = "A paragraph about what it does and how to use it.\n\n" * 60  # 3 kB
RENDERED_BY = rendering.rendered_by()  # so that no page has to be rendered first
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOPICS = (
    "account audit billing booking budget cache calendar campaign catalog checkout claim cluster "
    "contract coupon crypto currency customer dataset delivery device dialog document email event "
    "export feature feed finance fleet forecast fraud gateway geo graph health image import index "
    "insight invoice label ledger license loan logistics loyalty mail market media member message "
    "metric mobile model monitor network notify order partner payment payroll pdf permission phone "
    "pipeline policy portal price product profile project promo query queue quota receipt record "
    "refund region report request return risk route salary schema search secret sensor session "
    "shipment signal stock storage stream survey task tax template tenant ticket token topic trade "
    "traffic transfer user vault vendor video wallet warehouse weather workflow"
).split()
KINDS = (
    "adapter agent api batch bridge cli client common connector console core daemon driver engine "
    "exporter factory helper importer job kit lib loader manager mapper parser plugin processor "
    "proxy reader schema sdk server service tools types ui utils worker writer"
).split()
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


@dataclass(frozen=True)
class Made:
    """A project as the script makes it up."""

    id: int
    name: str
    summary: str
    keywords: str
    team: str  # its maintainer and author
    needs: tuple[str, ...]
    downloads: int  # of each file on a day

    @property
    def author_email(self) -> str:
        """The team as metadata name it."""
        return f"{self.team} <{self.team}@example.org>"

    @property
    def user_id(self) -> int:
        """The account of the team."""
        return int(self.team.removeprefix("team")) + FIRST_USER

    @property
    def status(self) -> str:
        """One in a hundred is archived; as many are deprecated on each index."""
        if self.id % 100 == 0:
            return "archived"
        return "deprecated" if 1 < self.id < TEAM else "active"

    @property
    def releases(self) -> Iterator[tuple[int, str]]:
        """Id and version of each release; the file has the same id."""
        first = (self.id - 1) * RELEASES + 1
        return ((first + number, f"1.{number}") for number in range(RELEASES))


def made(projects: int) -> Iterator[Made]:
    """So many projects, the same ones each time."""
    chance = random.Random(projects)
    names = []
    for number in range(1, projects):
        words = (chance.choice(TOPICS), chance.choice(TOPICS), chance.choice(KINDS))
        names.append("-".join((*words, str(number))))
    for number, name in enumerate([POPULAR, *names], 1):
        topic, team = chance.choice(TOPICS), f"team{number % (projects // TEAM)}"
        needs = chance.sample(names, 2) + ([POPULAR] if number % 2 == 0 else [])
        yield Made(
            id=number,
            name=name,
            summary=f"Internal {chance.choice(KINDS)} for the {topic} of {team}",
            keywords=f"internal,{topic},{codename(number)}",
            team=team,
            needs=tuple(needs),
            downloads=number % 9 + 1,
        )


def codename(number: int) -> str:
    """A word that only this project has."""
    word = ""
    for _ in range(4):
        number, syllable = divmod(number, len(SYLLABLES))
        word += SYLLABLES[syllable]
    return word


def fill(projects: int) -> None:
    """Fills the tables of the database that is bound, as so many uploads would have done."""
    tables = {
        models.User: user_rows(projects),
        models.Package: map(package_row, made(projects)),
        models.Maintainer: each_of(maintainer_rows, projects),
        models.Release: each_of(release_rows, projects),
        models.Dependency: each_of(dependency_rows, projects),
        models.File: each_of(file_rows, projects),
        models.UsedFilename: each_of(used_rows, projects),
        models.Journal: each_of(journal_rows, projects),
        models.Download: each_of(download_rows, projects),
    }
    if isinstance(database.database.obj, SqliteDatabase):
        database.execute(f"PRAGMA cache_size = -{CACHED}")
    with database.connection(), database.transaction():
        for table, rows in tables.items():
            insert(table, tqdm(rows, desc=f"{projects} {table.__name__}", disable=None))
            if "id" in table._meta.fields:
                database.continue_ids(table._meta.table_name)
        models.add_up()
        models.Serial.update(value=projects * RELEASES).execute()
    if isinstance(database.database.obj, PostgresqlDatabase):
        database.execute("ANALYZE")  # as it would do by itself within some minutes
    database.give_back()


def insert(table: type[models.Table], rows: Iterable[dict[str, Any]]) -> None:
    """Inserts the rows, whose values are ready, without peewee's query for each of them."""
    fields, defaults = table._meta.fields, table._meta.get_default_dict()
    defaults = {
        fields[name].column_name: fields[name].db_value(defaults[name]) for name in defaults
    }
    for batch in chunked(rows, BATCH):
        columns = list(defaults | batch[0])
        marks = ", ".join([database.database.param] * len(columns))
        sql = f"INSERT INTO {table._meta.table_name} ({', '.join(columns)}) VALUES ({marks})"
        values = [[row.get(name, defaults.get(name)) for name in columns] for row in batch]
        database.database.cursor().executemany(sql, values)


def each_of(rows: Callable[[Made], Iterator[dict]], projects: int) -> Iterator[dict]:
    """The rows that each project has in a table."""
    return (row for project in made(projects) for row in rows(project))


def user_rows(projects: int) -> Iterator[dict]:
    """An account for each team, beside those of `init`."""
    for number in range(projects // TEAM):
        name, email = f"team{number}", f"team{number}@example.org"
        keys = {"username_key": name, "email_key": email, "role": "developer"}
        yield {
            "id": number + FIRST_USER,
            "username": name,
            "email": email,
            "password_hash": "*",
            **keys,
        }


def package_row(project: Made) -> dict[str, Any]:
    """The row that an upload would leave of it."""
    last, version = list(project.releases)[-1]
    return {
        "id": project.id,
        "name": project.name,
        "normalized_name": project.name,
        "summary": project.summary,
        "status": project.status,
        "last_serial": project.id * RELEASES,
        "latest_release_id": last,
        "latest_version": version,
        "search_text": searchable(project.name, project.name, project.summary, project.keywords),
        "search_author": searchable("", project.author_email, "", ""),
        "release_count": RELEASES,
        "file_count": RELEASES,
        "offered_count": RELEASES,
        "total_size": RELEASES * file_row(1, "", "")["size"] + project.id % 7,
        "recent_downloads": project.downloads * len(list(download_rows(project))),
    }


def maintainer_rows(project: Made) -> Iterator[dict]:
    """Who is listed for it."""
    yield {"package_id": project.id, "user_id": project.user_id}


def release_rows(project: Made) -> Iterator[dict]:
    """The releases; every second project describes its latest one."""
    for release_id, version in project.releases:
        is_described = version == f"1.{RELEASES - 1}" and project.id % 2
        yield {
            "id": release_id,
            "package_id": project.id,
            "version": version,
            "canonical_version": version.removesuffix(".0"),
            "summary": project.summary,
            "keywords": project.keywords,
            "author_email": project.author_email,
            "description": DESCRIPTION * is_described,
            "description_content_type": "text/markdown",
            "rendered": f"<p>{DESCRIPTION}</p>" * is_described,
            "rendered_by": RENDERED_BY,
            "requires_dist": json.dumps(project.needs),
        }


def dependency_rows(project: Made) -> Iterator[dict]:
    """What each release needs."""
    for release_id, _ in project.releases:
        for name in project.needs:
            yield {"release_id": release_id, "normalized_name": name, "specifier": ">=1"}


def filename_of(project: Made, version: str) -> str:
    """The wheel of a release."""
    return f"{project.name.replace('-', '_')}-{version}-py3-none-any.whl"


def file_rows(project: Made) -> Iterator[dict]:
    """A wheel of each release; the files of some projects are a little larger."""
    for release_id, version in project.releases:
        row = file_row(release_id, project.name, filename_of(project, version))
        is_last = version == f"1.{RELEASES - 1}"
        row["size"] += project.id % 7 if is_last else 0
        yield {
            "id": release_id,
            "release_id": row.pop("release"),
            "uploaded_by_id": FIRST_USER,
            **row,
        }


def used_rows(project: Made) -> Iterator[dict]:
    """The names that the files have for ever."""
    for _, version in project.releases:
        name = filename_of(project, version)
        yield {"filename": name, "sha256": hashlib.sha256(name.encode()).hexdigest()}


def journal_rows(project: Made) -> Iterator[dict]:
    """A line of each upload."""
    for release_id, version in project.releases:
        what = {"version": version, "filename": filename_of(project, version)}
        yield {
            "serial": release_id,
            "who": project.team,
            "action": "upload",
            "package": project.name,
            **what,
        }


def download_rows(project: Made) -> Iterator[dict]:
    """Some days of each file, for one project in ten."""
    for release_id, _ in project.releases if project.id % 10 == 0 else ():
        for ago in range(5):
            day = (database.utcnow().date() - timedelta(days=ago)).isoformat()
            yield {"file_id": release_id, "day": day, "client": "pip", "number": project.downloads}


@dataclass
class Index:
    """A filled index that is served."""

    projects: int
    folder: Path
    url: str
    running: Running
    address: tuple[str, int]
    started: float  # seconds until it answered
    idle: int  # bytes in memory then
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        """Logs in."""
        self.connection = http.client.HTTPConnection(*self.address, timeout=120)
        self.ordinary = [
            each for each in made(self.projects) if each.id > 1 and each.status == "active"
        ]
        form = urlencode(dict(zip(("username", "password"), ADMIN.split(":"), strict=True)))
        answer = self.ask("POST", "/dashboard/login", form.encode(), FORM, 303)
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def ask(self, method: str, path: str, body=None, headers=None, status=200) -> Any:
        """The answer to a request.

        :raises RuntimeError: when it is not the expected one.
        """
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != status:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[-500:].decode()}")
        return answer

    def browse(self, path: str) -> None:
        """Looks at a page of the dashboard."""
        self.ask("GET", f"/dashboard/{path}", headers={"Cookie": self.cookie})

    def install(self, name: str) -> None:
        """Asks for a project's page as pip does."""
        headers = {"Authorization": basic(ACCOUNT), "Accept-Encoding": "gzip"}
        self.ask("GET", f"/simple/{name}/", headers=headers)

    def publish(self, name: str) -> float:
        """Uploads a wheel with a new version; the seconds that it takes."""
        version = f"2.{self.chance.randrange(10**12)}"
        filename, body = wheel_bytes(name, version)
        digest = hashlib.sha256(body).hexdigest()
        before, after = PEER.form(filename, name, version, digest, len(body))
        begun = time.perf_counter()
        self.connection.sock.sendall(before + body + after)
        answer = http.client.HTTPResponse(self.connection.sock, method="POST")
        answer.begin()
        said, taken = answer.read(), time.perf_counter() - begun
        if answer.status != 200:
            raise RuntimeError(f"The upload of {filename}: {said.decode()}")
        return taken

    def some(self) -> Made:
        """A project about which there is nothing in particular."""
        return self.chance.choice(self.ordinary)


Work = Callable[[Index], float]


def timed(work: Callable[[Index], None]) -> Work:
    """What the work takes, in seconds."""

    def timing(index: Index) -> float:
        begun = time.perf_counter()
        work(index)
        return time.perf_counter() - begun

    return timing


def looked_for(query: Callable[[Index], str] | str) -> Work:
    """What a search takes."""

    def search(index: Index) -> None:
        text = query if isinstance(query, str) else query(index)
        index.browse(f"search/?q={quote(text)}")

    return timed(search)


def cases() -> dict[str, Work]:
    """All that is measured, by title."""
    orders = [sign + column for column in catalogue.SORTS for sign in ("", "-")]
    tabs = ("description", "files", "dependencies", "dependents", "history")
    searches = {
        "a name": lambda index: index.some().name,
        "words of a name": lambda index: index.some().name.replace("-", " "),
        "a word that one has": lambda index: codename(index.some().id),
        "a part of such a word": lambda index: codename(index.some().id)[1:],
        "a word that all have": "internal",
        "one that all and one that one has": lambda index: f"internal {codename(index.some().id)}",
        "one letter": "a",
        "two letters": "wk",
        "what nobody has": "nothing-like-this",
        "depends:": lambda index: f"depends:{index.some().name}",
        "depends:, half of all": f"depends:{POPULAR}",
        "author:": lambda index: f"author:{index.some().team}@",
        "maintainer:": lambda index: f"maintainer:{index.some().team}",
        "status:": "status:deprecated",
        "status:, nearly all": "status:active",
        "words and filters": lambda index: f"internal author:{index.some().team}@ status:active",
    }
    more = {
        "a topic": "workflow",
        "two topics": "workflow ledger",
        "a status": "status:archived",
        "topic and filters": f"workflow internal status:active author:team1 depends:{POPULAR}",
    }
    return {
        "project page, made": timed(lambda index: index.install(index.some().name)),
        "project page, kept": timed(lambda index: index.install(POPULAR)),
        "upload to a new project": lambda index: index.publish(f"new-{uuid.uuid4().hex[:12]}"),
        "upload to a project": lambda index: index.publish(index.some().name),
        **{f"list, {order}": timed(lambda i, o=order: i.browse(f"?sort={o}")) for order in orders},
        **{
            f"project, {tab}": timed(
                lambda i, t=tab: i.browse(f"packages/{i.some().name}/?tab={t}")
            )
            for tab in tabs
        },
        **{
            f"{POPULAR}, {tab}": timed(lambda i, t=tab: i.browse(f"packages/{POPULAR}/?tab={t}"))
            for tab in tabs
        },
        **{f"search, {title}": looked_for(query) for title, query in searches.items()},
        **{f"{MORE}, {title}": looked_for(query) for title, query in more.items()},
    }


def basic(account: str) -> str:
    """The header that names the account."""
    return f"Basic {base64.b64encode(account.encode()).decode()}"


def url_of(folder: Path, template: str | None, projects: int) -> str:
    """The database of an index."""
    return template.format(projects) if template else f"sqlite:///{folder / 'extrapypi.db'}"


def prepare(folder: Path, template: str | None, projects: int) -> None:
    """Lays a filled index into the folder; one on SQLite is kept for the next run."""
    scripts = sorted(schema.MIGRATIONS.glob("0*.py"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in scripts)).hexdigest()[:12]
    kept = CACHE / f"growth-{projects}-{key}.db"
    url = url_of(folder, template, projects)
    if template or not kept.exists():
        settings = PEER.settings(folder) | {"EXTRAPYPI_DATABASE_URL": url}
        command = [sys.executable, "-m", "extrapypi", "init"]
        subprocess.run(
            command, cwd=folder, env=environment(settings), check=True, stdout=subprocess.DEVNULL
        )
        database.bind(url)
        fill(projects)
        database.close()
    if not template:
        keep(folder / "extrapypi.db", kept)


def keep(path: Path, kept: Path) -> None:
    """Copies the filled database to where it is kept, or from there."""
    if kept.exists():
        shutil.copyfile(kept, path)
        return
    for old in CACHE.glob(f"{kept.name.rpartition('-')[0]}-*.db"):
        old.unlink()
    shutil.copyfile(path, kept)


def start(folder: Path, template: str | None, projects: int) -> Index:
    """Serves the index."""
    url = url_of(folder, template, projects)
    settings = PEER.settings(folder) | {"EXTRAPYPI_DATABASE_URL": url}
    begun = time.perf_counter()
    running = Running(PEER.command(folder, 0), folder, settings)
    address = running.await_start(0)
    connection = http.client.HTTPConnection(*address)
    connection.request("GET", "/ping")
    connection.getresponse().read()
    taken = time.perf_counter() - begun
    connection.close()
    return Index(projects, folder, url, running, address, taken, running.memory()[0])


def measure(small: Index, large: Index, rounds: int) -> list[Line]:
    """A line for each case, after so many rounds in which the two take turns."""
    works, times = cases(), {}
    for index in (small, large):
        for work in works.values():
            work(index)  # what is loaded and kept at the first request
    for _ in tqdm(range(rounds), desc="rounds", disable=None):
        for title, work in works.items():
            taken = [(work(small), work(large)) for _ in range(REQUESTS)]
            for index, each in zip((small, large), zip(*taken, strict=True), strict=True):
                times.setdefault((title, index.projects), []).append(statistics.median(each))
    medians = {key: statistics.median(taken) * 1000 for key, taken in times.items()}
    return [
        flat(title, medians[title, large.projects], medians[title, small.projects])
        for title in works
    ]


def flat(title: str, ours: float, other: float) -> Line:
    """The line of a case, from its milliseconds on the large and on the small index."""
    ratio = ours / other
    texts = (f"{ours:.2f} ms", f"{other:.2f} ms")
    if title.startswith(MORE):
        return Line(title, *texts, ratio, f"under {LONGEST} ms", ours < LONGEST)
    return Line(title, *texts, ratio, f"at most {FLAT}", ratio <= FLAT)


def of_processes(small: Index, large: Index) -> list[Line]:
    """The lines of what is measured before the first page."""
    memory = [index.idle / 1024**2 for index in (large, small)]
    started = [index.started for index in (large, small)]
    return [
        Line(
            "start until it answers",
            *(f"{seconds:.2f} s" for seconds in started),
            started[0],
            f"under {STARTED} s",
            started[0] < STARTED,
        ),
        Line(
            "memory when idle",
            *(f"{megabytes:.0f} MB" for megabytes in memory),
            memory[0],
            f"under {IDLE} MB",
            memory[0] < IDLE,
        ),
    ]


def run(template: str | None = None, rounds: int = ROUNDS) -> list[Line]:
    """Fills, serves and measures; the lines.

    :param template: URL of a database, in which {} stands for the number of projects.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        indexes, folders = [], {}
        for projects in (SMALL, LARGE):
            folders[projects] = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=CACHE)))
            prepare(folders[projects], template, projects)
        for projects, folder in folders.items():
            indexes.append(start(folder, template, projects))
            stack.callback(indexes[-1].running.stop)
        return [*of_processes(*indexes), *measure(*indexes, rounds)]


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--database",
        metavar="URL",
        help=f"two empty databases on a server; {{}} in it stands for {SMALL} and {LARGE}",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    print(f"{'':42} {LARGE:>12,} {SMALL:>12,} {'ratio':>8}  goal")
    for line in run(arguments.database, arguments.rounds):
        mark = "" if line.met else "  MISSED"
        print(
            f"{line.title:42} {line.ours:>12} {line.other:>12} {line.value:8.2f}  {line.goal}{mark}"
        )


if __name__ == "__main__":
    main()
