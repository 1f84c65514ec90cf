"""Writing the tables, as they are at one moment, to files that any database can be filled from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import peewee

from extrapypi import __version__, database, schema
from extrapypi.distributions import SDIST, WHEEL
from extrapypi.manifest import FORMAT, iso
from extrapypi.models import TABLES, Failure, File, Journal, Package, Release, Serial, Session

LEFT_OUT = (Serial, Session, Failure)  # the serial is in the manifest
KINDS = {  # of columns; all others are text
    peewee.AutoField: "integer",
    peewee.IntegerField: "integer",
    peewee.BigIntegerField: "integer",
    peewee.ForeignKeyField: "integer",
    peewee.BooleanField: "boolean",
    database.TimeField: "time",
    peewee.DateField: "date",
    database.JSONTextField: "json",
}
PAGE = 50  # rows that are read at once; a description may have some MB


class Copy(NamedTuple):
    """A file that the backup has to have: ``source`` is its location in the storage."""

    id: int
    source: str
    location: str  # below ``files`` of the backup
    size: int
    sha256: str
    metadata_sha256: str | None
    has_metadata: bool


def dump(folder: Path) -> tuple[dict[str, Any], list[Copy]]:
    """Writes the tables to the folder; the manifest of that moment, and the files it had.

    Nobody waits for it; the snapshot lasts only as long as it takes.
    """
    files: list[Copy] = []
    with database.snapshot():
        manifest = {
            "format": FORMAT,
            "program": __version__,
            "schema": [name for name, applied, _ in schema.status() if applied],
            "made": iso(database.utcnow()),
            "index": beginning(),
            "serial": Serial.select(Serial.value).scalar(),
            "tables": {},
        }
        releases = Release.select(Release.id, Package.normalized_name).join(Package)
        projects = dict(database.tuples(releases))

        def listed(row: dict[str, Any]) -> dict[str, Any]:
            files.append(copy_of(row, projects[row["release_id"]]))
            return {**row, "location": files[-1].location}

        for model in TABLES:
            if model not in LEFT_OUT:
                name, rows = model._meta.table_name, rows_of(model)
                rows = map(listed, rows) if model is File else rows
                about = write_rows(folder / f"{name}.jsonl", rows)
                manifest["tables"][name] = {**about, "columns": kinds_of(model)}
    return manifest, files


def beginning() -> str | None:
    """When the journal begins, to the microsecond: no two indexes have that in common."""
    at = Journal.select(Journal.at).order_by(Journal.id).limit(1).scalar()
    return at and iso(at)


def copy_of(row: dict[str, Any], project: str) -> Copy:
    """What the backup has to have of a file with this row."""
    location = f"{project}/{row['filename']}"
    digests = (row["size"], row["sha256"], row["metadata_sha256"])
    has_metadata = row["packagetype"] in (WHEEL, SDIST)  # old formats have none
    return Copy(row["id"], row["location"], location, *digests, has_metadata)


def rows_of(model: type[peewee.Model]) -> Iterator[dict[str, Any]]:
    """The rows of a table by primary key, with the names of its columns; read page by page."""
    fields, keys = model._meta.sorted_fields, model._meta.get_primary_keys()
    columns = [field.column_name for field in fields]
    query = model.select(*fields).order_by(*keys).limit(PAGE)
    page = list(database.tuples(query))
    while page:
        rows = [dict(zip(columns, values, strict=True)) for values in page]
        yield from rows
        last = peewee.Tuple(*(rows[-1][key.column_name] for key in keys))
        page = list(database.tuples(query.where(peewee.Tuple(*keys) > last)))


def kinds_of(model: type[peewee.Model]) -> dict[str, str]:
    """Name and kind of each column."""
    fields = model._meta.sorted_fields
    return {field.column_name: KINDS.get(type(field), "text") for field in fields}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Writes one JSON object a row; what the manifest says of the file."""
    count, digest = 0, hashlib.sha256()
    with path.open("wb") as stream:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, default=iso).encode() + b"\n"
            stream.write(line)
            digest.update(line)
            count += 1
        written(stream)
    return {"file": f"tables/{path.name}", "rows": count, "sha256": digest.hexdigest()}


def written(stream: BinaryIO | TextIO) -> None:
    """Makes sure that what was written to the stream has reached the disk."""
    stream.flush()
    os.fsync(stream.fileno())
