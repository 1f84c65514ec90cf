"""Passwords: which are good enough, and how they are kept.

That is as bcrypt; accounts that came from extrapypi 0.4 have its SHA-crypt until their first login.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from typing import Any

import bcrypt

from extrapypi.errors import ConfigError, InvalidInput
from extrapypi.models import Token

log = logging.getLogger("extrapypi")

COST = 12  # bcrypt's, a power of two: about 0.25 s a check
SHORTEST, LONGEST = 8, 128  # characters
LONGEST_BCRYPT = 72  # bytes; beyond them bcrypt raises, or ignores what follows in older versions
# What passlib made in extrapypi 0.4: sha256_crypt ($5$, on 32-bit systems) or sha512_crypt.
OLD = ("$5$", "$6$")
SHA_CRYPT = re.compile(r"\$[56]\$(?:rounds=([0-9]{4,9})\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]+\Z")
MOST_ROUNDS = 2_000_000  # of SHA-crypt; about 1.5 s a check, passlib took 656,000

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


def matches(password: str, password_hash: str | None, old_hash: str | None = None) -> bool:
    """Whether the password belongs to the hash; None takes the same time and never does.

    :param old_hash: one of extrapypi 0.4, whosever it is. As long as there is one, a wrong password
        costs a check of both kinds; else its time would tell which accounts have such a hash.
    """
    is_old = False
    if password_hash is not None and password_hash.startswith(OLD):
        if matches_sha_crypt(password, password_hash):
            return True
        is_old, password_hash = True, None
    good = bcrypt.checkpw(prepared(password), (password_hash or no_hash()).encode("ascii"))
    if good and password_hash is not None:
        return True
    if old_hash and not is_old:
        matches_sha_crypt(password, old_hash)
    return False


def is_sha_crypt(password_hash: str) -> bool:
    """Whether it is a hash of extrapypi 0.4, whose check costs no more than it may."""
    match = SHA_CRYPT.match(password_hash)
    return match is not None and int(match[1] or 5000) <= MOST_ROUNDS


def matches_sha_crypt(password: str, password_hash: str) -> bool:
    """Whether the password belongs to the hash of extrapypi 0.4; without the library it does not.

    SHA-crypt is Ulrich Drepper's "Unix crypt using SHA-256 and SHA-512".
    """
    try:
        return is_sha_crypt(password_hash) and sha_crypt().verify(password, password_hash)
    except ConfigError as error:
        log.error("The password of an account from extrapypi 0.4 cannot be checked: %s", error)
    except ValueError:  # of passwords with a NUL or a lone surrogate, or thousands of characters
        pass
    return False


def sha_crypt() -> Any:
    """The CryptContext for hashes of extrapypi 0.4; ConfigError without the library for them."""
    try:
        from passlib.context import CryptContext
    except ImportError:
        raise ConfigError(
            "This needs the library libpass; install extrapypi with the extra from-2018."
        ) from None
    return CryptContext(["sha512_crypt", "sha256_crypt"])


def no_hash() -> str:
    """What to compare with where there is no hash: of the same cost, and of no password."""
    return f"$2b${COST:02}${'.' * 53}"


def prepared(password: str) -> bytes:
    """The bytes for bcrypt: the password's own, or a digest of them when they are too many."""
    raw = password.encode("utf-8", "surrogatepass")
    if len(raw) <= LONGEST_BCRYPT:
        return raw
    return base64.b64encode(hashlib.sha256(raw).digest())
