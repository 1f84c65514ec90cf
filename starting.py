"""From nothing to a running server: the commands `start`, `init` and `run`."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import socket
import sys
from pathlib import Path
from pprint import pformat
from urllib.parse import quote

from extrapypi import accounts, config, database, models, passwords, schema
from extrapypi.app import create_app
from extrapypi.auth import Actor
from extrapypi.config import Config, without_password
from extrapypi.errors import ConfigError, InvalidInput
from extrapypi.serving import Server
from extrapypi.settings import DEFAULTS
from extrapypi.storage import get_store

COMMAND_LINE = Actor()
INIT = "extrapypi init --password - --pip-pwd -"  # asks, so that no documented password is in place


def start(arguments: argparse.Namespace) -> None:
    """Writes a commented sample configuration, with a fresh SECRET_KEY.

    It keeps everything in the folder of the file, and overwrites nothing without --force.
    """
    path = Path(arguments.filename).expanduser().absolute()
    text = sample_configuration(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if arguments.force else "x", encoding="utf-8") as stream:
            path.chmod(0o600)  # it holds the secret key
            stream.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; --force overwrites it.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
    print(f"Wrote {path}. Next:\n  export EXTRAPYPI_CONFIG={path}\n  {INIT}")


def sample_configuration(folder: Path) -> str:
    """The text of a configuration that keeps everything in the folder."""
    set_here = {
        "BASE_DIR": repr(str(folder)),
        "DATABASE_URL": 'f"sqlite:///{BASE_DIR}/extrapypi.db"',
        "SECRET_KEY": repr(secrets.token_urlsafe(48)),
        "STORAGE": repr("LocalStorage"),
        "STORAGE_PARAMS": '{"packages_root": f"{BASE_DIR}/packages"}',
    }
    lines = [
        "# The configuration of extrapypi: Python code, whose UPPERCASE names are settings.",
        "",
    ]
    for setting in DEFAULTS:
        default = pformat(setting.default, width=90, sort_dicts=False).replace("\n", "\n# ")
        mark = "" if setting.name in set_here else "# "
        value = set_here.get(setting.name, default)
        lines += [f"# {setting.meaning}", f"{mark}{setting.name} = {value}", ""]
    return "\n".join(lines)


def init(arguments: argparse.Namespace) -> None:
    """Creates or upgrades the tables, then an admin and a user for pip.

    It may be run again: a user that is there stays as it is. As long as a documented password
    (admin, pip) is in place, `run` serves this machine only.
    """
    settings = load()
    wanted = (
        (arguments.user, asked(arguments.password), "admin", "admin"),
        (arguments.pip_user, asked(arguments.pip_pwd), "installer", "pip"),
    )
    if arguments.user.casefold() == arguments.pip_user.casefold():
        raise InvalidInput("The admin and the user for pip need names of their own.")
    for username, password, _, documented in wanted:
        accounts.check_username(username)
        if password != documented:
            passwords.check_new(password, username)
    get_store(settings.STORAGE, settings.STORAGE_PARAMS).ping()
    schema.upgrade()
    with database.connection():
        for username, password, role, documented in wanted:
            first_user(username, password, role, password == documented)
    where = without_password(settings.DATABASE_URL)
    print(f"Ready: {where}, {settings.STORAGE}. Start the server with: extrapypi run")


def first_user(username: str, password: str, role: str, default: bool) -> None:
    """Creates one of the accounts that `init` makes, unless it is there."""
    if models.User.get_or_none(models.User.username_key == username.casefold()):
        print(f"The user {username} is there already and stays as it is.")
        return
    email = f"{quote(username, safe='')}@localhost"
    accounts.create_user(COMMAND_LINE, username, password, email, role, default)
    print(f"Created the user {username}, role {role}.")
    if default:
        print(
            f"  Its password is the documented one; change it: extrapypi set-password {username} -"
        )


def run(arguments: argparse.Namespace) -> None:
    """Serves the index until it is stopped.

    Without a configuration, the first start makes everything below the platform's folder for
    user data (or EXTRAPYPI_BASE_DIR) and prints the passwords of its two users, once. A signal
    (Ctrl-C, TERM) lets running requests come to their end; a second one does not.
    """
    settings = load()
    for name in ("host", "port", "threads"):
        if getattr(arguments, name) is not None:
            setattr(settings, name.upper(), getattr(arguments, name))
    settings.check()
    if not settings.configured:
        set_up(settings)
    app = create_app(settings)
    refuse_open_door(settings)
    server = Server(app)
    url = f"http://{address(settings.HOST)}:{server.port}{settings.URL_PREFIX}/"
    print(f"Serving on {url} (stop with Ctrl-C)", flush=True)
    server.run()


def set_up(settings: Config) -> None:
    """Creates tables and users where there are none, and says the passwords: this once.

    :raises ConfigError: when its folder cannot be written.
    """
    folder = settings.BASE_DIR
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{folder} cannot be written by the user with the id {os.geteuid()}; give the folder "
            "to that user, or set BASE_DIR to another one."
        )
    schema.upgrade()
    admin, pip = secrets.token_hex(10), secrets.token_hex(10)  # no dash that options have
    with schema.migrating():  # so that of two first starts only one creates them
        if models.User.select().exists():
            return
        accounts.create_user(COMMAND_LINE, "admin", admin, "admin@localhost", "admin")
        accounts.create_user(COMMAND_LINE, "pip", pip, "pip@localhost", "installer")
        # Said before the commit: who cannot be told the passwords gets no accounts.
        print(welcome(settings, admin, pip), flush=True)


def address(host: str) -> str:
    """The host as it stands in a URL; this machine's name for one that means all addresses."""
    if host in ("0.0.0.0", "::", "*", ""):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def welcome(settings: Config, admin: str, pip: str) -> str:
    """What the first start says: the passwords, and lines that are ready to use."""
    host = f"{address(settings.HOST)}:{settings.PORT or 'PORT'}{settings.URL_PREFIX}"
    return f"""\
This is the first start: everything is kept below {settings.BASE_DIR}.
Two users were created. Their passwords are shown only now; `extrapypi set-password` changes them.

  admin  {admin}   (may do everything)
  pip    {pip}   (may install)

Look at it and manage it in a browser:
  http://{host}/

Install with:
  pip install --extra-index-url http://pip:{pip}@{host}/simple/ PACKAGE

Publish with twine or uv:
  twine upload --repository-url http://{host}/legacy/ -u admin -p {admin} dist/*
  uv publish --publish-url http://{host}/legacy/ -u admin -p {admin} dist/*

or put this into ~/.pypirc and say `twine upload -r extrapypi dist/*`:
  [distutils]
  index-servers = extrapypi
  [extrapypi]
  repository = http://{host}/legacy/
  username = admin
  password = {admin}
"""


def refuse_open_door(settings: Config) -> None:
    """Refuses to serve to strangers what they could walk into.

    :raises ConfigError: for an address beyond this machine with a password or key that all know.
    """
    if settings.HOST in ("127.0.0.1", "::1", "localhost"):
        return
    with database.connection():
        weak = models.User.select().where(models.User.default_password, models.User.is_active)
        names = [user.username for user in weak]
    if names:
        raise ConfigError(
            f"Documented passwords are still in place ({', '.join(names)}); before serving on "
            f"{settings.HOST}, change them: extrapypi set-password {names[0]} -"
        )
    if settings.has_sample_key:
        raise ConfigError(
            f"SECRET_KEY is a sample or shorter than 16 characters; before serving on "
            f"{settings.HOST}, set a random one (`extrapypi start` makes one) or none at all."
        )


def asked(password: str) -> str:
    """The password, asked for when it is given as ``-`` (one line of a pipe will do)."""
    if password != "-":
        return password
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise InvalidInput("The two passwords are not the same.")
    return password


def load() -> Config:
    """The configuration, with logging set up and the database bound."""
    settings = config.load()
    settings.start_logging()
    database.bind(settings.DATABASE_URL)
    return settings
