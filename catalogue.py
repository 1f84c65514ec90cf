"""The list of packages that the dashboard starts with.

It asks a fixed number of queries, each for the rows of one page, however many projects there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from extrapypi import counts
from extrapypi.database import fetch, tuples
from extrapypi.errors import InvalidInput
from extrapypi.models import Journal, Package
from extrapypi.paging import Paged, paged_query

SORTS = {  # by what the list can be sorted, and which order comes first
    "name": "",
    "updated": "-",
    "files": "-",
    "size": "-",
    "downloads": "-",
}
SORTED_BY = {  # each has an index
    "name": (Package.normalized_name,),
    "updated": (Package.last_serial, Package.id),
    "files": (Package.file_count, Package.id),
    "size": (Package.total_size, Package.id),
    "downloads": (Package.recent_downloads, Package.id),
}


class Totals(NamedTuple):
    """What there is on the whole index; ``size`` is in bytes."""

    projects: int
    releases: int
    files: int
    size: int


class Listed(NamedTuple):
    """A line of the packages list; downloads are those of 30 days."""

    package: Package
    who: str  # changed it last
    downloads: int


def totals() -> Totals:
    """The sums over all projects."""
    return Totals(*fetch("SELECT projects, releases, files, size FROM serial"))


def listed(sort: str, page: int, total: int) -> Paged:
    """A page of the list of so many packages, sorted by a column; with "-" from the highest.

    :raises InvalidInput: for another column.
    """
    column = sort.removeprefix("-")
    if column not in SORTS:
        raise InvalidInput(f"sort is {sort[:100]!r}; it takes {', '.join(SORTS)}, with - or not.")
    is_descending = sort.startswith("-")
    order = [field.desc() if is_descending else field for field in SORTED_BY[column]]
    found = paged_query(Package.select().order_by(*order), total, page)
    return found._replace(rows=lines(found.rows))


def lines(packages: list[Package]) -> list[Listed]:
    """The lines of these projects, in this order."""
    who, downloads = changed_by(packages), counts.of_projects([each.id for each in packages])
    return [
        Listed(package, who.get(package.last_serial, ""), downloads.get(package.id, 0))
        for package in packages
    ]


def changed_by(packages: Iterable[Package]) -> dict[int, str]:
    """Who changed each project last, by the serial of that."""
    serials = [package.last_serial for package in packages]
    query = Journal.select(Journal.serial, Journal.who).where(Journal.serial.in_(serials))
    return dict(tuples(query))
