"""Filling an empty server from a backup, whatever its database and its storage are.

The bytes go first, and the rows in one transaction after them: until then the server is empty, and
the restore may be repeated. :mod:`extrapypi.manifest` tells the format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import peewee
from packaging.utils import canonicalize_name
from tqdm import tqdm

from extrapypi import database, schema
from extrapypi.distributions import FILENAME
from extrapypi.errors import InvalidInput, SchemaError
from extrapypi.incoming import sha256_of
from extrapypi.manifest import MANIFEST, SUMS, has_shape, read_manifest, read_sums
from extrapypi.models import NAME, Package, Serial, add_up, writing
from extrapypi.storage import SIDECAR, BaseStorage, received

READ: dict[str, Callable[[Any], Any]] = {  # kind of a column -> what the database takes
    "time": lambda text: database.TimeField().db_value(datetime.fromisoformat(text)),
    "date": date.fromisoformat,
    "json": database.JSONTextField().db_value,
}
BATCH = 2**20  # bytes of rows that are inserted at once
VARIABLES = 900  # of one statement, at most; old versions of SQLite take 999


def restore(storage: BaseStorage, source: str | Path) -> dict[str, Any]:
    """Fills the empty database and the storage from a backup; the manifest of that.

    Tables are made as the backup has them, and brought up to date in the end. Ids, serial and
    journal go on where they were.

    :raises InvalidInput: for what is no sound backup, or a database that is not empty.
    :raises SchemaError: for a backup by a newer program, or tables that are newer than it.
    """
    folder = Path(source).resolve()
    manifest = read_manifest(folder)
    check_sums(folder, manifest)
    check_files(folder, manifest)
    make_tables(manifest)
    locations = store_files(storage, folder, manifest)
    insert_rows(folder, manifest, locations)
    schema.upgrade()
    return manifest


def check_sums(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuses a backup in which something is damaged or lacking.

    The files are only looked for; their digests are compared when they are copied.
    """
    expected = {MANIFEST, *(table["file"] for table in manifest["tables"].values())}
    for digest, name in read_sums(folder):
        expected.discard(name)
        path = inside(folder, name)
        if not path.is_file():
            raise InvalidInput(f"The backup in {folder} is damaged: it lacks {name}.")
        if name.startswith("files/") and not name.endswith(SIDECAR):
            continue
        with path.open("rb") as stream:
            if sha256_of(stream) != digest:
                raise InvalidInput(f"The backup in {folder} is damaged: {name} was changed.")
    if expected:
        raise InvalidInput(f"The backup in {folder} is damaged: {SUMS} lacks {min(expected)}.")


def inside(folder: Path, name: str) -> Path:
    """The path of this name in the backup.

    :raises InvalidInput: for a name that leads out of it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InvalidInput(f"The backup in {folder} names {name!r}, which lies outside of it.")
    return folder / path


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuses a backup that lacks a file, unless it says so, or has it with another size."""
    missing = missing_in(manifest)
    shape = {"id": int, "filename": str, "location": str, "size": int, "sha256": str}
    for row in rows_of(folder, manifest, "files"):
        if not has_shape(row, shape) or not is_place(row["location"], row["filename"]):
            raise InvalidInput(f"The backup in {folder} has a file at {row.get('location')!r}.")
        path = folder / "files" / row["location"]
        is_whole = path.is_file() and path.stat().st_size == row["size"]
        if not is_whole and row["location"] not in missing:
            raise InvalidInput(
                f"The backup in {folder} is damaged: files/{row['location']} is not there with "
                f"its {row['size']} bytes."
            )


def is_place(location: str, filename: str) -> bool:
    """Whether a file of this name can have the location: below its project's normalized name."""
    project = location.removesuffix(f"/{filename}")
    is_project = NAME.match(project) and project == canonicalize_name(project)
    return bool(is_project and FILENAME.match(filename) and project != location)


def missing_in(manifest: dict[str, Any]) -> set[str]:
    """Locations below ``files`` of what the backup could not get."""
    return set(map(str, manifest["missing"]))


def rows_of(folder: Path, manifest: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, one by one, as they stand in the backup.

    :raises InvalidInput: for a line that is no row of the table.
    """
    table = manifest["tables"].get(name)
    if table is None:
        raise InvalidInput(f"The backup in {folder} is damaged: it has no table {name}.")
    with inside(folder, table["file"]).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            row = None
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
            if not isinstance(row, dict) or row.keys() != table["columns"].keys():
                raise InvalidInput(
                    f"Line {number} of {table['file']} in the backup is no row of {name}."
                )
            yield row


def make_tables(manifest: dict[str, Any]) -> None:
    """Makes the tables as the backup has them, in an empty database."""
    wanted = manifest["schema"]
    status = schema.status()
    known = [name for name, _, is_known in status if is_known]
    if not wanted or known[: len(wanted)] != wanted:
        raise SchemaError("The backup was made by a newer extrapypi; upgrade the program.")
    applied = [name for name, at, _ in status if at]
    if applied:
        refuse_rows(manifest)
    if applied[len(wanted) :]:
        raise SchemaError(
            "The tables of the database are newer than the backup; name a new database in "
            "DATABASE_URL, and do not run `init` or `db upgrade` before `restore`."
        )
    schema.upgrade(wanted[-1])
    tables = database.database.get_tables()
    for name, table in manifest["tables"].items():
        columns = database.database.get_columns(name) if name in tables else ()
        if {column.name for column in columns} != table["columns"].keys():
            raise InvalidInput(f"The backup has a table {name} as its schema does not have it.")


def refuse_rows(manifest: dict[str, Any]) -> None:
    """Refuses a database in which there is something already."""
    tables = database.database.get_tables()
    for name in manifest["tables"]:
        if name in tables and has_rows(name):
            raise InvalidInput(
                f"The database is not empty (table {name}); `restore` needs one without users and "
                "packages: name a new one in DATABASE_URL, and do not run `init` before."
            )


def has_rows(table: str) -> bool:
    """Whether something stands in the table."""
    rows = peewee.Table(table).bind(database.database).select(peewee.Value(1)).limit(1)
    return bool(list(database.tuples(rows)))


def store_files(storage: BaseStorage, folder: Path, manifest: dict[str, Any]) -> dict[int, str]:
    """Stores the files of the backup; where each is now, by id."""
    missing, count = missing_in(manifest), manifest["tables"]["files"]["rows"]
    rows = rows_of(folder, manifest, "files")
    locations = {}
    database.give_back()
    for row in tqdm(rows, total=count, desc="restore", unit="file", disable=None):
        if row["location"] not in missing:
            locations[row["id"]] = store(storage, folder, row, missing)
    return locations


def store(storage: BaseStorage, folder: Path, row: dict[str, Any], missing: set[str]) -> str:
    """Stores a file with its core metadata; its location.

    :raises InvalidInput: when it is not the file that the row tells of.
    """
    location = row["location"]
    path = folder / "files" / location
    sidecar = path.with_name(path.name + SIDECAR)
    refuse_others(storage, row)
    with path.open("rb") as stream, received(storage, stream) as incoming:
        if incoming.digests["sha256"] != row["sha256"]:
            raise InvalidInput(f"The backup in {folder} is damaged: files/{location} was changed.")
        incoming.filename = row["filename"]
        if location + SIDECAR not in missing and sidecar.is_file():
            incoming.metadata = sidecar.read_bytes()
        project = location.partition("/")[0]
        package = Package(name=project, normalized_name=project)
        storage.prepare(package, incoming)
        storage.create_package(package)
        return storage.create_release(package, incoming)


def refuse_others(storage: BaseStorage, row: dict[str, Any]) -> None:
    """Refuses a storage on a disk that has another file where this one goes.

    :raises InvalidInput: naming the file; the storage is another index's.
    """
    there = storage.get_path(row["location"])
    if there is not None and there.is_file():
        with there.open("rb") as stream:
            if sha256_of(stream) != row["sha256"]:
                raise InvalidInput(
                    f"The storage has another {row['location']}; `restore` needs an empty one: "
                    "name a new one in STORAGE_PARAMS."
                )


@database.retried
def insert_rows(folder: Path, manifest: dict[str, Any], locations: dict[int, str]) -> None:
    """Inserts all rows at once, with the new locations of the files."""
    with writing():
        refuse_rows(manifest)  # now that nobody else writes
        for name, about in manifest["tables"].items():
            rows = rows_of(folder, manifest, name)
            if name == "files":
                rows = (
                    {**row, "location": locations.get(row["id"], row["location"])} for row in rows
                )
            insert(name, about["columns"], rows)
        Serial.update(value=manifest["serial"]).execute()
        if all(is_applied for _, is_applied, _ in schema.status()):
            add_up()  # an upgrade does so otherwise


def insert(name: str, columns: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    """Inserts the rows into one table."""
    table = peewee.Table(name).bind(database.database)
    fields = [getattr(table.c, column) for column in columns]
    for batch in batches(rows, VARIABLES // len(columns)):
        values = [[value_of(row[name], kind) for name, kind in columns.items()] for row in batch]
        table.insert(values, columns=fields).execute()
    if "id" in columns:
        database.continue_ids(name)


def batches(rows: Iterable[dict[str, Any]], most: int) -> Iterator[list[dict[str, Any]]]:
    """The rows in batches that a database takes in one statement: so many, of BATCH bytes or so."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(str(row))
        if len(batch) == most or size > BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def value_of(value: Any, kind: str) -> Any:
    """What the database takes for a value of the backup.

    :raises InvalidInput: for what is not of the column's kind.
    """
    types = {"text": str, "time": str, "date": str, "integer": int, "boolean": bool}
    try:
        if value is not None and kind != "json" and type(value) is not types[kind]:
            raise TypeError
        return value if value is None or kind not in READ else READ[kind](value)
    except (KeyError, TypeError, ValueError, OverflowError):
        shown = repr(value)[:100]
        raise InvalidInput(f"The backup has {shown} where a {kind} should be.") from None
