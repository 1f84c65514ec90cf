"""How long a search takes on an index of 10,000 projects with three releases each.

Run as ``python benchmarks/search.py [DATABASE_URL]`` in a checkout. The database is filled with
projects that do not exist, so name an empty one; without a name it is a temporary file of SQLite.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from peewee import chunked

sys.path.insert(0, str(Path(__file__).parent.parent))

from extrapypi import counts, database, search
from extrapypi.models import (
    Dependency,
    Download,
    File,
    Package,
    Release,
    searchable,
)

PROJECTS, RELEASES = 10_000, 3
DESCRIPTION = "A paragraph about what it does and how to use it. " * 60  # 3 kB
WORDS = (
    "client server async parser billing report invoice metrics queue cache storage model schema "
    "crypto image audio video graph matrix solver router proxy agent plugin theme console"
).split()
QUERIES = (
    "solver-router-77",
    "solver",
    "a",
    "library",
    "nothing has this",
    "internal tools billing",
    "depends:requests",
    "depends:solver-router-77",
    "author:example",
    "status:archived",
    "maintainer:nobody",
    "cache depends:requests author:team3 status:active",
)
REPEATED = 9


def packages() -> Iterator[dict]:
    """The rows of the projects."""
    chance = random.Random(1)
    for number in range(1, PROJECTS + 1):
        name = f"{'-'.join(chance.sample(WORDS, 2))}-{number}"
        if number == 77:
            name = "solver-router-77"
        summary = f"An internal library of tools for {chance.choice(WORDS)}, kept by team."
        author = f"Team {number % 50} <team{number % 50}@example.org>"
        yield {
            "id": number,
            "name": name,
            "normalized_name": name,
            "summary": summary,
            "status": "archived" if number % 100 == 0 else "active",
            "latest_release_id": number * RELEASES,
            "latest_version": f"1.{RELEASES - 1}",
            "search_text": searchable(name, name, summary, "internal, private"),
            "search_author": searchable(author),
        }


def releases() -> Iterator[dict]:
    """The rows of the releases."""
    for number in range(PROJECTS * RELEASES):
        version = f"1.{number % RELEASES}"
        yield {
            "id": number + 1,
            "package": number // RELEASES + 1,
            "version": version,
            "canonical_version": version,
            "description": DESCRIPTION,
        }


def dependencies() -> Iterator[dict]:
    """Four rows for each release; all need requests."""
    names = [row["normalized_name"] for row in packages()]
    chance = random.Random(2)
    for number in range(PROJECTS * RELEASES):
        for name in ("requests", *chance.sample(names, 3)):
            yield {"release": number + 1, "normalized_name": name, "specifier": ">=1"}


def files() -> Iterator[dict]:
    """One row for each release."""
    digests = {"md5": "0" * 32, "sha256": "0" * 64, "blake2b_256": "0" * 64}
    for number in range(1, PROJECTS * RELEASES + 1):
        yield {
            "id": number,
            "release": number,
            "filename": f"{number}.whl",
            "location": "",
            "size": 1,
            "packagetype": "bdist_wheel",
            "python_version": "py3",
            **digests,
        }


def downloads() -> Iterator[dict]:
    """Ten rows for each file of the latest releases."""
    today = database.utcnow().date()
    for file in range(RELEASES, PROJECTS * RELEASES + 1, RELEASES):
        for days in range(10):
            day = today.fromordinal(today.toordinal() - days)
            yield {"file": file, "day": day, "client": "pip", "number": 7}


def fill() -> None:
    """Fills the tables."""
    tables = (Package, Release, Dependency, File, Download)
    rows = (packages(), releases(), dependencies(), files(), downloads())
    with database.transaction():
        for table, made in zip(tables, rows, strict=True):
            for batch in chunked(made, 500):
                table.insert_many(batch).execute()


def milliseconds(work) -> float:
    """The median time that the work takes."""
    times = []
    for _ in range(REPEATED):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def measure() -> None:
    """Prints what each query takes, and what the pages ask for the downloads."""
    for text in QUERIES:
        total = search.find(text, 1).total
        took = milliseconds(lambda text=text: search.find(text, 1))
        print(f"{took:8.1f} ms  {total:6,} found  {text}")
    package = Package.get_by_id(77)
    for name, work in (
        ("downloads of 50 projects", lambda: counts.of_projects(range(1, 51))),
        ("downloads of all projects", lambda: counts.of_projects(range(1, PROJECTS + 1))),
        ("downloads of one by week", lambda: counts.by_week(package)),
    ):
        print(f"{milliseconds(work):8.1f} ms  {name}")


def main(url: str | None = None) -> None:
    """Fills the database and measures."""
    with tempfile.TemporaryDirectory() as folder:
        database.bind(url or f"sqlite:///{folder}/search.db")
        database.upgrade_schema()
        with database.connection():
            fill()
            measure()
        database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
