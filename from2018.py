"""Accounts and maintainers of extrapypi 0.4 and older, the program of 2018, from its database.

Its tables (github karec/extrapypi, SQLAlchemy): user, with a hash by passlib's custom_app_context
(SHA-crypt); package; and package_maintainers between them. It is read and never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import peewee
from packaging.utils import canonicalize_name
from tqdm import tqdm

from extrapypi import accounts, packages, passwords
from extrapypi.auth import Actor
from extrapypi.config import Config, without_password
from extrapypi.database import retried, tuples
from extrapypi.engines import database_at
from extrapypi.errors import InvalidInput, Unavailable
from extrapypi.importing import Summary
from extrapypi.models import ROLES, Maintainer, Package, User, writing

READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}
DEFAULTS = {"admin": "admin", "installer": "pip"}  # role -> the password that its `init` gave it


class OldUser(peewee.Model):
    """An account as it was kept; a null role may do nothing."""

    id: peewee.AutoField[int]
    username = peewee.CharField()
    email = peewee.CharField()
    password_hash = peewee.CharField()
    is_active = peewee.BooleanField(null=True)
    role = peewee.CharField(null=True)

    class Meta:
        table_name = "user"


class OldPackage(peewee.Model):
    """A project as it was kept."""

    id: peewee.AutoField[int]
    name = peewee.CharField()
    created_at = peewee.DateTimeField(null=True)  # UTC, naive

    class Meta:
        table_name = "package"


class OldMaintainer(peewee.Model):
    """A user who is listed as maintainer of a project; the table has no key."""

    package = peewee.ForeignKeyField(OldPackage, null=True)
    user = peewee.ForeignKeyField(OldUser, null=True)

    class Meta:
        table_name = "package_maintainers"
        primary_key = False


@dataclass
class OldProject:
    """A project as far as it is taken over: since when it was there, who maintained it."""

    created_at: datetime | None
    usernames: list[str] = field(default_factory=list)


def read(url: str) -> tuple[list[OldUser], dict[str, OldProject]]:
    """The accounts of a database of 2018, and its projects by normalized name.

    :raises ConfigError: for a malformed URL, or one whose driver is not installed.
    :raises InvalidInput: for another database.
    :raises Unavailable: when it cannot be read.
    """
    projects: dict[str, OldProject] = {}
    with opened(Config({"DATABASE_URL": url}).DATABASE_URL):
        users = list(OldUser.select().order_by(OldUser.id))
        columns = OldPackage.name, OldPackage.created_at, OldUser.username
        listed = OldPackage.select(*columns).join(OldMaintainer, peewee.JOIN.LEFT_OUTER)
        rows = listed.join(OldUser, peewee.JOIN.LEFT_OUTER).order_by(OldPackage.id)
        for name, created_at, username in tuples(rows):
            in_utc = isinstance(created_at, datetime) and created_at.replace(tzinfo=timezone.utc)
            project = projects.setdefault(canonicalize_name(name), OldProject(in_utc or None))
            project.usernames += [username] if username else []
    return users, projects


@contextmanager
def opened(url: str) -> Iterator[None]:
    """The models of this module on the database at the URL, which takes no changes."""
    scheme, _, path = url.partition("://")
    if scheme == "sqlite":
        uri = Path(path.removeprefix("/")).as_uri() + "?mode=ro"
        old: peewee.Database = peewee.SqliteDatabase(uri, uri=True)
    else:
        old = database_at(url)
    shown = without_password(url)
    try:
        with old.connection_context(), old.bind_ctx([OldUser, OldPackage, OldMaintainer]):
            old.execute_sql(READ_ONLY[scheme])
            if not {"user", "package", "package_maintainers"} <= set(old.get_tables()):
                raise InvalidInput(
                    f"{shown} is no database of extrapypi 0.4 or older: those have the tables "
                    "user, package and package_maintainers."
                )
            yield
    except peewee.PeeweeException as error:
        raise Unavailable(f"The database {shown} cannot be read:") from error
    finally:
        if hasattr(old, "close_idle"):
            old.close_idle()


def take_accounts(actor: Actor, users: list[OldUser]) -> Summary:
    """Creates those accounts whose names are not taken here, with role, state and password.

    Their hashes are as they were, and are replaced by bcrypt's at the first login.

    :raises ConfigError: when the library that checks such hashes is not installed.
    """
    passwords.sha_crypt()
    here = {key for (key,) in tuples(User.select(User.username_key))}
    told = tqdm(users, desc="accounts", unit="account", disable=None)
    marked = [(user, user.username.casefold() not in here and has_default(user)) for user in told]
    return add_accounts(actor, marked)


def has_default(user: OldUser) -> bool:
    """Whether its password is the one that all know; that takes half a second.

    Other hashes than those of 2018 are not checked: they could be malformed, or take days.
    """
    default = DEFAULTS.get(user.role or "")
    return default is not None and passwords.matches_sha_crypt(default, user.password_hash)


@retried
def add_accounts(actor: Actor, users: list[tuple[OldUser, bool]]) -> Summary:
    """The transaction of :func:`take_accounts`."""
    summary = Summary()
    with writing() as serial:
        for user, is_default in users:
            with summary.skipping(f"the account {user.username}"):
                add_account(serial, actor, user, is_default, summary)
    return summary


def add_account(
    serial: int, actor: Actor, user: OldUser, is_default: bool, summary: Summary
) -> None:
    """Creates an account unless its name is taken; InvalidInput when it breaks a rule here."""
    role = user.role if user.role in ROLES else "installer"
    accounts.check_account(user.username, user.email, role)
    if User.select().where(User.username_key == user.username.casefold()).exists():
        summary.notes.append(f"The user {user.username} is here already and stays as it is.")
        summary.count(is_new=False)
        return
    if not passwords.is_sha_crypt(user.password_hash):
        raise InvalidInput("The hash of its password is none that extrapypi 0.4 made.")
    fields = user.username, user.email, role, user.password_hash, is_default, bool(user.is_active)
    accounts.add_user(serial, actor, *fields)
    summary.count(is_new=True)
    if role != user.role:
        told = f"The user {user.username} had the role {user.role!r}, which there is not,"
        summary.notes.append(f"{told} and is an installer now.")


@retried
def take_maintainers(actor: Actor, projects: dict[str, OldProject]) -> Summary:
    """Lists the maintainers of the projects that are here, as far as they have an account here.

    The projects get the time at which they were created, too. Counted are projects: those that
    got something, those that had it already; the others are named.
    """
    summary = Summary()
    with writing() as serial:
        for name, project in projects.items():
            package = Package.get_or_none(Package.normalized_name == name)
            if package is None:
                summary.notes.append(f"The project {name} is not here yet.")
            else:
                summary.count(complete(serial, actor, package, project))
    return summary


def complete(serial: int, actor: Actor, package: Package, project: OldProject) -> bool:
    """Gives a project its maintainers and its age; False when it had both."""
    is_older = project.created_at is not None and project.created_at < package.created_at
    if is_older:
        package.created_at = project.created_at
        package.save(only=["created_at"])
        package.touch(serial)
    keys = {username.casefold() for username in project.usernames}
    listed = Maintainer.select(Maintainer.user).where(Maintainer.package == package)
    missing = User.select().where(User.username_key.in_(keys), User.id.not_in(listed))
    usernames = [user.username for user in missing]
    for username in usernames:
        packages.set_maintainer(actor, package.name, username)
    return is_older or bool(usernames)
