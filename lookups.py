"""What each upload or download asks of the tables, by one query without models, which cost more."""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime
from typing import NamedTuple

from extrapypi.database import fetch
from extrapypi.errors import NotFound
from extrapypi.models import File

SERVED_SQL = """
    SELECT f.id, f.filename, f.location, f.size, f.sha256, f.upload_time, f.metadata_sha256,
           p.normalized_name, p.status, p.status_reason
    FROM files f JOIN releases r ON r.id = f.release_id JOIN packages p ON p.id = r.package_id
    WHERE f.filename = ?"""


class ServedFile(NamedTuple):
    """What a download needs to know of a file and of its project; ``size`` is in bytes."""

    id: int
    filename: str
    location: str
    size: int
    sha256: str
    upload_time: datetime  # to the second, as HTTP has it
    metadata_sha256: str | None
    project: str  # normalized name
    status: str
    status_reason: str
    last_modified: str  # the upload time in HTTP's form

    @classmethod
    def named(cls, filename: str) -> ServedFile:
        """The file of this name, by one query without models, which cost ten times as much.

        :raises NotFound: when there is none.
        """
        row = fetch(SERVED_SQL, filename)
        if row is None:
            raise NotFound(f"There is no file {filename}.")
        moment = File.upload_time.python_value(row[5]).replace(microsecond=0)
        return cls._make((*row[:5], moment, *row[6:], format_datetime(moment, usegmt=True)))


STATE_SQL = """
    SELECT p.id, p.name, p.status, m.user_id, r.id, f.sha256, u.sha256
    FROM serial s
    LEFT JOIN packages p ON p.normalized_name = ?
    LEFT JOIN maintainers m ON m.package_id = p.id AND m.user_id = ?
    LEFT JOIN releases r ON r.package_id = p.id AND r.canonical_version = ?
    LEFT JOIN files f ON f.filename = ?
    LEFT JOIN used_filenames u ON u.filename = ?"""


class State(NamedTuple):
    """What the index has of a file that is to be added: ids and digests, None for what is new."""

    package_id: int | None
    package_name: str | None
    status: str | None
    listed: int | None  # the actor, when he is a maintainer of the project
    release_id: int | None
    sha256: str | None  # of the file of this name
    used_sha256: str | None  # of what had the name first

    @classmethod
    def of(cls, project: str, version: str, filename: str, user_id: int | None) -> State:
        """The state by one query without models, because each upload asks it twice.

        :param project: its normalized name.
        :param version: in canonical form.
        """
        return cls(*fetch(STATE_SQL, project, user_id, version, filename, filename))
