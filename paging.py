"""Lists that are shown page by page."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import peewee

from extrapypi.errors import InvalidInput

PER_PAGE = 50
MOST = 250  # rows of a list that has to be read and sorted as a whole; it is cut there
NUMBER = re.compile(r"[0-9]{1,9}\Z")


class Paged(NamedTuple):
    """A page of a list; pages count from 1, ``total`` are the rows of all."""

    rows: list[Any]
    page: int
    pages: int
    total: int
    is_cut: bool = False  # there are more than ``total``


def paged(rows: list[Any], page: int) -> Paged:
    """A page of the rows; the last one, when there are fewer."""
    page, pages = inside(page, len(rows))
    return Paged(rows[(page - 1) * PER_PAGE : page * PER_PAGE], page, pages, len(rows))


def paged_query(query: peewee.Query, total: int, page: int) -> Paged:
    """A page of the rows of a query, which has so many in all."""
    page, pages = inside(page, total)
    return Paged(list(query.paginate(page, PER_PAGE)), page, pages, total)


def inside(page: int, total: int) -> tuple[int, int]:
    """The number of the page, or of the last one, and how many there are."""
    pages = max(1, -(-total // PER_PAGE))
    return min(page, pages), pages


def page_number(text: str) -> int:
    """The page that a URL asks for; the first one when it names none.

    :raises InvalidInput: for what is no number from 1.
    """
    if not text:
        return 1
    if not NUMBER.match(text) or not int(text):
        raise InvalidInput(f"page is {text[:100]!r}; it takes a number from 1.")
    return int(text)
