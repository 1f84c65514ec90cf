"""Passwords: which are good enough, and how they are kept (bcrypt)."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

import bcrypt

from extrapypi.errors import InvalidInput
from extrapypi.models import Token

COST = 12  # bcrypt's, a power of two: about 0.25 s a check
SHORTEST, LONGEST = 8, 128  # characters
LONGEST_BCRYPT = 72  # bytes; beyond them bcrypt raises, or ignores what follows in older versions

# What people choose first, of those that are long enough to be allowed at all.
COMMONEST = frozenset(
    """
    password password1 password12 password123 password1234 passw0rd p@ssw0rd p@ssword pa$$word
    12345678 123456789 1234567890 0123456789 87654321 987654321 9876543210 11111111 00000000
    88888888 12341234 11223344 123123123 147258369 123654789 qwertyui qwertyuiop qwerty12
    qwerty123 qwerty1234 1q2w3e4r 1q2w3e4r5t 1qaz2wsx q1w2e3r4 qazwsxedc zaq12wsx asdfghjk
    asdfghjkl zxcvbnm1 zxcvbnm123 abcd1234 abc12345 abcdefgh abcdefg1 aa123456 a1234567
    a12345678 iloveyou iloveyou1 sunshine princess football baseball superman trustno1 starwars
    whatever computer internet welcome1 welcome123 letmein1 letmein123 changeme changeme1
    changeit default1 administrator admin123 admin1234 administrator1 rootroot testtest test1234
    testing123 secret123 secret12 michelle jennifer michael1 charlie1 liverpool chocolate
    butterfly blink182 samantha jordan23 master123 monkey123 dragon123 mustang1 corvette
    pypi1234 pypipypi extrapypi extrapypi1 python123
    """.split()
)


def check_new(password: str, username: str) -> None:
    """Refuses a password that nobody may choose.

    :raises InvalidInput: with the rule that it breaks (never with the password).
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidInput(
            f"A password has {SHORTEST} to {LONGEST} characters; this one has {len(password)}.",
            "password",
        )
    if password.startswith(Token.PREFIX):
        message = f"A password must not begin with {Token.PREFIX}, as tokens do."
        raise InvalidInput(message, "password")
    if password.casefold() == username.casefold():
        raise InvalidInput("A password must not be the user name.", "password")
    if password.casefold() in COMMONEST:
        raise InvalidInput("This password is one of the commonest; choose another.", "password")


def hashed(password: str) -> str:
    """The bcrypt hash to keep for a password of any length."""
    return bcrypt.hashpw(prepared(password), bcrypt.gensalt(COST)).decode("ascii")


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password belongs to the hash; None takes the same time and never does."""
    good = bcrypt.checkpw(prepared(password), (password_hash or dummy_hash()).encode("ascii"))
    return good and password_hash is not None


@cache
def dummy_hash() -> str:
    """A hash to compare with where there is no user."""
    return hashed("nobody has this password")


def prepared(password: str) -> bytes:
    """The bytes for bcrypt: the password's own, or a digest of them when they are too many."""
    raw = password.encode("utf-8", "surrogatepass")
    if len(raw) <= LONGEST_BCRYPT:
        return raw
    return base64.b64encode(hashlib.sha256(raw).digest())
