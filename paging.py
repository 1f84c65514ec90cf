"""Lists that are shown page by page."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from extrapypi.errors import InvalidInput

PER_PAGE = 50
NUMBER = re.compile(r"[0-9]{1,9}\Z")


class Paged(NamedTuple):
    """A page of a list; pages count from 1, ``total`` are the rows of all."""

    rows: list[Any]
    page: int
    pages: int
    total: int


def paged(rows: list[Any], page: int) -> Paged:
    """A page of the rows; the last one, when there are fewer."""
    pages = max(1, -(-len(rows) // PER_PAGE))
    page = min(page, pages)
    return Paged(rows[(page - 1) * PER_PAGE : page * PER_PAGE], page, pages, len(rows))


def page_number(text: str) -> int:
    """The page that a URL asks for; the first one when it names none.

    :raises InvalidInput: for what is no number from 1.
    """
    if not text:
        return 1
    if not NUMBER.match(text) or not int(text):
        raise InvalidInput(f"page is {text[:100]!r}; it takes a number from 1.")
    return int(text)
