"""What the commands do: one function a command; :mod:`extrapypi.commandline` has their names.

Each returns its exit status; None is 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from extrapypi import (
    accounts,
    backup,
    checking,
    database,
    doctor,
    from2018,
    importing,
    mending,
    models,
    outside,
    packages,
    restoring,
    schema,
)
from extrapypi.auth import Actor
from extrapypi.config import Config, without_password
from extrapypi.errors import ConfigError, InvalidInput, Unavailable
from extrapypi.otherindex import OtherIndex
from extrapypi.starting import COMMAND_LINE, asked, load
from extrapypi.storage import BaseStorage, get_store


def create_user(arguments: argparse.Namespace, settings: Config) -> None:
    """Creates an account, an admin's without --role."""
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
    users = sorted(models.User.select(), key=lambda user: user.username_key)
    if arguments.json:
        told_as_json(
            {
                "username": user.username,
                "role": user.role,
                "active": user.is_active,
                "email": user.email,
                "last_seen": user.last_login_at,
            }
            for user in users
        )
        return
    for user in users:
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
    if arguments.json:
        print_json({**described(token), "secret": secret})
        return
    print(secret)
    what = f"Token {token.id}: scope {token.scope}, {', '.join(token.packages or ['all projects'])}"
    print(f"{what}. Use it as the password of the user __token__.", file=sys.stderr)


def token_list(arguments: argparse.Namespace, settings: Config) -> None:
    """Lists the tokens: number, owner, name, scope, projects, state, last used."""
    tokens = models.Token.select(models.Token, models.User).join(models.User)
    if arguments.json:
        told_as_json(described(token) for token in tokens)
        return
    for token in tokens:
        state = state_of(token)
        what = ",".join(token.packages or ["all"])
        last = moment(token.last_used_at)
        print(token.id, token.user.username, token.name, token.scope, what, state, last, sep="\t")


def state_of(token: models.Token) -> str:
    """Whether a token is usable, revoked or expired."""
    return "revoked" if token.revoked_at else "usable" if token.is_usable else "expired"


def described(token: models.Token) -> dict[str, Any]:
    """A token as JSON tells of it; the packages are null when it is for all."""
    return {
        "number": token.id,
        "username": token.user.username,
        "name": token.name,
        "scope": token.scope,
        "packages": token.packages or None,
        "state": state_of(token),
        "expires": token.expires_at,
        "last_used": token.last_used_at,
    }


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
    """Takes over distributions from folders, from another index, or from the storage itself.

    Wheels and sdists are copied in, with their times, those of another index with their yank state
    and the project's status, too; files that lie in the storage move to their place. What is here
    already is left alone, so it may be repeated, and goes on where it was broken off. --from-2018
    takes over accounts with their passwords, and the maintainers of the projects that are here.
    Exit status 1 when something was skipped, with the reason.
    """
    if "" in arguments.path:
        raise InvalidInput("An empty path is no folder; write . for this one.")
    if arguments.project and not arguments.index_url:
        raise InvalidInput("--project needs --index-url, from which the project is taken.")
    done = []
    if arguments.from_2018:
        users, projects = from2018.read(arguments.from_2018)
        done.append(("Accounts", from2018.take_accounts(COMMAND_LINE, users)))
        told(*done[-1])
    if arguments.path or arguments.index_url or not arguments.from_2018:
        done.append(("Files", importing.Summary()))
        try:
            import_into(done[-1][1], arguments, settings)
        except (Unavailable, KeyboardInterrupt):
            print("Broken off; the same command goes on where it ended.", file=sys.stderr)
            raise
        finally:
            told(*done[-1])
    if arguments.from_2018:
        done.append(("Maintainers", from2018.take_maintainers(COMMAND_LINE, projects)))
        told(*done[-1])
    return 1 if any(summary.bad for _, summary in done) else 0


def import_into(
    summary: importing.Summary, arguments: argparse.Namespace, settings: Config
) -> None:
    """Imports the files that the arguments of `import` name."""
    storage = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    user = models.User.named(arguments.user)
    actor = Actor(username=user.username, role=user.role, user_id=user.id)
    actor.check("maintainer")
    if arguments.path or not arguments.index_url:
        importing.import_folders(storage, actor, arguments.path or storage.folders, summary)
    if arguments.index_url:
        with OtherIndex(arguments.index_url) as index:
            limit = settings.MAX_UPLOAD_SIZE
            importing.import_index(storage, actor, index, arguments.project, limit, summary)


def told(what: str, summary: importing.Summary) -> None:
    """Prints what an import did: reasons to stderr, figures to stdout."""
    for note in summary.notes:
        print(note, file=sys.stderr)
    for name, reason in summary.bad:
        print(f"Skipped {name}: {reason}", file=sys.stderr)
    figures = f"{summary.added} added, {summary.known} there already, {len(summary.bad)} skipped"
    print(f"{what}: {figures}.")


def db_status(arguments: argparse.Namespace) -> int:
    """Lists the migrations: name, when applied. Exit status 1 when some are pending."""
    load()
    rows = schema.status()
    status = 0 if all(applied for _, applied, _ in rows) else 1
    if arguments.json:
        names = ("name", "applied", "known")
        told_as_json(dict(zip(names, row, strict=True)) for row in rows)
        return status
    for name, applied, known in rows:
        print(name, moment(applied) if applied else "pending", "" if known else "unknown here")
    return status


def db_upgrade(arguments: argparse.Namespace) -> None:
    """Brings the tables up to date."""
    load()
    names = schema.upgrade()
    print(f"Applied {', '.join(names)}." if names else "The tables are up to date.")


def check(arguments: argparse.Namespace, settings: Config) -> int:
    """Compares database and storage; exit status 1 when they differ.

    It may run while the index is served, and changes nothing without --repair. That puts back
    bytes that lie elsewhere in the storage, makes core metadata again, and moves what does not
    belong there to the folder .aside; nothing is deleted. What it cannot mend leaves status 1.
    """
    storage = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    faults = list(checking.check(storage, arguments.deep))
    if arguments.json:
        return check_as_json(storage, faults, arguments.repair)
    if not arguments.repair:
        for fault in faults:
            print(fault)
        print(f"Files: {models.File.select().count()}, faults: {len(faults)}.")
        return 1 if faults else 0
    mended = 0
    for fault, done in mending.repair(storage, COMMAND_LINE, faults):
        print(f"mended: {done}" if done else fault)
        mended += bool(done)
    print(f"Files: {models.File.select().count()}, faults: {len(faults)}, mended: {mended}.")
    return 0 if mended == len(faults) else 1


def check_as_json(storage: BaseStorage, faults: list[checking.Fault], repairs: bool) -> int:
    """Prints what `check` found and mended; its exit status."""
    done = dict.fromkeys(faults, "")
    if repairs:
        done = dict(mending.repair(storage, COMMAND_LINE, faults))
    told = [
        {"kind": fault.kind, "text": fault.text, "mended": done[fault] or None} for fault in done
    ]
    print_json({"files": models.File.select().count(), "faults": told})
    return 0 if all(done.values()) else 1


def diagnose(arguments: argparse.Namespace) -> int:
    """Says what is wrong with this installation, and how to mend it.

    It looks at configuration, permissions, database, storage and clocks. With --url it also asks
    the running server, as pip and uv do: its links behind a proxy, its answers to the credentials
    of --user and --password. Exit status 1 when something is wrong.
    """
    if arguments.url:
        password = asked(arguments.password or "")
        server = outside.Running(arguments.url, arguments.user, password)
    try:
        findings = list(doctor.local(load()))
    except ConfigError as error:
        findings = [doctor.Finding("configuration", False, str(error))]
    finally:
        database.close()
    if arguments.url:
        findings += server.findings()
    if arguments.json:
        names = ("subject", "ok", "text")
        told_as_json(dict(zip(names, each, strict=True)) for each in findings)
    else:
        print(*findings, sep="\n")
    return 0 if all(each.is_ok for each in findings) else 1


def told_as_json(rows: Iterable[dict[str, Any]]) -> None:
    """Prints a list of objects."""
    print_json(list(rows))


def print_json(value: Any) -> None:
    """Prints a value as JSON; times as ISO 8601, in UTC."""
    print(json.dumps(value, indent=2, default=datetime.isoformat))


def back_up(arguments: argparse.Namespace, settings: Config) -> int:
    """Copies the whole index into a folder, while it is served.

    DEST is a new or empty folder, or an earlier backup, which is brought up to date; one that was
    broken off is completed. It holds everything but SECRET_KEY, sessions and failed logins, and is
    for its owner only. Exit status 1 when the storage did not have a file as listed.
    """
    storage = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    manifest = backup.back_up(storage, arguments.folder)
    for path in manifest["missing"]:
        print(f"missing: {path} is not in the storage as listed; see `check`.", file=sys.stderr)
    print(f"{arguments.folder} has {contents(manifest)}.")
    return 1 if manifest["missing"] else 0


def restore(arguments: argparse.Namespace) -> int:
    """Fills an empty server from a backup, on any database and storage.

    It makes the tables itself: run it in place of `init`, with DATABASE_URL and STORAGE of the new
    server. It may be repeated when it was broken off. Accounts, passwords and tokens are those of
    the backup. Exit status 1 when the backup lacks a file that was lost before.
    """
    settings = load()
    storage = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    with database.connection():
        manifest = restoring.restore(storage, arguments.folder)
    for path in manifest["missing"]:
        print(f"missing: {path} is not in the backup; see `check`.", file=sys.stderr)
    where = without_password(settings.DATABASE_URL)
    print(f"{where}, {settings.STORAGE} has {contents(manifest)}.")
    return 1 if manifest["missing"] else 0


def contents(manifest: dict[str, Any]) -> str:
    """What a backup has, in numbers."""
    rows = {name: table["rows"] for name, table in manifest["tables"].items()}
    names = ("packages", "releases", "files", "users")
    counts = ", ".join(f"{rows.get(name, 0)} {name}" for name in names)
    return f"{counts}, serial {manifest['serial']}"


def moment(time: object) -> str:
    """A time as a list shows it."""
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "never"
