"""Finding projects: plain words and filters, ranked, on all databases alike.

The words are looked for in columns that :meth:`~extrapypi.models.Package.touch` keeps folded, so
that no database's own idea of upper and lower case matters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import NamedTuple

import peewee
from packaging.utils import canonicalize_name
from peewee import fn

from extrapypi.database import bytewise, position
from extrapypi.errors import InvalidInput
from extrapypi.models import (
    STATUSES,
    Dependency,
    Maintainer,
    Package,
    User,
    folded,
)
from extrapypi.paging import PER_PAGE, Paged

LONGEST = 200  # characters of a query
MOST_WORDS = 10
SHOWN = ("id", "name", "normalized_name", "summary", "latest_version", "status", "updated_at")


class Query(NamedTuple):
    """What a person typed: plain words, and filters as (name, value)."""

    words: list[str]
    filters: list[tuple[str, str]]


def parse(text: str) -> Query:
    """The words and filters of a query.

    :raises InvalidInput: for what is too long, or a filter that cannot be used.
    """
    if len(text) > LONGEST:
        raise InvalidInput(f"A search has at most {LONGEST} characters; this one has {len(text)}.")
    printable = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    words, filters = [], []
    for part in printable.split():
        name, colon, value = part.partition(":")
        if not colon or name.lower() not in FILTERS:
            words.append(part)
        elif not value:
            raise InvalidInput(f"The filter {part} has no value; write it without a space.")
        else:
            filters.append((name.lower(), value))
    if len(words) + len(filters) > MOST_WORDS:
        raise InvalidInput(f"A search has at most {MOST_WORDS} words and filters.")
    return Query(words, filters)


def find(text: str, page: int) -> Paged:
    """A page of the projects that a query finds: the exact name, then prefixes, then the rest.

    Each has the fields of SHOWN. A query without any word or filter finds nothing.

    :raises InvalidInput: as :func:`parse` does.
    """
    query = parse(text)
    if query == ([], []):
        return Paged([], 1, 1, 0)
    conditions = [*map(has_word, query.words), *(FILTERS[name](v) for name, v in query.filters)]
    total = fn.COUNT(Package.id).over().alias("total")  # so that the table is gone through once
    matching = Package.select(Package.id, total).where(*conditions)
    matching = matching.order_by(rank(query.words), bytewise(Package.normalized_name)).tuples()
    rows = list(matching.paginate(page, PER_PAGE))
    if not rows and page > 1:  # the last page, then
        page = max(1, -(-matching.count() // PER_PAGE))
        rows = list(matching.paginate(page, PER_PAGE))
    found = rows[0][1] if rows else 0
    return Paged(shown([row[0] for row in rows]), page, max(1, -(-found // PER_PAGE)), found)


def shown(ids: list[int]) -> list[Package]:
    """These projects, in this order, with the fields of SHOWN."""
    fields = [getattr(Package, name) for name in SHOWN]
    found = {package.id: package for package in Package.select(*fields).where(Package.id.in_(ids))}
    return [found[each] for each in ids if each in found]


def rank(words: list[str]) -> peewee.Case:
    """0 for the name itself, 1 for a name that begins so, 2 for one that has it, 3 for others."""
    wanted = canonicalize_name(folded("-".join(words)))
    where = position(Package.normalized_name, wanted)
    ranks = ((Package.normalized_name == wanted, 0), (where == 1, 1), (where > 1, 2))
    return peewee.Case(None, ranks, 3)


def has_word(word: str) -> peewee.Expression:
    """Has the word somewhere in names, summary or keywords; in names in any spelling."""
    plain = folded(word)
    condition = position(Package.search_text, plain) > 0
    name = canonicalize_name(plain)
    is_told = name == plain or not name.strip("-")
    return condition if is_told else condition | (position(Package.search_text, name) > 0)


def needs(name: str) -> peewee.Expression:
    """The latest release requires this project."""
    rows = Dependency.select(Dependency.release)
    named = Dependency.normalized_name == canonicalize_name(name)
    return Package.latest_release_id.in_(rows.where(named))


def by_author(text: str) -> peewee.Expression:
    """The latest release names an author or maintainer with this text, or such an address."""
    return position(Package.search_author, folded(text)) > 0


def kept_by(username: str) -> peewee.Expression:
    """The user is listed as a maintainer here."""
    rows = Maintainer.select(Maintainer.package).join(User)
    return Package.id.in_(rows.where(User.username_key == username.casefold()))


def is_marked(status: str) -> peewee.Expression:
    """The project has this status.

    :raises InvalidInput: for a word that is none.
    """
    if status.lower() not in STATUSES:
        raise InvalidInput(f"The status {status!r} is none of {', '.join(STATUSES)}.")
    return Package.status == status.lower()


FILTERS: dict[str, Callable[[str], peewee.Expression]] = {
    "depends": needs,
    "author": by_author,
    "maintainer": kept_by,
    "status": is_marked,
}
