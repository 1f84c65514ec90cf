"""Who asks, and may they: HTTP Basic, tokens, and the Bottle plugin that guards the routes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from extrapypi import passwords
from extrapypi.batches import Writer
from extrapypi.config import Config
from extrapypi.database import fetch, not_now, retried
from extrapypi.errors import Forbidden, NotLoggedIn, TooManyFailures
from extrapypi.lastseen import LastSeen
from extrapypi.models import ROLES, Token, User, is_usable, writing
from extrapypi.throttling import Refusals, note_failure, throttle

TOKEN_USER = "__token__"
WRONG = "User name or password is wrong."
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
KEPT_CREDENTIALS = 10_000  # that were found right, about 500 bytes each

# One small query a request, by hand: a model would cost more than the rest of a kept page.
USER_SQL = """
    SELECT s.value, u.id, u.username, u.role, u.is_active, u.password_hash
    FROM serial s LEFT JOIN users u ON u.username_key = ?"""
TOKEN_SQL = """
    SELECT s.value, u.id, u.username, u.role, u.is_active,
           t.id, t.name, t.scope, t.packages, t.expires_at, t.revoked_at
    FROM serial s LEFT JOIN tokens t ON t.secret_sha256 = ? LEFT JOIN users u ON u.id = t.user_id"""


class Actor(NamedTuple):
    """Who asks: an account, with the token that was used, from where.

    ``serial`` is the index's at that moment. ``packages`` are the only ones that the token is
    for, None for all. The defaults are those of the command line.
    """

    username: str = "(command line)"
    role: str = "admin"
    serial: int = 0
    user_id: int | None = None
    address: str = ""
    agent: str = ""
    token: str = ""  # its name
    token_id: int | None = None
    scope: str = "upload"
    packages: frozenset[str] | None = None
    session: str = ""  # the digest of a browser's token
    session_id: int | None = None

    def may(self, role: str) -> bool:
        """Whether the account's role, and the token's scope, reach to this role."""
        if self.scope == "read" and role != "installer":
            return False
        return ROLES.index(self.role) >= ROLES.index(role)

    def check(self, role: str) -> None:
        """Refuses an actor of whom :meth:`may` says no.

        :raises Forbidden: with what is missing.
        """
        if not self.may(role):
            if self.scope == "read" and ROLES.index(self.role) >= ROLES.index(role):
                raise Forbidden(f"The token {self.token!r} is for reading only.")
            raise Forbidden(f"This needs the role {role}; {self.username} is {self.role}.")

    def check_package(self, normalized_name: str) -> None:
        """Refuses a token that is for other projects, with Forbidden."""
        if self.packages is not None and normalized_name not in self.packages:
            raise Forbidden(f"The token {self.token!r} is not for the project {normalized_name}.")


def new_secret() -> str:
    """A token's secret: 256 random bits behind the fixed prefix."""
    return Token.PREFIX + secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    """What the table keeps of a secret; so many random bits need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Authenticator:
    """Finds out who asks, from the Authorization header.

    A password is checked with bcrypt once. Then a keyed digest of the header stands for it in
    memory, as long as the hash in the database is the same: a changed password counts at once.
    """

    def __init__(self, config: Config, writer: Writer) -> None:
        self.anonymous_read = config.ANONYMOUS_READ
        self.key = hashlib.sha256(config.secret_keys[0].encode()).digest()
        # Digest of the header -> user name, and what finds its actor, if it is good still.
        self.kept: dict[bytes, tuple[str, Callable[[dict], Actor | None]]] = {}
        self.refusals = Refusals()
        self.keeping = threading.Lock()
        self.checking = [threading.Lock() for _ in range(64)]
        self.last_seen = LastSeen(writer)

    def actor(self, environ: dict) -> Actor | None:
        """Who sent the request, or None for a request without credentials.

        :raises NotLoggedIn: for credentials that are wrong, or of somebody who is shut out.
        :raises TooManyFailures: before a password is checked, after too many wrong ones.
        """
        actor = self.known(environ)
        header = environ.get("HTTP_AUTHORIZATION")
        if actor is None and header:
            digest = self._digest(header)
            with self.checking[digest[0] % 64]:  # uv opens 80 connections at once
                actor = self.known(environ) or self._checked(digest, header, environ)
        return actor

    def known(self, environ: dict) -> Actor | None:
        """Who sent the request, if that needs no check: by one small query.

        None for all others, and for those whose credentials are good no longer.
        """
        header = environ.get("HTTP_AUTHORIZATION")
        if not header:
            return self._anonymous() if self.anonymous_read else None
        name, find = self.kept.get(self._digest(header), ("", None))
        if find is None or self.refusals.are_too_many(address_of(environ), name):
            return None
        actor = find(environ)
        if actor is not None:
            self.last_seen.note(actor)
        return actor

    def has_met(self, header: str) -> bool:
        """Whether these credentials were good once in this process; asks nobody."""
        return self._digest(header) in self.kept

    def _digest(self, header: str) -> bytes:
        text = header.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self.key, digest_size=32).digest()

    def _anonymous(self) -> Actor:
        return Actor("", "installer", fetch("SELECT value FROM serial")[0], scope="read")

    def _checked(self, digest: bytes, header: str, environ: dict) -> Actor:
        """The actor with the credentials, which are kept; raises as :meth:`actor` does."""
        username, secret = parse_authorization(header)
        if username.startswith(Token.PREFIX):  # as in https://TOKEN@host/
            username, secret = TOKEN_USER, username
        if secret.startswith(Token.PREFIX):
            username = TOKEN_USER
        name, address = printable(username.casefold()), address_of(environ)
        try:
            if username == TOKEN_USER:
                find = partial(of_token, check_token(secret, environ))
            else:
                user = check_password(username, secret, environ)
                find = partial(of_user, user.username_key, user.password_hash)
        except TooManyFailures:
            self.refusals.note(address, name)
            raise
        self.refusals.forget(address, name)
        with self.keeping:
            if len(self.kept) >= KEPT_CREDENTIALS:
                del self.kept[next(iter(self.kept))]  # the oldest
            self.kept[digest] = name, find
        actor = self.known(environ)
        if actor is None:
            raise NotLoggedIn(WRONG)  # as it is since a moment ago
        return actor


def of_user(key: str, password_hash: str, environ: dict) -> Actor | None:
    """The actor with an account, as long as its password has this hash.

    :raises NotLoggedIn: when the account is not active.
    """
    serial, user_id, name, role, is_active, current_hash = fetch(USER_SQL, key)
    if current_hash != password_hash:
        return None
    if not is_active:
        raise NotLoggedIn(WRONG)
    return Actor(name, role, serial, user_id, **source(environ))


def of_token(digest: str, environ: dict) -> Actor | None:
    """The actor with a token whose secret has this digest, as long as it may be used."""
    serial, user_id, name, role, is_active, token_id, token, *rest = fetch(TOKEN_SQL, digest)
    scope, packages, expires_at, revoked_at = rest
    if not is_active or not is_usable(Token.expires_at.python_value(expires_at), revoked_at):
        return None
    only = packages and frozenset(json.loads(packages))
    known_by = {"token": token, "token_id": token_id, "scope": scope, "packages": only}
    return Actor(name, role, serial, user_id, **known_by, **source(environ))


def check_token(secret: str, environ: dict) -> str:
    """The digest of a token's secret; raises as :func:`check_password` does."""
    digest = secret_digest(secret)
    if of_token(digest, environ) is None:
        throttle(address_of(environ), TOKEN_USER)
        note_failure(address_of(environ), TOKEN_USER, TOKEN_USER)
        raise NotLoggedIn("The token is unknown, revoked or expired.")
    return digest


def check_password(username: str, password: str, environ: dict) -> User:
    """The active account with this name and password.

    Whatever is wrong, it costs the same, so that nobody learns from it which names there are.

    :raises NotLoggedIn: when one of them is wrong, or the account is not active.
    :raises TooManyFailures: before the password is checked, after too many wrong ones.
    """
    # No name has outer white space, of which MySQL sees no difference at the end.
    impossible = UNPRINTABLE.search(username) or username != username.strip()
    key = username.casefold()
    user = User.get_or_none(User.username_key == ("" if impossible else key))
    address, name = address_of(environ), user.username_key if user else secret_digest(key)
    throttle(address, name)
    password_hash = user.password_hash if user and user.is_active else None
    is_right = passwords.matches(password, password_hash, old_hash())
    if user is None or not is_right:
        note_failure(address, name, user.username if user else "an unknown user")
        raise NotLoggedIn(WRONG)
    if passwords.is_sha_crypt(user.password_hash):
        with not_now("The hash of a password was not renewed"):
            user.password_hash = renew_hash(user.id, password, user.password_hash)
    return user


def old_hash() -> str | None:
    """The hash of an account that has one of extrapypi 0.4 still; None when all have others."""
    first, second = (User.password_hash.startswith(beginning) for beginning in passwords.OLD)
    return User.select(User.password_hash).where(first | second).limit(1).scalar()


def parse_authorization(header: str) -> tuple[str, str]:
    """User name and password of a Basic header; a Bearer's token as password of __token__.

    :raises NotLoggedIn: for a header that is neither.
    """
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return TOKEN_USER, value.strip()
    try:
        if scheme.lower() != "basic":
            raise ValueError
        raw = base64.b64decode(value.strip(), validate=True)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        username, colon, password = text.partition(":")
        if not colon:
            raise ValueError
    except (ValueError, binascii.Error):
        raise NotLoggedIn("The Authorization header is neither Basic nor Bearer.") from None
    return username, password


def source(environ: dict) -> dict[str, Any]:
    """Where a request comes from: ``address`` and ``agent``, as the journal takes them."""
    agent = printable(environ.get("HTTP_USER_AGENT", ""))
    return {"address": address_of(environ), "agent": agent}


def address_of(environ: dict) -> str:
    """The address that a request comes from; "" for that of a Unix socket."""
    return (environ.get("REMOTE_ADDR") or "")[:64]


def printable(text: str) -> str:
    """The first 255 characters, a question mark for each that cannot be printed."""
    if text.isprintable():  # as almost always
        return text[:255]
    return "".join(c if c.isprintable() else "?" for c in text[:255])


@retried
def renew_hash(user_id: int, password: str, old_hash: str) -> str:
    """The bcrypt hash of a password that replaces one of extrapypi 0.4.

    :raises NotLoggedIn: when the account got another password meanwhile.
    """
    password_hash = passwords.hashed(password)
    with writing():
        renewed = User.update(password_hash=password_hash)
        if renewed.where(User.id == user_id, User.password_hash == old_hash).execute():
            return password_hash
    password_hash = User.get_by_id(user_id).password_hash  # another request may have renewed it
    if not passwords.matches(password, password_hash):
        raise NotLoggedIn(WRONG)
    return password_hash
