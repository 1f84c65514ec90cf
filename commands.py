"""What the commands do: one function a command; :mod:`extrapypi.commandline` has their names.

Each returns its exit status; None is 0.
"""

from __future__ import annotations

import argparse
import sys

from extrapypi import accounts, database, importing, models, packages, transfer
from extrapypi.auth import Actor
from extrapypi.config import Config
from extrapypi.errors import InvalidInput
from extrapypi.starting import COMMAND_LINE, asked, load
from extrapypi.storage import get_store


def create_user(arguments: argparse.Namespace, settings: Config) -> None:
    """Creates an account."""
    password = asked(arguments.password)
    accounts.create_user(
        COMMAND_LINE, arguments.username, password, arguments.email, arguments.role
    )
    print(f"Created the user {arguments.username}, role {arguments.role}.")


def set_password(arguments: argparse.Namespace, settings: Config) -> None:
    """Changes a password and ends the user's browser sessions.

    The old password is of no use from the next request on; tokens stay as they are.
    """
    accounts.set_password(COMMAND_LINE, arguments.username, asked(arguments.password))
    print(f"Changed the password of {arguments.username}.")


def list_users(arguments: argparse.Namespace, settings: Config) -> None:
    """Lists the accounts: name, role, state, e-mail address, last seen."""
    for user in sorted(models.User.select(), key=lambda user: user.username_key):
        state = "active" if user.is_active else "inactive"
        print(user.username, user.role, state, user.email, moment(user.last_login_at), sep="\t")


def delete_user(arguments: argparse.Namespace, settings: Config) -> None:
    """Deletes an account, with its tokens; its files and its lines in the journal stay."""
    accounts.delete_user(COMMAND_LINE, arguments.username)
    print(f"Deleted the user {arguments.username}.")


def token_create(arguments: argparse.Namespace, settings: Config) -> None:
    """Creates a token and prints its secret, this once.

    It is the password of the user __token__ for twine, uv and pip, and never gives more than the
    role that its owner has at the moment.
    """
    token, secret = accounts.create_token(
        COMMAND_LINE,
        arguments.username,
        arguments.name,
        arguments.scope,
        arguments.package,
        arguments.expires,
    )
    print(secret)
    what = f"Token {token.id}: scope {token.scope}, {', '.join(token.packages or ['all projects'])}"
    print(f"{what}. Use it as the password of the user __token__.", file=sys.stderr)


def token_list(arguments: argparse.Namespace, settings: Config) -> None:
    """Lists the tokens: number, owner, name, scope, projects, state, last used."""
    for token in models.Token.select(models.Token, models.User).join(models.User):
        state = "revoked" if token.revoked_at else "usable" if token.is_usable else "expired"
        what = ",".join(token.packages or ["all"])
        last = moment(token.last_used_at)
        print(token.id, token.user.username, token.name, token.scope, what, state, last, sep="\t")


def token_revoke(arguments: argparse.Namespace, settings: Config) -> None:
    """Makes a token useless."""
    token = accounts.revoke_token(COMMAND_LINE, arguments.number)
    print(f"Revoked the token {token.id} ({token.name}).")


def yank(arguments: argparse.Namespace, settings: Config) -> None:
    """Yanks a release, so that only those who pin it get it, or takes that back.

    Its files stay where they are (PEP 592). Installers show the reason.
    """
    names = packages.yank(
        COMMAND_LINE, arguments.project, arguments.version, arguments.reason, arguments.undo
    )
    print("Un-yanked" if arguments.undo else "Yanked", ", ".join(names) + ".")


def delete(arguments: argparse.Namespace, settings: Config) -> None:
    """Deletes a project, a release or a file, for good.

    A release or project goes with its last file. Only the same bytes may come back under a name
    that was used; to take a release out of use, rather yank it.
    """
    what = " ".join(filter(None, (arguments.project, arguments.version, arguments.filename)))
    if not arguments.yes and not confirmed(f"Delete {what} for good? Type yes: "):
        raise InvalidInput("Nothing was deleted; --yes does not ask.")
    storage = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    names = packages.delete(
        storage, COMMAND_LINE, arguments.project, arguments.version, arguments.filename
    )
    print("Deleted", ", ".join(names) + ".")


def confirmed(question: str) -> bool:
    """Whether the question was answered with yes; without a terminal it is not."""
    try:
        return input(question) == "yes"
    except EOFError:
        print()
        return False


def status(arguments: argparse.Namespace, settings: Config) -> None:
    """Marks a project as active, archived, deprecated or quarantined.

    An archived project takes no uploads; one in quarantine offers no files, either (PEP 792).
    """
    packages.set_status(COMMAND_LINE, arguments.project, arguments.status, arguments.reason)
    print(f"{arguments.project} is now {arguments.status}.")


def import_files(arguments: argparse.Namespace, settings: Config) -> int:
    """Registers distributions that lie in folders, or in the storage itself.

    Wheels and sdists are copied in, with their times; those that lie in the storage move to their
    place. What is there already is left alone, so it may be repeated. Exit status 1 when an archive
    was skipped, with the reason.
    """
    if "" in arguments.path:
        raise InvalidInput("An empty path is no folder; write . for this one.")
    storage = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    user = models.User.named(arguments.user)
    actor = Actor(username=user.username, role=user.role, user_id=user.id)
    summary = importing.import_folders(storage, actor, arguments.path or storage.folders)
    for path, reason in summary.bad:
        print(f"Skipped {path}: {reason}", file=sys.stderr)
    print(f"{summary.added} added, {summary.known} there already, {len(summary.bad)} skipped.")
    return 1 if summary.bad else 0


def db_status(arguments: argparse.Namespace) -> int:
    """Lists the migrations: name, when applied. Exit status 1 when some are pending."""
    load()
    rows = database.schema_status()
    for name, applied, known in rows:
        print(name, moment(applied) if applied else "pending", "" if known else "unknown here")
    return 0 if all(applied for _, applied, _ in rows) else 1


def db_upgrade(arguments: argparse.Namespace) -> None:
    """Brings the tables up to date."""
    load()
    names = database.upgrade_schema()
    print(f"Applied {', '.join(names)}." if names else "The tables are up to date.")


def check(arguments: argparse.Namespace, settings: Config) -> int:
    """Compares database and storage; exit status 1 when they differ.

    It changes nothing, and may run while the index is served.
    """
    storage = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    faults = list(transfer.check(storage, arguments.deep))
    for fault in faults:
        print(fault)
    print(f"Files: {models.File.select().count()}, faults: {len(faults)}.")
    return 1 if faults else 0


def moment(time: object) -> str:
    """A time as a list shows it."""
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "never"
