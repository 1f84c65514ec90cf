"""Projects that are made straight in the database, which is quicker than uploading them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from peewee import chunked

from extrapypi import models

Projects = dict[str, int]  # name -> how many files it has


def wheels(projects: Projects) -> Iterator[tuple[str, str, str]]:
    """Project, version and file name of everything that an index is to list."""
    for name, files in projects.items():
        for number in range(files):
            yield name, f"1.{number}", f"{name.replace('-', '_')}-1.{number}-py3-none-any.whl"


def fill(projects: Projects) -> None:
    """Lists the projects in the database that is bound, which has none; their files have no bytes.

    The database counts the rows itself, so that its counters go on behind them.
    """
    ids = {name: number for number, name in enumerate(projects, 1)}
    listed = list(enumerate(wheels(projects), 1))
    with models.writing() as serial:
        insert(
            models.Package,
            ({"name": name, "normalized_name": name, "last_serial": serial} for name in ids),
        )
        releases = (
            {"package": ids[name], "version": number, "canonical_version": number}
            for _, (name, number, _) in listed
        )
        insert(models.Release, releases)
        insert(models.File, (file_row(id, name, filename) for id, (name, _, filename) in listed))


def insert(table: type[models.Table], rows: Iterable[dict]) -> None:
    """Inserts the rows, some hundred at a time."""
    for some in chunked(rows, 500):
        table.insert_many(some).execute()


def file_row(release: int, name: str, filename: str) -> dict:
    """The row of a file as an upload would write it."""
    digest = hashlib.sha256(filename.encode()).hexdigest()
    return {
        "release": release,
        "filename": filename,
        "location": f"{name}/{filename}",
        "size": 250,
        "md5": digest[:32],
        "sha256": digest,
        "blake2b_256": digest,
        "packagetype": "bdist_wheel",
        "python_version": "py3",
        "requires_python": ">=3.8",
        "metadata_sha256": hashlib.sha256(digest.encode()).hexdigest(),
    }
