"""The tables and the questions that are asked of them.

Every unit of work that changes something runs inside :func:`writing`. Times are UTC.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version
from peewee import (
    AutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    CompositeKey,
    DateField,
    Field,
    FixedCharField,
    ForeignKeyField,
    IntegerField,
    Model,
    ModelSelect,
)

from extrapypi.database import (
    JSONTextField,
    LongTextField,
    TimeField,
    database,
    execute,
    fetch,
    insert,
    transaction,
    tuples,
    utcnow,
)
from extrapypi.engines import BUSY_TIMEOUT
from extrapypi.errors import NotFound, Unavailable

VERSION = re.compile(r"[!-~]{1,128}\Z")  # what can be one at all
ROLES = ("installer", "maintainer", "developer", "admin")  # each may do all that those before may
STATUSES = ("active", "archived", "deprecated", "quarantined")  # PEP 792
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")  # name-normalization
LONGEST_SEARCHED = 10_000  # characters


class Table(Model):
    """Base of all tables. What has a type only is peewee's: ids, and the other ends of keys."""

    id: AutoField[int]

    class Meta:
        database = database
        legacy_table_names = False

    @classmethod
    def insert_row(cls, **values: Any) -> int:
        """Inserts a row and returns its id; unlike ``create`` it makes the SQL only once."""
        sql, fields = insertion(cls)
        given = (values[f.name] if f.name in values else default(f) for f in fields)
        return insert(sql, *(f.db_value(value) for f, value in zip(fields, given, strict=True)))


@cache
def insertion(table: type[Table]) -> tuple[str, list[Field]]:
    """The SQL that inserts a row into a table, and the fields that it wants values of."""
    fields = [field for field in table._meta.sorted_fields if not isinstance(field, AutoField)]
    names, marks = ", ".join(f.column_name for f in fields), ", ".join("?" * len(fields))
    return f"INSERT INTO {table._meta.table_name} ({names}) VALUES ({marks})", fields


def default(field: Field) -> Any:
    """What a field of a new row has that is given no value."""
    return field.default() if callable(field.default) else field.default


class Serial(Table):
    """One row: the number of the last change to anything, and what there is on the whole index.

    :meth:`Package.touch` keeps the sums; to count a million files takes too long for a page.
    """

    id = AutoField()
    value = BigIntegerField(default=0)
    projects = BigIntegerField(default=0)
    releases = BigIntegerField(default=0)
    files = BigIntegerField(default=0)
    size = BigIntegerField(default=0)  # bytes

    class Meta:
        table_name = "serial"


class User(Table):
    """An account. ``username_key`` and ``email_key`` make both unique without regard to case."""

    ROLES = ROLES

    username = CharField(max_length=128)
    username_key = CharField(max_length=255, unique=True)
    email = CharField(max_length=254)
    email_key = CharField(max_length=254, unique=True)
    password_hash = CharField(max_length=128)  # bcrypt
    default_password = BooleanField(default=False)  # one of those that `init` documents
    role = CharField(max_length=16)
    is_active = BooleanField(default=True)
    created_at = TimeField(default=utcnow)
    last_login_at = TimeField(null=True)
    tokens: ModelSelect[Token]

    class Meta:
        table_name = "users"

    @classmethod
    def named(cls, username: str) -> User:
        """The account of this name, in any case.

        :raises NotFound: when there is none.
        """
        user = cls.get_or_none(cls.username_key == username.casefold())
        if user is None:
            raise NotFound(f"There is no user {username}.")
        return user


class Session(Table):
    """A browser that is logged in; its cookie holds the token, the table its sha256."""

    user = ForeignKeyField(User, backref="sessions", on_delete="CASCADE")
    token_sha256 = FixedCharField(max_length=64, unique=True)
    created_at = TimeField(default=utcnow)
    last_seen_at = TimeField(default=utcnow)
    expires_at = TimeField()
    address = CharField(max_length=64)
    browser = CharField(max_length=255)

    class Meta:
        table_name = "sessions"


class Token(Table):
    """A key for programs; it never gives more than its owner's present role."""

    SCOPES = ("read", "upload")
    PREFIX = "xpypi_"  # fixed, so that scanners for leaked secrets can know it

    user = ForeignKeyField(User, backref="tokens", on_delete="CASCADE")
    user_id: IntegerField[int]
    name = CharField(max_length=100)
    scope = CharField(max_length=16)
    packages = JSONTextField(null=True)  # normalized names; null: all
    secret_sha256 = FixedCharField(max_length=64, unique=True)
    created_at = TimeField(default=utcnow)
    expires_at = TimeField(null=True)
    last_used_at = TimeField(null=True)
    last_used_from = CharField(max_length=64, null=True)
    revoked_at = TimeField(null=True)

    class Meta:
        table_name = "tokens"

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor expired."""
        return is_usable(self.expires_at, self.revoked_at)


def is_usable(expires_at: datetime | None, revoked_at: Any) -> bool:
    """Whether a token with these is neither revoked nor expired."""
    return not revoked_at and (not expires_at or expires_at > utcnow())


class Package(Table):
    """A project; ``name`` is as in its first upload."""

    name = CharField(max_length=200)
    normalized_name = CharField(max_length=200, unique=True)
    summary = CharField(max_length=512, default="")
    status = CharField(max_length=16, default="active", index=True)
    status_reason = LongTextField(default="")
    created_at = TimeField(default=utcnow)
    updated_at = TimeField(default=utcnow)
    last_serial = BigIntegerField(default=0)  # of the last change to anything of it
    latest_release_id = IntegerField(null=True, index=True)  # of the first of its sorted releases
    latest_version = CharField(max_length=128, null=True)  # as that one gives it
    search_text = LongTextField(null=True)  # names, summary and keywords of the latest, folded
    search_author = LongTextField(null=True)  # its authors and maintainers, folded
    release_count = IntegerField(default=0)
    file_count = IntegerField(default=0)
    offered_count = IntegerField(default=0)  # files that are not yanked
    total_size = BigIntegerField(default=0)  # bytes of its files
    recent_downloads = BigIntegerField(default=0)  # in 30 days; see counts.py for how exact it is
    releases: ModelSelect[Release]

    class Meta:
        table_name = "packages"
        indexes = tuple(  # each serves both ways to sort a list by it
            ((column, "id"), False)
            for column in ("last_serial", "file_count", "total_size", "recent_downloads")
        )

    @classmethod
    def named(cls, name: str) -> Package:
        """The project, in any spelling of its name.

        :raises NotFound: when there is none.
        """
        package = cls.get_or_none(cls.normalized_name == canonicalize_name(name))
        if package is None:
            raise NotFound(f"There is no project {name}.")
        return package

    @property
    def maintainers(self):
        """Query of the users that are listed as its maintainers."""
        return User.select().join(Maintainer).where(Maintainer.package == self)

    @property
    def sorted_releases(self) -> list[Release]:
        """All releases: stable before pre-releases, each newest first, yanked ones last."""
        releases = {release.id: release for release in self.releases}
        return [releases[counted.id] for counted in self._counted()]

    @property
    def latest_release(self) -> Release | None:
        """The first of :attr:`sorted_releases`."""
        release_id = self.latest_release_id
        return None if release_id is None else Release.get_by_id(release_id)

    def _counted(self) -> list[Counted]:
        """What the releases take up, in the order of :attr:`sorted_releases`."""
        rows = execute(COUNTED_SQL, self.id).fetchall()
        return sorted((Counted(*row) for row in rows), key=Counted.order, reverse=True)

    def touch(self, serial: int) -> None:
        """Marks the project as changed in the transaction with this serial.

        Every upload does it, so it takes four statements, and none through peewee's models.
        """
        releases = self._counted()
        latest_id, latest_version = releases[0][:2] if releases else (None, None)
        texts = fetch(TEXTS_SQL, latest_id) or ("",) * 6
        files, size = sum(r.files for r in releases), int(sum(r.size for r in releases))
        self._add_to_totals(len(releases), files, size)
        touched = {
            "last_serial": serial,
            "updated_at": utcnow(),
            "summary": texts[0],
            "latest_release_id": latest_id,
            "latest_version": latest_version,
            "search_text": searchable(self.name, self.normalized_name, *texts[:2]),
            "search_author": searchable(*texts[2:]),
            "release_count": len(releases),
            "file_count": files,
            "offered_count": sum(r.offered for r in releases),
            "total_size": size,
        }
        for column, value in touched.items():
            setattr(self, column, value)
        touched["updated_at"] = Package.updated_at.db_value(self.updated_at)
        columns = ", ".join(f"{column} = ?" for column in touched)
        execute(f"UPDATE packages SET {columns} WHERE id = ?", *touched.values(), self.id)

    def remove(self) -> None:
        """Takes the project off the index, with all that belongs to it."""
        self._add_to_totals(0, 0, 0)
        self.delete_instance()

    def _add_to_totals(self, releases: int, files: int, size: int) -> None:
        """Replaces what the project adds to the sums of the index; its row has the old numbers."""
        numbers = (bool(releases) * 1, releases, files, size)
        execute(TOTALS_SQL, *(value for number in numbers for value in (number, self.id)))


# What a project adds to the sums; one without releases is none.
ADDED = {
    "projects": "CASE WHEN release_count > 0 THEN 1 ELSE 0 END",
    "releases": "release_count",
    "files": "file_count",
    "size": "total_size",
}
TOTALS_SQL = "UPDATE serial SET " + ", ".join(
    f"{total} = {total} + ? - (SELECT {added} FROM packages WHERE id = ?)"
    for total, added in ADDED.items()
)
COUNTED_SQL = """
    SELECT r.id, r.version, COUNT(f.id), COUNT(CASE WHEN NOT f.yanked THEN 1 END),
           COALESCE(SUM(f.size), 0)
    FROM releases r LEFT JOIN files f ON f.release_id = r.id
    WHERE r.package_id = ? GROUP BY r.id, r.version"""
TEXTS_SQL = """
    SELECT summary, keywords, author, author_email, maintainer, maintainer_email
    FROM releases WHERE id = ?"""


class Counted(NamedTuple):
    """A release with what it takes up; ``size`` is in bytes."""

    id: int
    version: str
    files: int
    offered: int  # files that are not yanked
    size: int

    def order(self) -> tuple:
        """The highest is what installers prefer."""
        is_yanked = self.files > 0 and not self.offered
        return not is_yanked, not is_prerelease(self.version), version_key(self.version)


def add_up() -> None:
    """Makes the sums of the index anew, from those of its projects."""
    sums = (
        f"{total} = (SELECT COALESCE(SUM({added}), 0) FROM packages)"
        for total, added in ADDED.items()
    )
    execute(f"UPDATE serial SET {', '.join(sums)}")


class Maintainer(Table):
    """A user who is listed as maintainer of a project."""

    package = ForeignKeyField(Package, on_delete="CASCADE")
    user = ForeignKeyField(User, on_delete="CASCADE")

    class Meta:
        table_name = "maintainers"
        primary_key = CompositeKey("package", "user")


class Release(Table):
    """A version of a project, with the core metadata that its files gave."""

    package = ForeignKeyField(Package, backref="releases", on_delete="CASCADE")
    package_id: IntegerField[int]
    version = CharField(max_length=128)  # as given
    canonical_version = CharField(max_length=128)  # without trailing zeros
    summary = CharField(max_length=512, default="")
    description = LongTextField(default="")
    description_content_type = CharField(max_length=255, default="")
    author = LongTextField(default="")
    author_email = LongTextField(default="")
    maintainer = LongTextField(default="")
    maintainer_email = LongTextField(default="")
    license = LongTextField(default="")
    license_expression = LongTextField(default="")
    license_files = JSONTextField(default=list)
    keywords = LongTextField(default="")
    classifiers = JSONTextField(default=list)
    platforms = JSONTextField(default=list)
    requires_python = CharField(max_length=255, default="")
    requires_dist = JSONTextField(default=list)
    provides_extra = JSONTextField(default=list)
    project_urls = JSONTextField(default=dict)
    home_page = LongTextField(default="")
    download_url = LongTextField(default="")
    dynamic = JSONTextField(default=list)
    rendered = LongTextField(null=True)  # the description as safe HTML
    rendered_by = CharField(max_length=64, null=True)  # which version of what has made it
    rendering_fault = LongTextField(null=True)  # why it is shown as plain text, if it is
    created_at = TimeField(default=utcnow)
    updated_at = TimeField(default=utcnow)
    files: ModelSelect[File]

    class Meta:
        table_name = "releases"
        indexes = ((("package", "canonical_version"), True),)

    @classmethod
    def of(cls, package: Package, version: str) -> Release:
        """The release of this version, in any spelling (1.0 is 1.0.0).

        :raises NotFound: when there is none.
        """
        release = None
        if VERSION.match(version):
            canonical = canonicalize_version(version)
            key = (cls.package == package) & (cls.canonical_version == canonical)
            release = cls.get_or_none(key)
        if release is None:
            raise NotFound(f"There is no release {version} of {package.name}.")
        return release

    @classmethod
    def yanked_of(cls, package: Package) -> set[int]:
        """Ids of the releases of which every file is yanked."""
        files = File.select(File.release_id, File.yanked).join(cls).where(cls.package == package)
        rows = list(tuples(files))
        return {release for release, _ in rows} - {
            release for release, yanked in rows if not yanked
        }


class Dependency(Table):
    """One Requires-Dist of a release."""

    release = ForeignKeyField(Release, backref="dependencies", on_delete="CASCADE")
    normalized_name = CharField(max_length=200)
    specifier = LongTextField(default="")  # or "@ URL"
    marker = LongTextField(default="")
    extra = CharField(max_length=200, default="")

    class Meta:
        table_name = "dependencies"
        indexes = ((("normalized_name", "release"), False),)


class File(Table):
    """One distribution file; its name is unique over the whole index."""

    release = ForeignKeyField(Release, backref="files", on_delete="CASCADE")
    release_id: IntegerField[int]
    filename = CharField(max_length=255, unique=True)
    location = LongTextField()  # where the storage driver put it
    size = BigIntegerField()  # bytes
    md5 = FixedCharField(max_length=32)
    sha256 = FixedCharField(max_length=64)
    blake2b_256 = FixedCharField(max_length=64)
    packagetype = CharField(max_length=32)  # bdist_wheel, sdist; of imported files also bdist_egg …
    python_version = CharField(max_length=128)
    requires_python = CharField(max_length=255, default="")
    upload_time = TimeField(default=utcnow)
    uploaded_by = ForeignKeyField(User, null=True, on_delete="SET NULL")
    user_agent = CharField(max_length=255, default="")
    metadata_sha256 = FixedCharField(max_length=64, null=True)  # of the core metadata it serves
    yanked = BooleanField(default=False)
    yanked_reason = LongTextField(default="")

    class Meta:
        table_name = "files"

    @classmethod
    def of(cls, package: Package):
        """Query of a project's files, each with the version of its release.

        The descriptions of all releases could be more than there is memory.
        """
        columns = (cls, Release.id, Release.version)
        return cls.select(*columns).join(Release).where(Release.package == package)

    @classmethod
    def named(cls, filename: str) -> File:
        """The file of this name, with release and package.

        :raises NotFound: when there is none.
        """
        query = cls.select(cls, Release, Package).join(Release).join(Package)
        file = query.where(cls.filename == filename).first()
        if file is None:
            raise NotFound(f"There is no file {filename}.")
        return file


class Download(Table):
    """How often a file went out on a day (UTC), to one kind of client."""

    file = ForeignKeyField(File, backref="downloads", on_delete="CASCADE")
    file_id: IntegerField[int]
    day = DateField(index=True)
    client = CharField(max_length=32)  # pip, uv, …
    number = BigIntegerField()

    class Meta:
        table_name = "downloads"
        primary_key = CompositeKey("file", "day", "client")


class UsedFilename(Table):
    """A file name that was once taken: only the same bytes may come back under it."""

    filename = CharField(max_length=255, unique=True)
    sha256 = FixedCharField(max_length=64)

    class Meta:
        table_name = "used_filenames"


class Journal(Table):
    """What happened: append-only, names as text, so that it outlives what it tells of."""

    serial = BigIntegerField(index=True)
    at = TimeField(default=utcnow, index=True)
    who = CharField(max_length=128, index=True)
    token = CharField(max_length=100, default="")  # the name of the token that was used
    address = CharField(max_length=64, default="")
    action = CharField(max_length=32, index=True)
    package = CharField(max_length=200, default="", index=True)
    version = CharField(max_length=128, default="")
    filename = CharField(max_length=255, default="")
    detail = LongTextField(default="")

    class Meta:
        table_name = "journal"

    @classmethod
    def add(cls, serial: int, actor: Any, action: str, **what: str) -> None:
        """Writes down what the actor does in the transaction with this serial.

        :param what: package, version, filename and detail, as far as they apply.
        """
        cls.insert_row(
            serial=serial,
            who=actor.username,
            token=actor.token,
            address=actor.address,
            action=action,
            **what,
        )


class Failure(Table):
    """A wrong password or token, for throttling."""

    address = CharField(max_length=64)
    username = CharField(max_length=255)
    at = TimeField(default=utcnow, index=True)

    class Meta:
        table_name = "failures"
        indexes = ((("address", "username", "at"), False),)


TABLES = (
    Serial,
    User,
    Session,
    Token,
    Package,
    Maintainer,
    Release,
    Dependency,
    File,
    Download,
    UsedFilename,
    Journal,
    Failure,
)


class Turn:
    """A lock that threads hold in turn; none waits for it for ever.

    :raises Unavailable: when those before have not come to an end.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __enter__(self) -> None:
        if not self.lock.acquire(timeout=BUSY_TIMEOUT):
            raise Unavailable("Too many are waiting for the database.")

    def __exit__(self, *error: object) -> None:
        self.lock.release()


writers = Turn()  # SQLite's own waiting is by chance, and some wait very long


@contextmanager
def writing() -> Iterator[int]:
    """One transaction that changes something; yields its serial.

    The row of Serial is locked first, so that only one runs at a time in all processes and
    transactions become visible in the order of their serials. Keep it short, and put it into a
    function that is :func:`~extrapypi.database.retried`.
    """
    with writers, transaction():
        execute("UPDATE serial SET value = value + 1")
        yield fetch("SELECT value FROM serial")[0]


def folded(text: str) -> str:
    """The text without difference of case or width, in any script.

    The search compares only such texts: databases fold none but ASCII letters alike.
    """
    return unicodedata.normalize("NFKC", text).casefold()


def searchable(*texts: str) -> str:
    """The texts as the search looks into them, a line each."""
    return folded("\n".join(texts))[:LONGEST_SEARCHED]


@lru_cache(maxsize=2**16)
def version_key(version: str) -> tuple:
    """Sorts versions as PEP 440 does; what is no version comes before all that are."""
    try:
        return 1, Version(version), version
    except InvalidVersion:
        return 0, version, version


@lru_cache(maxsize=2**16)
def is_prerelease(version: str) -> bool:
    """Whether it is an alpha, beta, candidate or development version, or none at all."""
    try:
        return Version(version).is_prerelease
    except InvalidVersion:
        return True
