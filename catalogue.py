"""The list of packages that the dashboard starts with.

It asks a fixed number of queries, however many projects, releases and files there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from peewee import JOIN, Case, fn

from extrapypi import counts
from extrapypi.database import database, fetch
from extrapypi.errors import InvalidInput
from extrapypi.models import File, Journal, Package, Release, version_key
from extrapypi.paging import Paged, paged

SORTS = {  # by what the list can be sorted, and which order comes first
    "name": "",
    "version": "-",
    "updated": "-",
    "files": "-",
    "size": "-",
    "downloads": "-",
}
TOTALS_SQL = """
    SELECT (SELECT COUNT(*) FROM packages), (SELECT COUNT(*) FROM releases),
           COUNT(*), COALESCE(SUM(size), 0)
    FROM files"""
SORTED_BY = {
    "name": Package.normalized_name,
    "version": Package.latest_version,
    "updated": Package.last_serial,
}


class Totals(NamedTuple):
    """What there is on the whole index; ``size`` is in bytes."""

    projects: int
    releases: int
    files: int
    size: int


class Sizes(NamedTuple):
    """What a project takes up; ``size`` is in bytes."""

    files: int = 0
    size: int = 0
    offered: int = 0  # files that are not yanked


class Listed(NamedTuple):
    """A line of the packages list; downloads are those of 30 days."""

    package: Package
    who: str  # changed it last
    sizes: Sizes
    downloads: int


def totals() -> Totals:
    """The sums over all projects."""
    return Totals(*map(int, fetch(TOTALS_SQL)))


def listed(sort: str, page: int) -> Paged:
    """A page of the packages list, sorted by a column; with "-" before it from the highest.

    :raises InvalidInput: for another column.
    """
    column = sort.removeprefix("-")
    if column not in SORTS:
        raise InvalidInput(f"sort is {sort[:100]!r}; it takes {', '.join(SORTS)}, with - or not.")
    values = sort_values(column)
    found = paged(sorted(values, key=values.get, reverse=sort.startswith("-")), page)
    return found._replace(rows=lines(found.rows))


def sort_values(column: str) -> dict[int, Any]:
    """What each project is sorted by, by its id; in Python: databases sort text differently."""
    chosen = SORTED_BY.get(column, Package.id)
    rows = database.execute(Package.select(Package.id, chosen).order_by(Package.id)).fetchall()
    if column == "version":
        return {package_id: known_version_key(version or "") for package_id, version in rows}
    if column in SORTED_BY:
        return dict(rows)
    ids = [package_id for package_id, _ in rows]
    if column == "downloads":
        downloads = counts.of_projects(ids)
        return {package_id: downloads.get(package_id, 0) for package_id in ids}
    taken = sizes()
    return {package_id: getattr(taken.get(package_id, Sizes()), column) for package_id in ids}


@lru_cache(maxsize=10_000)
def known_version_key(version: str) -> tuple:
    """The key of a version that is the latest of one or, mostly, of many projects."""
    return version_key(version)


def sizes(ids: list[int] | None = None) -> dict[int, Sizes]:
    """What each of these projects takes up, or (None) all of them, by id."""
    offered = fn.SUM(Case(None, ((~File.yanked, 1),), 0))
    columns = (Release.package, fn.COUNT(File.id), fn.COALESCE(fn.SUM(File.size), 0), offered)
    # From the releases on, because MySQL would look up every one of them, with its description.
    query = Release.select(*columns).join(File, JOIN.LEFT_OUTER).group_by(Release.package)
    if ids is not None:
        query = query.where(Release.package.in_(ids))
    rows = database.execute(query).fetchall()  # peewee's own reading takes three times as long
    return {package_id: Sizes(*map(int, row)) for package_id, *row in rows}


def lines(ids: list[int]) -> list[Listed]:
    """The lines of these projects, in this order."""
    found = {package.id: package for package in Package.select().where(Package.id.in_(ids))}
    packages = [found[each] for each in ids if each in found]
    who, taken, downloads = changed_by(packages), sizes(ids), counts.of_projects(ids)
    return [
        Listed(
            package,
            who.get(package.name, ""),
            taken.get(package.id, Sizes()),
            downloads.get(package.id, 0),
        )
        for package in packages
    ]


def changed_by(packages: Iterable[Package]) -> dict[str, str]:
    """Who changed each project last, by the project's name."""
    names = [package.name for package in packages]
    last = Journal.select(fn.MAX(Journal.id)).where(Journal.package.in_(names))
    query = Journal.select(Journal.package, Journal.who)
    return dict(query.where(Journal.id.in_(last.group_by(Journal.package))).tuples())
