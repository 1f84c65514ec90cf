"""Reading accounts: who there is, and with which keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

from peewee import fn

from extrapypi.database import tuples, utcnow
from extrapypi.errors import NotFound
from extrapypi.models import ROLES, Maintainer, Package, Token, User

NEVER = datetime.min.replace(tzinfo=timezone.utc)


class Person(NamedTuple):
    """An account in a list, with the number of its usable tokens."""

    user: User
    tokens: int


ORDERS: dict[str, Callable] = {  # what a list is sorted by -> key
    "name": lambda person: person.user.username_key,
    "email": lambda person: person.user.email_key,
    "role": lambda person: -ROLES.index(person.user.role),
    "state": lambda person: not person.user.is_active,
    "seen": lambda person: -(person.user.last_login_at or NEVER).timestamp(),
    "tokens": lambda person: -person.tokens,
}


def everybody(order: str = "name") -> list[Person]:
    """All accounts, sorted; by name where they are equal."""
    live = Token.revoked_at.is_null() & (Token.expires_at.is_null() | (Token.expires_at > utcnow()))
    counted = Token.select(Token.user, fn.COUNT(Token.id)).where(live).group_by(Token.user)
    numbers = dict(tuples(counted))
    people = [Person(user, numbers.get(user.id, 0)) for user in User.select()]
    return sorted(sorted(people, key=ORDERS["name"]), key=ORDERS.get(order, ORDERS["name"]))


def user_of(user_id: str | int) -> User:
    """The account of this id.

    :raises NotFound: when there is none.
    """
    user = User.get_or_none(User.id == int(user_id))
    if user is None:
        raise NotFound(f"There is no user number {user_id}.")
    return user


def tokens_of(user: User) -> list[Token]:
    """The account's tokens: the usable ones first, each newest first."""
    tokens = Token.select().where(Token.user == user).order_by(Token.id.desc())
    return sorted(tokens, key=lambda token: not token.is_usable)


def packages_of(user: User) -> list[str]:
    """The normalized names of the projects that the account maintains, sorted."""
    listed = Package.select(Package.normalized_name).join(Maintainer)
    return sorted(name for (name,) in tuples(listed.where(Maintainer.user == user)))
