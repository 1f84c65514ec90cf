"""For large indexes: what pages would have to count, indexes to sort by, and one of texts."""

from contextlib import suppress
from datetime import datetime, timedelta, timezone

import peewee
from playhouse.migrate import migrate

ADDED = {  # table -> columns; all are numbers
    "packages": (
        "release_count INTEGER",
        "file_count INTEGER",
        "offered_count INTEGER",
        "total_size BIGINT",
        "recent_downloads BIGINT",
    ),
    "serial": ("projects BIGINT", "releases BIGINT", "files BIGINT", "size BIGINT"),
}
INDEXED = (
    *(("status",), ("latest_release_id",), ("last_serial", "id"), ("file_count", "id")),
    *(("total_size", "id"), ("recent_downloads", "id")),
)
FILES = "FROM files f JOIN releases r ON r.id = f.release_id WHERE r.package_id = packages.id"
FILL_PACKAGES = f"""
    UPDATE packages SET
        release_count = (SELECT COUNT(*) FROM releases r WHERE r.package_id = packages.id),
        file_count = (SELECT COUNT(*) {FILES}),
        offered_count = (SELECT COUNT(*) {FILES} AND NOT f.yanked),
        total_size = (SELECT COALESCE(SUM(f.size), 0) {FILES}),
        recent_downloads = (
            SELECT COALESCE(SUM(d.number), 0)
            FROM downloads d JOIN files f ON f.id = d.file_id JOIN releases r ON r.id = f.release_id
            WHERE r.package_id = packages.id AND d.day > ?)"""
FILL_SERIAL = """
    UPDATE serial SET
        projects = (SELECT COUNT(*) FROM packages WHERE release_count > 0),
        releases = (SELECT COUNT(*) FROM releases),
        files = (SELECT COUNT(*) FROM files),
        size = (SELECT COALESCE(SUM(total_size), 0) FROM packages)"""
# On SQLite, triggers keep an index of all that has three letters in a row. Two blanks behind a
# text let each of its letters begin such a trigram, so that words of one or two are found, too.
NEW = """
    INSERT INTO packages_texts (rowid, search_text, search_author)
    SELECT new.id, new.search_text || '  ', new.search_author || '  '
    WHERE new.search_text IS NOT NULL"""
OLD = """
    INSERT INTO packages_texts (packages_texts, rowid, search_text, search_author)
    SELECT 'delete', old.id, old.search_text || '  ', old.search_author || '  '
    WHERE old.search_text IS NOT NULL"""
TRIGRAMS_OF_SQLITE = (
    "DROP TABLE IF EXISTS packages_trigrams",
    "DROP TABLE IF EXISTS packages_texts",
    """CREATE VIRTUAL TABLE packages_texts USING fts5 (
        search_text, search_author, content='', columnsize=0, tokenize='trigram case_sensitive 1')
    """,
    "CREATE VIRTUAL TABLE packages_trigrams USING fts5vocab (packages_texts, 'instance')",
    f"CREATE TRIGGER packages_added AFTER INSERT ON packages BEGIN {NEW}; END",
    f"CREATE TRIGGER packages_removed AFTER DELETE ON packages BEGIN {OLD}; END",
    f"""
    CREATE TRIGGER packages_changed AFTER UPDATE OF search_text, search_author ON packages
    WHEN old.search_text IS NOT new.search_text OR old.search_author IS NOT new.search_author
    BEGIN {OLD}; {NEW}; END""",
    """
    INSERT INTO packages_texts (rowid, search_text, search_author)
    SELECT id, search_text || '  ', search_author || '  ' FROM packages
    WHERE search_text IS NOT NULL""",
    "INSERT INTO packages_texts (packages_texts) VALUES ('optimize')",
)
TRIGRAMS_OF_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """CREATE INDEX packages_texts ON packages
       USING gin (search_text gin_trgm_ops, search_author gin_trgm_ops)""",
)


def up(migrator, db):
    for table, columns in ADDED.items():
        # An upgrade that broke off on MySQL left those before it.
        there = {column.name for column in db.get_columns(table)}
        for column in columns:
            if column.partition(" ")[0] not in there:
                db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {column} NOT NULL DEFAULT 0")
    a_month_ago = datetime.now(timezone.utc).date() - timedelta(days=30)
    db.execute_sql(FILL_PACKAGES.replace("?", db.param), (a_month_ago,))
    db.execute_sql(FILL_SERIAL)
    indexes = {tuple(index.columns) for index in db.get_indexes("packages")}
    for columns in INDEXED:
        if columns not in indexes:
            migrate(migrator.add_index("packages", columns))
    index_texts(db)


def index_texts(db):
    """Makes an index for the search where the database has one that finds parts of words."""
    if isinstance(db, peewee.SqliteDatabase) and has_trigrams(db):
        for statement in TRIGRAMS_OF_SQLITE:
            db.execute_sql(statement)
    elif isinstance(db, peewee.PostgresqlDatabase):
        # Names in the order of their bytes, as on the other two, so that the index serves it.
        db.execute_sql('ALTER TABLE packages ALTER normalized_name TYPE VARCHAR(200) COLLATE "C"')
        with suppress(peewee.DatabaseError), db.atomic():  # who may not, searches more slowly
            for statement in TRIGRAMS_OF_POSTGRESQL:
                db.execute_sql(statement)


def has_trigrams(db):
    """Whether this SQLite was built with FTS5, and is not older than its trigrams."""
    options = {option for (option,) in db.execute_sql("PRAGMA compile_options").fetchall()}
    return db.server_version >= (3, 34) and "ENABLE_FTS5" in options
