"""The journal: who did what to what, when and from where; as a page, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import partial
from urllib.parse import urlencode

from bottle import HTTPResponse
from markupsafe import Markup
from packaging.utils import canonicalize_name

from extrapypi import history
from extrapypi.database import tuples
from extrapypi.models import Journal, User
from extrapypi.views.browser import asked, page, url

COLUMNS = (
    *("id", "at", "who", "token", "address", "action", "package", "version", "filename"),
    *("detail", "sentence"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # begins what a spreadsheet would compute
DAY = re.compile(r"[12]\d{3}-\d{2}-\d{2}", re.ASCII)


def journal(site, actor):
    """GET /dashboard/journal/, with the filters in the query"""
    asked_for = {name: asked(name) for name in ("who", "package", "action", "since", "until")}
    faults: dict[str, str] = {}
    days = {name: day(asked_for[name], name, faults) for name in ("since", "until")}
    who, project, action = asked_for["who"], asked_for["package"], asked_for["action"]
    wanted = history.Wanted(who, project, action, **days)
    if not faults and asked("format") in FORMATS:
        return FORMATS[asked("format")](history.every(wanted))
    empty = history.Lines([], False, False)
    found = empty if faults else history.page(wanted, number("before"), number("after"))
    filters = urlencode({name: value for name, value in asked_for.items() if value})
    return page(
        site,
        actor,
        "journal/journal.html",
        400 if faults else 200,
        found=found,
        told=partial(linked, history.existing(found.lines)),
        remark=history.remark,
        actions=sorted(history.ACTIONS),
        names=sorted(name for (name,) in tuples(User.select(User.username))),
        asked_for=asked_for,
        faults=faults,
        filters=filters,
    )


def linked(existing: set[str], line: Journal) -> Markup:
    """What the line tells, with a link to the project if that is there."""
    text, values = history.sentence(line)
    if line.package in existing:
        path = url(f"/dashboard/packages/{canonicalize_name(line.package)}/")
        link = Markup('<a href="{}">{}</a>').format(path, line.package)
        return Markup(text).format(**{**values, "package": link})
    return Markup(text).format(**values)


def day(text: str, name: str, faults: dict[str, str]) -> date | None:
    """The day that was asked for; for what is none there is a fault."""
    if not text:
        return None
    try:
        if not DAY.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        faults[name] = f"{text[:100]!r} is no day; write it as 2026-01-31."
        return None


def number(name: str) -> int | None:
    """An id from the query; None for nonsense."""
    text = asked(name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None


def record(line: Journal) -> dict[str, object]:
    """The line as a file of lines has it."""
    own = {name: getattr(line, name) for name in COLUMNS[:-1]}
    at = line.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {**own, "at": at, "sentence": f"{line.who} {history.told(line)}"}


def as_csv(lines: Iterable[Journal]) -> HTTPResponse:
    """The lines as a table that a spreadsheet opens, and does not compute."""

    def rows() -> Iterator[bytes]:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(COLUMNS)
        for line in lines:
            writer.writerow([harmless(str(value)) for value in record(line).values()])
            if buffer.tell() > 65536:
                yield taken(buffer)
        yield taken(buffer)

    return attachment(rows(), "text/csv; charset=utf-8", "journal.csv")


def harmless(cell: str) -> str:
    """The cell as text, whatever it begins with."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def taken(buffer: io.StringIO) -> bytes:
    """What the buffer holds, which is empty afterwards."""
    content = buffer.getvalue().encode("utf-8")
    buffer.seek(0)
    buffer.truncate()
    return content


def as_json(lines: Iterable[Journal]) -> HTTPResponse:
    """The lines as one list of objects."""

    def parts() -> Iterator[bytes]:
        before = "[\n"
        for line in lines:
            yield (before + json.dumps(record(line), ensure_ascii=False)).encode("utf-8")
            before = ",\n"
        yield b"\n]\n" if before == ",\n" else b"[]\n"

    return attachment(parts(), "application/json", "journal.json")


def attachment(content: Iterator[bytes], kind: str, filename: str) -> HTTPResponse:
    """A file that is made while it is sent."""
    headers = {
        "Content-Type": kind,
        "Content-Disposition": f'attachment; filename="{filename}"',
        "Cache-Control": "no-store",
    }
    return HTTPResponse(content, 200, headers)


FORMATS = {"csv": as_csv, "json": as_json}
