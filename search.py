"""Finding projects: plain words and filters, ranked, on all databases alike.

The words are looked for in columns that :meth:`~extrapypi.models.Package.touch` keeps folded, so
that no database's own idea of upper and lower case matters. However many projects there are, a
search reads no more than MOST of those that match: it begins with a condition that few of them
meet, and of a broad one it takes the names that begin with what was typed, and some others.
"""

from __future__ import annotations

import functools
import operator
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

import peewee
from packaging.utils import canonicalize_name
from peewee import JOIN, fn

from extrapypi.database import database
from extrapypi.errors import InvalidInput
from extrapypi.models import (
    STATUSES,
    Dependency,
    Maintainer,
    Package,
    User,
    folded,
)
from extrapypi.paging import MOST, Paged, paged
from extrapypi.trigrams import contains, planned_anew, with_texts

AUTHOR = "author"  # the filter for texts of the latest release's authors and maintainers
LONGEST = 200  # characters of a query
MOST_WORDS = 10
AFTER_NAMES = "~"  # comes after all that a normalized name has
SHOWN = ("id", "name", "normalized_name", "summary", "latest_version", "status", "updated_at")


class Query(NamedTuple):
    """What a person typed: plain words, and filters as (name, value)."""

    words: list[str]
    filters: list[tuple[str, str]]


class Condition(NamedTuple):
    """What projects have to meet: as a test of one, and as a query of the ids of all that do."""

    test: peewee.ColumnBase
    source: peewee.Select


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
        if not colon or name.lower() not in (AUTHOR, *FILTERS):
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
    wanted = canonicalize_name(folded("-".join(query.words)))
    with planned_anew():
        matches, is_cut = matching(query, wanted)
    rows = sorted(matches, key=lambda row: rank(row[1], wanted))[:MOST]
    found = paged([package_id for package_id, _ in rows], page)
    return found._replace(rows=shown(found.rows), is_cut=is_cut)


def matching(query: Query, wanted: str) -> tuple[set[tuple[int, str]], bool]:
    """Id and name of the projects that match, and whether there are more."""
    texts = [("search_text", spellings(word)) for word in query.words]
    texts += [("search_author", [folded(value)]) for name, value in query.filters if name == AUTHOR]
    filters = [FILTERS[name](value) for name, value in query.filters if name != AUTHOR]
    tests = [has_text(*each) for each in texts] + [condition.test for condition in filters]
    sources = [with_texts(texts) if texts else None, *(each.source for each in filters)]
    wholly = Package.select(Package.id, Package.normalized_name).where(*tests)
    rows = begun(wholly, [each for each in sources if each is not None]).limit(MOST + 1)
    found = database.execute(rows).fetchall()  # peewee's own reading takes three times as long
    is_cut = len(found) > MOST
    if is_cut and wanted:
        name = Package.normalized_name
        named = wholly.where(name >= wanted, name < wanted + AFTER_NAMES).order_by(name)
        found += database.execute(named.limit(MOST)).fetchall()
    return set(found), is_cut


def begun(query: peewee.Select, sources: list[peewee.Select]) -> peewee.Select:
    """The query, so that it begins with one of the sources: if possible, one that has few rows."""
    if not sources:
        return query
    for source in sources if len(sources) > 1 else ():
        ids = [row[0] for row in database.execute(source.limit(MOST + 1)).fetchall()]
        if len(ids) <= MOST:
            return query.where(Package.id.in_(ids))
    source = sources[0].alias("source")
    # SQLite keeps the order of a cross join, and then takes no more of the source than it needs.
    begun = query.from_(peewee.Join(source, Package, JOIN.CROSS))
    return begun.where(source.c.id == Package.id)


def shown(ids: list[int]) -> list[Package]:
    """These projects, in this order, with the fields of SHOWN."""
    fields = [getattr(Package, name) for name in SHOWN]
    found = {package.id: package for package in Package.select(*fields).where(Package.id.in_(ids))}
    return [found[each] for each in ids if each in found]


def rank(name: str, wanted: str) -> tuple[int, str]:
    """0 for the name itself, 1 for a name that begins so, 2 for one that has it, 3 for others."""
    if name.startswith(wanted):
        return (0 if name == wanted else 1), name
    return (2 if wanted in name else 3), name


def spellings(word: str) -> list[str]:
    """How the texts that are searched may have the word: as it is, or as in normalized names."""
    plain = folded(word)
    name = canonicalize_name(plain)
    return [plain] if name == plain or not name.strip("-") else [plain, name]


def has_text(column: str, spellings: list[str]) -> peewee.Expression:
    """The column has one of the spellings somewhere."""
    tests = (contains(getattr(Package, column), text) for text in spellings)
    return functools.reduce(operator.or_, tests)


def needs(name: str) -> Condition:
    """The latest release requires this project."""
    named = Dependency.normalized_name == canonicalize_name(name)
    is_latest = Dependency.release == Package.latest_release_id
    return Condition(
        fn.EXISTS(Dependency.select(Dependency.id).where(is_latest, named)),
        Package.select(Package.id).join(Dependency, on=is_latest).where(named),
    )


def kept_by(username: str) -> Condition:
    """The user is listed as a maintainer here."""
    rows = Maintainer.select(Maintainer.package.alias("id")).join(User)
    rows = rows.where(User.username_key == username.casefold())
    return Condition(fn.EXISTS(rows.where(Maintainer.package == Package.id)), rows)


def is_marked(status: str) -> Condition:
    """The project has this status.

    :raises InvalidInput: for a word that is none.
    """
    if status.lower() not in STATUSES:
        raise InvalidInput(f"The status {status!r} is none of {', '.join(STATUSES)}.")
    source = Package.select(Package.id).where(Package.status == status.lower())
    # As a function it has no index, with which SQLite would begin where another is better.
    return Condition(fn.LOWER(Package.status) == status.lower(), source)


FILTERS: dict[str, Callable[[str], Condition]] = {
    "depends": needs,
    "maintainer": kept_by,
    "status": is_marked,
}
