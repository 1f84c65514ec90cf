"""The first schema: all tables, as they were in version 1.0."""

from peewee import (
    BigIntegerField,
    BooleanField,
    CharField,
    CompositeKey,
    FixedCharField,
    ForeignKeyField,
    Model,
)

from extrapypi.database import JSONTextField, LongTextField, TimeField


def up(migrator, db):
    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Package(Table):
        name = CharField(max_length=200)
        normalized_name = CharField(unique=True, max_length=200)
        summary = CharField(max_length=512, default="")
        status = CharField(max_length=16, default="active")
        status_reason = LongTextField(default="")
        created_at = TimeField()
        updated_at = TimeField()
        last_serial = BigIntegerField(default=0)

        class Meta:
            table_name = "packages"

    class Release(Table):
        package = ForeignKeyField(Package, on_delete="CASCADE")
        version = CharField(max_length=128)
        canonical_version = CharField(max_length=128)
        summary = CharField(max_length=512, default="")
        description = LongTextField(default="")
        description_content_type = CharField(default="")
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
        requires_python = CharField(default="")
        requires_dist = JSONTextField(default=list)
        provides_extra = JSONTextField(default=list)
        project_urls = JSONTextField(default=dict)
        home_page = LongTextField(default="")
        download_url = LongTextField(default="")
        dynamic = JSONTextField(default=list)
        created_at = TimeField()
        updated_at = TimeField()

        class Meta:
            table_name = "releases"
            indexes = ((("package", "canonical_version"), True),)

    class Dependency(Table):
        release = ForeignKeyField(Release, on_delete="CASCADE")
        normalized_name = CharField(index=True, max_length=200)
        specifier = LongTextField(default="")
        marker = LongTextField(default="")
        extra = CharField(max_length=200, default="")

        class Meta:
            table_name = "dependencies"

    class Failure(Table):
        address = CharField(max_length=64)
        username = CharField()
        at = TimeField(index=True)

        class Meta:
            table_name = "failures"
            indexes = ((("address", "username", "at"), False),)

    class User(Table):
        username = CharField(max_length=128)
        username_key = CharField(unique=True)
        email = CharField(max_length=254)
        email_key = CharField(unique=True, max_length=254)
        password_hash = CharField(max_length=128)
        default_password = BooleanField(default=False)
        role = CharField(max_length=16)
        is_active = BooleanField(default=True)
        created_at = TimeField()
        last_login_at = TimeField(null=True)

        class Meta:
            table_name = "users"

    class File(Table):
        release = ForeignKeyField(Release, on_delete="CASCADE")
        filename = CharField(unique=True)
        location = LongTextField()
        size = BigIntegerField()
        md5 = FixedCharField(max_length=32)
        sha256 = FixedCharField(max_length=64)
        blake2b_256 = FixedCharField(max_length=64)
        packagetype = CharField(max_length=32)
        python_version = CharField(max_length=128)
        requires_python = CharField(default="")
        upload_time = TimeField()
        uploaded_by = ForeignKeyField(User, null=True, on_delete="SET NULL")
        user_agent = CharField(default="")
        metadata_sha256 = FixedCharField(null=True, max_length=64)
        yanked = BooleanField(default=False)
        yanked_reason = LongTextField(default="")

        class Meta:
            table_name = "files"

    class Journal(Table):
        serial = BigIntegerField(index=True)
        at = TimeField(index=True)
        who = CharField(max_length=128)
        token = CharField(max_length=100, default="")
        address = CharField(max_length=64, default="")
        action = CharField(max_length=32)
        package = CharField(index=True, max_length=200, default="")
        version = CharField(max_length=128, default="")
        filename = CharField(default="")
        detail = LongTextField(default="")

        class Meta:
            table_name = "journal"

    class Maintainer(Table):
        package = ForeignKeyField(Package, on_delete="CASCADE")
        user = ForeignKeyField(User, on_delete="CASCADE")

        class Meta:
            table_name = "maintainers"
            primary_key = CompositeKey("package", "user")

    class Serial(Table):
        value = BigIntegerField(default=0)

        class Meta:
            table_name = "serial"

    class Session(Table):
        user = ForeignKeyField(User, on_delete="CASCADE")
        token_sha256 = FixedCharField(unique=True, max_length=64)
        created_at = TimeField()
        last_seen_at = TimeField()
        expires_at = TimeField()
        address = CharField(max_length=64)
        browser = CharField()

        class Meta:
            table_name = "sessions"

    class Token(Table):
        user = ForeignKeyField(User, on_delete="CASCADE")
        name = CharField(max_length=100)
        scope = CharField(max_length=16)
        packages = JSONTextField(null=True)
        secret_sha256 = FixedCharField(unique=True, max_length=64)
        created_at = TimeField()
        expires_at = TimeField(null=True)
        last_used_at = TimeField(null=True)
        last_used_from = CharField(null=True, max_length=64)
        revoked_at = TimeField(null=True)

        class Meta:
            table_name = "tokens"

    class UsedFilename(Table):
        filename = CharField(unique=True)
        sha256 = FixedCharField(max_length=64)

        class Meta:
            table_name = "used_filenames"

    db.create_tables(
        [
            Package,
            Release,
            Dependency,
            Failure,
            User,
            File,
            Journal,
            Maintainer,
            Serial,
            Session,
            Token,
            UsedFilename,
        ]
    )
    if not Serial.select().exists():
        Serial.create(value=0)
