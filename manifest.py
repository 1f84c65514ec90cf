"""What a backup of the index looks like; :mod:`extrapypi.backup` writes it, `restoring` reads it.

It is a folder for another server, another program, or a person to read:

``manifest.json``
    what the backup is: ``format`` (1), ``program`` (its version), ``schema`` (the names of the
    migrations that the tables have), ``made`` (when), ``index`` (when the journal begins: tells one
    index from another), ``serial``, ``tables`` (file, number of rows, sha256 and the kind of each
    column; in an order in which they can be filled), ``missing`` (paths below ``files`` of what the
    storage did not have as listed). It is written last: a folder without it is no backup.
``tables/<table>.jsonl``
    one JSON object a row, by primary key. A time is ISO 8601 in UTC; the ``location`` of a file is
    its path below ``files``.
``files/<project>/<filename>`` and ``….metadata``
    the bytes, and the core metadata beside them.
``SHA256SUMS``
    the digests of all these, for ``sha256sum -c``.

Sessions and failed logins are left out, and SECRET_KEY is nowhere in it. The hashes of passwords
and tokens are: only its owner may read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

from extrapypi.errors import InvalidInput

FORMAT = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the backup in the folder.

    :raises InvalidInput: when there is none, or one that this program does not understand.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(
            f"{folder} has no {MANIFEST}: it is no backup, or one that was broken off."
        ) from None
    except (ValueError, RecursionError):
        raise InvalidInput(f"{folder / MANIFEST} is damaged: it is no JSON.") from None
    if isinstance(manifest, dict) and manifest.get("format", FORMAT) != FORMAT:
        raise InvalidInput(
            f"The backup in {folder} has format {manifest['format']!r}; this program reads "
            f"format {FORMAT}, so use a newer one."
        )
    shape = {"format": int, "schema": list, "serial": int, "tables": dict, "missing": list}
    of_table = {"file": str, "rows": int, "sha256": str, "columns": dict}
    if not has_shape(manifest, shape) or not all(
        has_shape(table, of_table) for table in manifest["tables"].values()
    ):
        raise InvalidInput(f"{folder / MANIFEST} is damaged: it lacks what a manifest has.")
    return manifest


def has_shape(value: Any, shape: dict[str, type]) -> bool:
    """Whether it is a dictionary with these keys, whose values have these types."""
    return isinstance(value, dict) and all(
        isinstance(value.get(key), kind) for key, kind in shape.items()
    )


def read_sums(folder: Path) -> Iterator[tuple[str, str]]:
    """Digest and path of each line of the sums; nothing when there are none."""
    with (
        suppress(FileNotFoundError),
        (folder / SUMS).open(encoding="ascii", errors="replace") as lines,
    ):
        for line in lines:
            digest, _, path = line.rstrip("\n").partition("  ")
            yield digest, path


def iso(time: date) -> str:
    """The time, or the day, as a backup has it."""
    return time.isoformat(timespec="microseconds") if isinstance(time, datetime) else str(time)
