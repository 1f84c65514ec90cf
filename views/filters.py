"""What templates print in one way everywhere: sizes, numbers and times."""

from __future__ import annotations

import re
from datetime import datetime

from markupsafe import Markup

PRODUCT = re.compile(r"([A-Za-z][\w.-]{0,30})/([\w.+!-]{1,30})")  # what a User-Agent begins with
UNITS = ("kB", "MB", "GB", "TB", "PB")  # of 1000 each, as disks and download pages have them


def size(number: int) -> Markup:
    """A number of bytes for people, with the exact one as its title."""
    exact = "1 byte" if number == 1 else f"{number:,} bytes"
    return Markup('<span class="nowrap" title="{}">{}</span>').format(exact, rounded(number))


def rounded(number: int) -> str:
    """A number of bytes with one decimal at most, in the largest unit that fits."""
    if number < 1000:
        return f"{number} B"
    value = float(number)
    for unit in UNITS:
        value /= 1000
        if value < 999.5 or unit == UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


def number(value: int) -> str:
    """A number with its thousands set apart."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """A number and what it counts: 1 file, 2 files; the plural ends in s."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def when(moment: datetime | None, with_time: bool = False) -> Markup:
    """A moment as its day (UTC), or with the time; the exact one is in the title."""
    if moment is None:
        return Markup("never")
    day = f"{moment.day}\u00a0{moment:%b %Y}".replace(" ", "\u00a0")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC",
        f"{day}, {moment:%H:%M}" if with_time else day,
    )


def tool(agent: str) -> str:
    """The program that a User-Agent names, with its version: twine 6.1.0."""
    if agent.startswith("Mozilla/"):
        return "a browser"
    match = PRODUCT.match(agent)
    return f"{match[1]} {match[2]}" if match else ""


FILTERS = {"size": size, "number": number, "counted": counted, "when": when, "tool": tool}
