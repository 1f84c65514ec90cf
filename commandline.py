"""The command line: names, arguments and help of the commands.

Errors go to stderr as one sentence, with exit status 1; wrong usage has 2.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import peewee

from extrapypi import __version__, commands, database, schema, starting
from extrapypi.errors import ExtraPyPIError
from extrapypi.models import ROLES, STATUSES, Token

EPILOG = f"""\
first steps, with everything below the platform's folder for user data:
  extrapypi run

with a configuration of your own:
  extrapypi start --filename /srv/pypi/config.py
  export EXTRAPYPI_CONFIG=/srv/pypi/config.py
  {starting.INIT}
  extrapypi run
"""


def argument(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """One argument, as argparse takes it."""
    return names, options


class Command(NamedTuple):
    """A command: its words, what it does, its arguments, whether it needs the tables.

    The function of one that does is called with the settings, too.
    """

    words: str
    function: Callable[..., int | None]
    arguments: tuple = ()
    needs_tables: bool = True


USERNAME = argument("username", metavar="USERNAME")
PASSWORD = argument("password", metavar="PASSWORD", help="the password; - asks for it")
PROJECT = argument("project", metavar="PROJECT")
JSON = argument("--json", action="store_true", help="as JSON, for scripts")
REASON = argument("--reason", default="", metavar="TEXT", help="shown to those who install")

COMMANDS = (
    Command(
        "start",
        starting.start,
        (
            argument("--filename", required=True, metavar="F", help="the file to write"),
            argument("--force", action="store_true", help="overwrite F when it exists"),
        ),
        needs_tables=False,
    ),
    Command(
        "init",
        starting.init,
        (
            argument("--user", default="admin", help="name of the admin (default: admin)"),
            argument("--password", default="admin", help="their password (default: admin; - asks)"),
            argument("--pip-user", default="pip", help="name of the installer (default: pip)"),
            argument("--pip-pwd", default="pip", help="their password (default: pip; - asks)"),
        ),
        needs_tables=False,
    ),
    Command(
        "run",
        starting.run,
        (
            argument("--host", help="address to listen on (setting HOST, 127.0.0.1)"),
            argument("--port", type=int, help="port to listen on (setting PORT, 8000)"),
            argument("--threads", type=int, metavar="N", help="threads that answer (THREADS)"),
        ),
        needs_tables=False,
    ),
    Command(
        "create-user",
        commands.create_user,
        (
            USERNAME,
            PASSWORD,
            argument("email", metavar="EMAIL"),
            argument("--role", default="admin", choices=ROLES, help="default: admin"),
        ),
    ),
    Command("set-password", commands.set_password, (USERNAME, PASSWORD)),
    Command("list-users", commands.list_users, (JSON,)),
    Command("delete-user", commands.delete_user, (USERNAME,)),
    Command(
        "token create",
        commands.token_create,
        (
            USERNAME,
            argument("--name", default="token", help="to know it again (default: token)"),
            argument("--scope", default="upload", choices=Token.SCOPES, help="default: upload"),
            argument(
                "--package",
                action="append",
                default=[],
                metavar="P",
                help="the only project that it is for; may be given again (default: all)",
            ),
            argument("--expires", type=int, metavar="DAYS", help="default: never"),
            JSON,
        ),
    ),
    Command("token list", commands.token_list, (JSON,)),
    Command(
        "token revoke",
        commands.token_revoke,
        (argument("number", type=int, metavar="NUMBER", help="as `token list` shows it"),),
    ),
    Command(
        "yank",
        commands.yank,
        (
            PROJECT,
            argument("version", metavar="VERSION"),
            REASON,
            argument("--undo", action="store_true", help="take the yank back"),
        ),
    ),
    Command(
        "delete",
        commands.delete,
        (
            PROJECT,
            argument("version", nargs="?", metavar="VERSION"),
            argument("filename", nargs="?", metavar="FILENAME"),
            argument("--yes", action="store_true", help="do not ask"),
        ),
    ),
    Command(
        "status",
        commands.status,
        (PROJECT, argument("status", choices=STATUSES), REASON),
    ),
    Command(
        "import",
        commands.import_files,
        (
            argument("--user", default="admin", help="whose uploads they become (default: admin)"),
            argument("path", nargs="*", metavar="PATH", help="default: the storage itself"),
            argument(
                "--index-url",
                metavar="URL",
                help="another index, as https://user:password@host/simple/",
            ),
            argument(
                "--project",
                action="append",
                default=[],
                metavar="P",
                help="the only project to take from there; may be given again (default: all)",
            ),
            argument("--from-2018", metavar="URL", help="the database of extrapypi 0.4 or older"),
        ),
    ),
    Command("db status", commands.db_status, (JSON,), needs_tables=False),
    Command("db upgrade", commands.db_upgrade, needs_tables=False),
    Command(
        "backup",
        commands.back_up,
        (argument("folder", metavar="DEST", help="a new folder, or an earlier backup"),),
    ),
    Command(
        "restore",
        commands.restore,
        (argument("folder", metavar="SRC", help="the folder of a backup"),),
        needs_tables=False,
    ),
    Command(
        "check",
        commands.check,
        (
            argument("--deep", action="store_true", help="read every file and compare digests"),
            argument("--repair", action="store_true", help="mend what can be mended"),
            JSON,
        ),
    ),
    Command(
        "doctor",
        commands.diagnose,
        (
            argument("--url", help="root of the running server, as clients have it"),
            argument("--user", default="__token__", help="who asks there (default: __token__)"),
            argument("--password", help="their password, or a token's secret; - asks for it"),
            JSON,
        ),
        needs_tables=False,
    ),
)
GROUPS = {"token": "keys for programs: create, list, revoke", "db": "the tables: status, upgrade"}


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="extrapypi",
        description="A private Python package index.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"extrapypi {__version__}")
    under = {"": top.add_subparsers(metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group, _, name = command.words.rpartition(" ")
        if group not in under:
            parent = under[""].add_parser(group, help=GROUPS[group], description=GROUPS[group])
            under[group] = parent.add_subparsers(metavar="COMMAND", required=True)
        add_command(under[group], name, command)
    return top


def add_command(parent: Any, name: str, command: Command) -> None:
    """Adds a command with its arguments; its help is its function's docstring."""
    text = (command.function.__doc__ or "").strip()
    added = parent.add_parser(
        name,
        help=text.splitlines()[0],
        description=textwrap.dedent(" " * 4 + text),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for names, options in command.arguments:
        added.add_argument(*names, **options)
    added.set_defaults(command=command)


def main(argv: list[str] | None = None) -> int:
    """Runs a command; its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may be no text
    arguments = parser().parse_args(argv)
    try:
        status = run(arguments.command, arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output went away; nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (KeyboardInterrupt, EOFError):
        print("extrapypi: interrupted.", file=sys.stderr)
    except (
        ExtraPyPIError,
        peewee.PeeweeException,
        OSError,
        UnicodeEncodeError,
        OverflowError,
    ) as error:
        print(f"extrapypi: {explained(error)}", file=sys.stderr)
    return 1


def explained(error: Exception) -> str:
    """One line about what went wrong, with what the system or the database says of it."""
    if isinstance(error, OSError):
        return f"{error.filename or 'The system'}: {error.strerror or error}."
    if isinstance(error, peewee.PeeweeException):
        return f"The database cannot be used: {first_line(error)}."
    if isinstance(error, OverflowError):
        return f"A number is too large: {error}."
    if isinstance(error, UnicodeEncodeError):
        # Of the whole, which may be a statement with all its values, nothing else is shown.
        return f"{error.object[error.start : error.end]!r} is not text in UTF-8."
    if isinstance(error.__cause__, peewee.PeeweeException):  # which our own error keeps to itself
        cause = first_line(error.__cause__)
        return str(error) if cause in str(error) else f"{error} {cause}."
    return str(error)


def first_line(error: BaseException | None) -> str:
    """The first line of an error's text."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def run(command: Command, arguments: argparse.Namespace) -> int | None:
    """Runs the command's function, with the database open when it needs tables."""
    if not command.needs_tables:
        return command.function(arguments)
    settings = starting.load()
    with database.connection():
        schema.check_current()
        return command.function(arguments, settings)
