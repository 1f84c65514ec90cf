"""The dashboard's: rendered descriptions, downloads, a journal by person, and the search.

The downloads are by file, day and client; the search has columns of its own.
"""

import unicodedata

from packaging.version import InvalidVersion, Version
from peewee import (
    AutoField,
    BigIntegerField,
    CharField,
    CompositeKey,
    DateField,
    ForeignKeyField,
    IntegerField,
    Model,
)
from playhouse.migrate import migrate

from extrapypi.database import LongTextField


def up(migrator, db):
    for table, name, field in (
        ("releases", "rendered", LongTextField(null=True)),
        ("releases", "rendered_by", CharField(max_length=64, null=True)),
        ("releases", "rendering_fault", LongTextField(null=True)),
        ("packages", "latest_release_id", IntegerField(null=True)),
        ("packages", "latest_version", CharField(max_length=128, null=True)),
        ("packages", "search_text", LongTextField(null=True)),
        ("packages", "search_author", LongTextField(null=True)),
    ):
        # An upgrade that broke off on MySQL left those before it.
        if name not in {column.name for column in db.get_columns(table)}:
            migrate(migrator.add_column(table, name, field))

    indexed = {index.columns[0] for index in db.get_indexes("journal")}
    for column in ("who", "action"):
        if column not in indexed:
            migrate(migrator.add_index("journal", (column,)))

    indexes = {tuple(index.columns): index.name for index in db.get_indexes("dependencies")}
    if ("normalized_name", "release_id") not in indexes:
        migrate(migrator.add_index("dependencies", ("normalized_name", "release_id")))
    if ("normalized_name",) in indexes:
        migrate(migrator.drop_index("dependencies", indexes["normalized_name",]))

    class File(Model):
        id = AutoField()

        class Meta:
            database = db
            table_name = "files"

    class Download(Model):
        file = ForeignKeyField(File, on_delete="CASCADE")
        day = DateField(index=True)
        client = CharField(max_length=32)
        number = BigIntegerField()

        class Meta:
            database = db
            table_name = "downloads"
            primary_key = CompositeKey("file", "day", "client")

    db.create_tables([Download])
    fill_packages(db)


def fill_packages(db):
    """Fills the new columns of the packages, from the latest release of each."""
    yanked = db.execute_sql("SELECT release_id, yanked FROM files").fetchall()
    offered = {release for release, is_yanked in yanked if not is_yanked}
    withdrawn = {release for release, _ in yanked} - offered
    latest: dict = {}
    for release, package, version in db.execute_sql(
        "SELECT id, package_id, version FROM releases"
    ).fetchall():
        key = (release not in withdrawn, *order(version))
        latest[package] = max(latest.get(package, (key, release)), (key, release))

    class Package(Model):
        name = CharField(max_length=200)
        normalized_name = CharField(max_length=200)
        latest_release_id = IntegerField(null=True)
        latest_version = CharField(max_length=128, null=True)
        search_text = LongTextField(null=True)
        search_author = LongTextField(null=True)

        class Meta:
            database = db
            table_name = "packages"

    class Release(Model):
        version = CharField(max_length=128)
        summary = CharField(max_length=512)
        keywords = LongTextField()
        author = LongTextField()
        author_email = LongTextField()
        maintainer = LongTextField()
        maintainer_email = LongTextField()

        class Meta:
            database = db
            table_name = "releases"

    for package in list(Package.select()):
        if package.id in latest:
            release = Release.get_by_id(latest[package.id][1])
            package.latest_release_id, package.latest_version = release.id, release.version
            package.search_text = searchable(
                package.name, package.normalized_name, release.summary, release.keywords
            )
            package.search_author = searchable(
                release.author,
                release.author_email,
                release.maintainer,
                release.maintainer_email,
            )
            package.save()


def order(version):
    """Stable versions after pre-releases, each as PEP 440 has them; no versions at all first."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return False, 0, version
    return not parsed.is_prerelease, 1, parsed


def searchable(*texts):
    """The texts without difference of case or width, a line each."""
    return unicodedata.normalize("NFKC", "\n".join(texts)).casefold()[:10_000]
