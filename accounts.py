"""What can be done to accounts and tokens; commands and, later, pages call it.

Each change is one transaction with its line in the journal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from packaging.utils import canonicalize_name

from extrapypi import passwords
from extrapypi.auth import UNPRINTABLE, Actor, new_secret, secret_digest
from extrapypi.database import retried, utcnow
from extrapypi.errors import InvalidInput, NotFound
from extrapypi.models import NAME, ROLES, Journal, Maintainer, Package, Token, User, writing

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@retried
def create_user(
    actor: Actor, username: str, password: str, email: str, role: str, default: bool = False
) -> User:
    """The new account.

    :param default: the password is one that ``init`` documents; it is exempt from the rules and
        marked, so that it is not served to the world.
    :raises InvalidInput: for a name, address, password or role that breaks a rule, or is taken.
    """
    check_account(username, email, role)
    if not default:
        passwords.check_new(password, username)
    password_hash = passwords.hashed(password)
    with writing() as serial:
        return add_user(serial, actor, username, email, role, password_hash, default)


def check_account(username: str, email: str, role: str) -> None:
    """Refuses a name, an address or a role that no account may have, with InvalidInput."""
    check_username(username)
    check_email(email)
    if role not in ROLES:
        raise InvalidInput(f"The role {role!r} is none of {', '.join(ROLES)}.")


def add_user(
    serial: int,
    actor: Actor,
    username: str,
    email: str,
    role: str,
    password_hash: str,
    default: bool = False,
    is_active: bool = True,
) -> User:
    """The new account, in the transaction with this serial; see :func:`create_user`.

    :raises InvalidInput: for a name or address that is taken.
    """
    key, email_key = username.casefold(), email.casefold()
    if User.select().where(User.username_key == key).exists():
        raise InvalidInput(f"There is a user {username} already, in this or another case.")
    if User.select().where(User.email_key == email_key).exists():
        raise InvalidInput(f"There is a user with the e-mail address {email} already.")
    user = User.create(
        username=username,
        username_key=key,
        email=email,
        email_key=email_key,
        password_hash=password_hash,
        default_password=default,
        role=role,
        is_active=is_active,
    )
    Journal.add(serial, actor, "create user", detail=f"{username}: {role}")
    return user


def check_username(username: str) -> None:
    """Refuses a name that no account may have.

    :raises InvalidInput: with the rule that it breaks. A colon would end the name in HTTP Basic;
        names that begin with two underscores are for tokens.
    """
    if not 1 <= len(username) <= len(username.casefold()) <= 128:
        raise InvalidInput(f"A user name has 1 to 128 characters; this one has {len(username)}.")
    if ":" in username or UNPRINTABLE.search(username) or username != username.strip():
        raise InvalidInput(
            f"The user name {username!r} has a colon, a control character or outer white space."
        )
    if username.startswith("__"):
        raise InvalidInput(f"The user name {username!r} begins with __, which is for tokens.")


def check_email(email: str) -> None:
    """Refuses what does not look like an address, with InvalidInput."""
    if len(email.casefold()) > 254 or not EMAIL.fullmatch(email) or UNPRINTABLE.search(email):
        raise InvalidInput(f"{email!r} is no e-mail address.")


@retried
def set_password(actor: Actor, username: str, password: str) -> None:
    """Gives the account another password and ends its browser sessions.

    :raises NotFound: for an unknown user.
    :raises InvalidInput: for a password that breaks a rule.
    """
    passwords.check_new(password, username)
    password_hash = passwords.hashed(password)
    with writing() as serial:
        user = User.named(username)
        user.password_hash, user.default_password = password_hash, False
        user.save(only=["password_hash", "default_password"])
        for session in user.sessions:
            session.delete_instance()
        Journal.add(serial, actor, "set password", detail=user.username)


@retried
def delete_user(actor: Actor, username: str) -> None:
    """Removes the account; its files and its lines in the journal stay.

    :raises NotFound: for an unknown user.
    :raises InvalidInput: for the last active admin.
    """
    with writing() as serial:
        user = User.named(username)
        others = User.select().where(User.role == "admin", User.is_active, User.id != user.id)
        if user.role == "admin" and not others.exists():
            raise InvalidInput(f"{user.username} is the last active admin and cannot be removed.")
        for package in Package.select().join(Maintainer).where(Maintainer.user == user):
            package.touch(serial)  # its page names its maintainers
        user.delete_instance()
        Journal.add(serial, actor, "delete user", detail=user.username)


@retried
def create_token(
    actor: Actor,
    username: str,
    name: str = "token",
    scope: str = "upload",
    packages: Iterable[str] = (),
    days: int | None = None,
) -> tuple[Token, str]:
    """A new token and its secret, which is kept nowhere.

    :param packages: the projects that it is for, which need not exist yet; none means all.
    :param days: until it expires; None means never.
    :raises NotFound: for an unknown user.
    :raises InvalidInput: for an unknown scope, a bad project name or a time that is not ahead.
    """
    packages = sorted({project_key(package) for package in packages})
    if scope not in Token.SCOPES:
        raise InvalidInput(f"The scope {scope!r} is none of {', '.join(Token.SCOPES)}.")
    if days is not None and not 1 <= days <= 36500:
        raise InvalidInput(f"A token expires after 1 to 36500 days, not {days}.")
    if not 1 <= len(name) <= 100 or UNPRINTABLE.search(name):
        raise InvalidInput("The name of a token has 1 to 100 printable characters.")
    secret = new_secret()
    with writing() as serial:
        user = User.named(username)
        token = Token.create(
            user=user,
            name=name,
            scope=scope,
            packages=packages or None,
            secret_sha256=secret_digest(secret),
            expires_at=days and utcnow() + timedelta(days=days),
        )
        detail = f"{user.username}: {scope}, {', '.join(packages) or 'all projects'}"
        Journal.add(serial, actor, "create token", detail=f"{name} of {detail}")
    return token, secret


def project_key(name: str) -> str:
    """The normalized form of a project's name; InvalidInput when it cannot be one."""
    if not NAME.match(name):
        raise InvalidInput(f"{name!r} is no name of a project.")
    return canonicalize_name(name)


@retried
def revoke_token(actor: Actor, token_id: int) -> Token:
    """The token, which is of no use from now on.

    :raises NotFound: when there is no such token.
    """
    with writing() as serial:
        token = Token.get_or_none(Token.id == token_id)
        if token is None:
            raise NotFound(f"There is no token {token_id}.")
        if token.revoked_at is None:
            token.revoked_at = utcnow()
            token.save(only=["revoked_at"])
            Journal.add(
                serial, actor, "revoke token", detail=f"{token.name} of {token.user.username}"
            )
    return token
