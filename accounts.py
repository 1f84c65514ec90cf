"""What can be done to accounts, their sessions and tokens; pages and commands both call it.

Each change is one transaction with its line in the journal. Rights are checked here; InvalidInput
names the form's field that it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from packaging.utils import canonicalize_name

from extrapypi import passwords
from extrapypi.auth import UNPRINTABLE, Actor, new_secret, secret_digest
from extrapypi.database import retried, utcnow
from extrapypi.errors import Forbidden, InvalidInput, NotFound
from extrapypi.models import (
    NAME,
    ROLES,
    Journal,
    Maintainer,
    Package,
    Session,
    Token,
    User,
    writing,
)

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@retried
def create_user(
    actor: Actor, username: str, password: str, email: str, role: str, default: bool = False
) -> User:
    """The new account.

    :param default: the password is one that ``init`` documents; it is exempt from the rules and
        marked, so that it is not served to the world.
    :raises InvalidInput: for a name, address, password or role that breaks a rule, or is taken.
    :raises Forbidden: unless admin.
    """
    actor.check("admin")
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
    check_role(role)


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
    key = username.casefold()
    if User.select().where(User.username_key == key).exists():
        message = f"There is a user {username} already, in this or another case."
        raise InvalidInput(message, "username")
    check_email_free(email)
    user = User.create(
        username=username,
        username_key=key,
        email=email,
        email_key=email.casefold(),
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
        message = f"A user name has 1 to 128 characters; this one has {len(username)}."
        raise InvalidInput(message, "username")
    if ":" in username or UNPRINTABLE.search(username) or username != username.strip():
        raise InvalidInput(
            f"The user name {username!r} has a colon, a control character or outer white space.",
            "username",
        )
    for beginning in ("__", Token.PREFIX):
        if username.startswith(beginning):
            message = f"The user name {username!r} begins with {beginning}, which is for tokens."
            raise InvalidInput(message, "username")


def check_email(email: str) -> None:
    """Refuses what does not look like an address, with InvalidInput."""
    if len(email.casefold()) > 254 or not EMAIL.fullmatch(email) or UNPRINTABLE.search(email):
        raise InvalidInput(f"{email!r} is no e-mail address.", "email")


def check_role(role: str) -> None:
    """Refuses what is no role, with InvalidInput."""
    if role not in ROLES:
        raise InvalidInput(f"The role {role!r} is none of {', '.join(ROLES)}.", "role")


def check_email_free(email: str) -> None:
    """Refuses an address that an account has already, with InvalidInput."""
    if User.select().where(User.email_key == email.casefold()).exists():
        message = f"There is a user with the e-mail address {email} already."
        raise InvalidInput(message, "email")


def check_own(actor: Actor, user: User) -> None:
    """Refuses all but the account's owner and admins, with Forbidden."""
    if actor.user_id != user.id and not actor.may("admin"):
        raise Forbidden(f"This needs the role admin; {actor.username} is {actor.role}.")


def check_not_last_admin(user: User, participle: str, field: str = "") -> None:
    """Refuses to do this to the last active admin, with InvalidInput."""
    others = User.select().where(User.role == "admin", User.is_active, User.id != user.id)
    if user.role == "admin" and user.is_active and not others.exists():
        message = f"{user.username} is the last active admin and cannot be {participle}."
        raise InvalidInput(message, field)


@retried
def edit_user(
    actor: Actor,
    username: str,
    *,
    email: str | None = None,
    role: str | None = None,
    is_active: bool | None = None,
) -> int:
    """Gives the account another address, role or state; None leaves it as it is.

    With another role or state it is logged out; how many sessions were ended.

    :raises NotFound: for an unknown user.
    :raises InvalidInput: for what breaks a rule; the last active admin stays one.
    :raises Forbidden: for the role and the state unless admin; the address is also one's own.
    """
    with writing() as serial:
        user = User.named(username)
        check_own(actor, user)
        changes, before = [], (user.role, user.is_active)
        if email not in (None, user.email):
            changes.append(set_email(user, email))
        if role not in (None, user.role):
            actor.check("admin")
            changes.append(set_role(user, role))
        if is_active not in (None, user.is_active):
            actor.check("admin")
            changes.append(set_active(user, is_active))
        user.save()
        is_same = (user.role, user.is_active) == before
        number = 0 if is_same else log_out(serial, actor, user)
        if changes:
            detail = f"{user.username}: {', '.join(changes)}"
            Journal.add(serial, actor, "edit user", detail=detail)
    return number


def set_email(user: User, email: str) -> str:
    """Sets the address of the account, not yet saved; what the journal says of it."""
    check_email(email)
    if email.casefold() != user.email_key:
        check_email_free(email)
    before, user.email, user.email_key = user.email, email, email.casefold()
    return f"e-mail {email} in place of {before}"


def set_role(user: User, role: str) -> str:
    """Sets the role of the account, not yet saved; what the journal says of it."""
    check_role(role)
    check_not_last_admin(user, "demoted", "role")
    before, user.role = user.role, role
    return f"{role} in place of {before}"


def set_active(user: User, is_active: bool) -> str:
    """Sets the state of the account, not yet saved; what the journal says of it."""
    if not is_active:
        check_not_last_admin(user, "deactivated", "is_active")
    user.is_active = is_active
    return "active" if is_active else "inactive"


@retried
def set_password(actor: Actor, username: str, password: str) -> None:
    """Gives the account another password and ends its browser sessions.

    :raises NotFound: for an unknown user.
    :raises InvalidInput: for a password that breaks a rule.
    :raises Forbidden: for the account of another unless admin.
    """
    passwords.check_new(password, username)
    password_hash = passwords.hashed(password)
    with writing() as serial:
        user = User.named(username)
        check_own(actor, user)
        user.password_hash, user.default_password = password_hash, False
        user.save(only=["password_hash", "default_password"])
        Session.delete().where(Session.user == user).execute()
        Journal.add(serial, actor, "set password", detail=user.username)


@retried
def end_sessions(actor: Actor, username: str, session_ids: Iterable[int] | None = None) -> int:
    """Logs the account's browsers out, all or those of these ids; how many they were.

    :raises NotFound: for an unknown user.
    :raises Forbidden: for the account of another unless admin.
    """
    with writing() as serial:
        user = User.named(username)
        check_own(actor, user)
        return log_out(serial, actor, user, session_ids)


def log_out(serial: int, actor: Actor, user: User, session_ids: Iterable[int] | None = None) -> int:
    """What :func:`end_sessions` does, in the transaction with this serial."""
    ended = Session.delete().where(Session.user == user)
    if session_ids is not None:
        ended = ended.where(Session.id.in_(list(session_ids)))
    number = ended.execute()
    if number:
        Journal.add(serial, actor, "end sessions", detail=f"{user.username}: {number}")
    return number


@retried
def delete_user(actor: Actor, username: str) -> None:
    """Removes the account; its files and its lines in the journal stay.

    :raises NotFound: for an unknown user.
    :raises InvalidInput: for the last active admin.
    :raises Forbidden: unless admin.
    """
    actor.check("admin")
    with writing() as serial:
        user = User.named(username)
        check_not_last_admin(user, "removed")
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
    :raises Forbidden: for the account of another unless admin.
    """
    packages = sorted({project_key(package) for package in packages})
    if scope not in Token.SCOPES:
        raise InvalidInput(f"The scope {scope!r} is none of {', '.join(Token.SCOPES)}.", "scope")
    if days is not None and not 1 <= days <= 36500:
        raise InvalidInput(f"A token expires after 1 to 36500 days, not {days}.", "days")
    if not 1 <= len(name) <= 100 or UNPRINTABLE.search(name):
        raise InvalidInput("The name of a token has 1 to 100 printable characters.", "name")
    secret = new_secret()
    with writing() as serial:
        user = User.named(username)
        check_own(actor, user)
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
        raise InvalidInput(f"{name!r} is no name of a project.", "packages")
    return canonicalize_name(name)


@retried
def revoke_token(actor: Actor, token_id: int) -> Token:
    """The token, which is of no use from now on.

    :raises NotFound: when there is no such token, or it is another's and the actor no admin.
    """
    with writing() as serial:
        token = Token.get_or_none(Token.id == token_id)
        if token is None or (token.user_id != actor.user_id and not actor.may("admin")):
            raise NotFound(f"There is no token {token_id}.")
        if token.revoked_at is None:
            token.revoked_at = utcnow()
            token.save(only=["revoked_at"])
            Journal.add(
                serial, actor, "revoke token", detail=f"{token.name} of {token.user.username}"
            )
    return token
