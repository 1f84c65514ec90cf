"""The dashboard's: rendered descriptions, and downloads by file, day and client."""

from peewee import (
    AutoField,
    BigIntegerField,
    CharField,
    CompositeKey,
    DateField,
    ForeignKeyField,
    Model,
)
from playhouse.migrate import migrate

from extrapypi.database import LongTextField


def up(migrator, db):
    columns = {column.name for column in db.get_columns("releases")}
    for name, field in (
        ("rendered", LongTextField(null=True)),
        ("rendered_by", CharField(max_length=64, null=True)),
        ("rendering_fault", LongTextField(null=True)),
    ):
        if name not in columns:  # an upgrade that broke off on MySQL left those before it
            migrate(migrator.add_column("releases", name, field))

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
