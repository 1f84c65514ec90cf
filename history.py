"""Reading the journal: which lines, and what each of them tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from typing import NamedTuple

from packaging.utils import canonicalize_name
from peewee import ModelSelect

from extrapypi.database import connection, tuples
from extrapypi.models import Journal, Package, User

PAGE, BATCH = 50, 1000  # lines of a page; lines that are read at once for a file of all
CLOCK = timedelta(days=1)  # that a server's clock may have been set back
BEHIND_ALL = 2**31  # an id that no line has
ACTIONS = {  # action -> what its line tells
    "upload": "uploaded {what}",
    "create project": "created the project {package}",
    "yank": "yanked {what}",
    "un-yank": "took back the yank of {what}",
    "delete file": "deleted {what}",
    "delete release": "deleted {what}",
    "delete project": "deleted the project {package}",
    "set status": "set the status of {package} to {detail}",
    "add maintainer": "made {detail} a maintainer of {package}",
    "remove maintainer": "took {detail} off the maintainers of {package}",
    "create user": "created the user {detail}",
    "edit user": "changed the user {detail}",
    "set password": "changed the password of {detail}",
    "end sessions": "ended sessions of {detail}",
    "delete user": "deleted the user {detail}",
    "create token": "created the token {detail}",
    "revoke token": "revoked the token {detail}",
    "repair": "mended {what} in the storage",
    "set aside": "moved what belongs to nothing out of the way: {detail}",
}


def sentence(line: Journal) -> tuple[str, dict[str, str]]:
    """What was done, to be read behind the name of who did it: a format string and its values."""
    release = "{package} {version}" if line.version else "{package}"
    what = f"{{filename}} of {release}" if line.filename else release
    text = ACTIONS.get(line.action, "{action} {what} {detail}").replace("{what}", what)
    names = ("action", "package", "version", "filename", "detail")
    return text, {name: getattr(line, name) for name in names}


def told(line: Journal) -> str:
    """The same as plain text."""
    text, values = sentence(line)
    return text.format(**values).strip()


def remark(line: Journal) -> str:
    """What the line adds to that: why something was done, or with which program."""
    if "{detail}" in ACTIONS.get(line.action, "{detail}"):
        return ""
    if line.action == "upload":
        if line.detail.startswith("Mozilla/"):
            return "with a browser"
        return f"with {line.detail.partition(' ')[0]}" if line.detail else ""
    return line.detail


class Wanted(NamedTuple):
    """The lines that somebody wants to see; what is empty excludes none."""

    who: str = ""  # a name, in any case
    package: str = ""  # in any spelling
    action: str = ""
    since: date | None = None  # the first and the last day (UTC)
    until: date | None = None

    def query(self) -> ModelSelect[Journal]:
        """The lines, in no order.

        Days become ids as well: a time alone would let the database look at every line that is
        newer than the ones wanted.
        """
        found = []
        if self.who:
            user = User.get_or_none(User.username_key == self.who.casefold())
            found.append(Journal.who == (user.username if user else self.who))
        if self.package:
            found.append(Journal.package.in_(spellings(self.package)))
        if self.action:
            found.append(Journal.action == self.action)
        if self.since:
            start = midnight(self.since)
            first = Journal.select(Journal.id).where(Journal.at >= start - CLOCK)
            first_id = first.order_by(Journal.at).limit(1).scalar() or BEHIND_ALL
            found += [Journal.at >= start, Journal.id >= first_id]
        if self.until:
            end = midnight(self.until) + timedelta(days=1)
            last = Journal.select(Journal.id).where(Journal.at < end + CLOCK)
            last_id = last.order_by(Journal.at.desc()).limit(1).scalar() or 0
            found += [Journal.at < end, Journal.id <= last_id]
        query: ModelSelect[Journal] = Journal.select()
        for condition in found:
            query = query.where(condition)
        return query


def midnight(day: date) -> datetime:
    """The moment when the day begins (UTC)."""
    return datetime.combine(day, time(), timezone.utc)


def existing(lines: list[Journal]) -> set[str]:
    """Those of the lines' projects that are there still, as the lines spell them."""
    names = {line.package: canonicalize_name(line.package) for line in lines if line.package}
    query = Package.select(Package.normalized_name)
    found = query.where(Package.normalized_name.in_(sorted(set(names.values()))))
    there = {name for (name,) in tuples(found)}
    return {name for name, key in names.items() if key in there}


def spellings(name: str) -> list[str]:
    """Every spelling in which the journal has a project; a project that is gone has its lines."""
    key = canonicalize_name(name)
    created = Journal.select(Journal.package).where(Journal.action == "create project")
    return sorted({found for (found,) in tuples(created) if canonicalize_name(found) == key})


class Lines(NamedTuple):
    """A page of lines, newest first, and whether there are newer and older ones."""

    lines: list[Journal]
    has_newer: bool
    has_older: bool


def page(wanted: Wanted, before: int | None = None, after: int | None = None) -> Lines:
    """The newest lines, or those next before or after the line of an id."""
    query = wanted.query().limit(PAGE + 1)
    if after is not None:
        found = list(query.where(Journal.id > after).order_by(Journal.id))
        return Lines(found[:PAGE][::-1], len(found) > PAGE, True)
    if before is not None:
        query = query.where(Journal.id < before)
    found = list(query.order_by(Journal.id.desc()))
    return Lines(found[:PAGE], before is not None, len(found) > PAGE)


def every(wanted: Wanted) -> Iterator[Journal]:
    """All lines, newest first, read in batches while they are sent."""
    with connection():
        query, last = wanted.query().order_by(Journal.id.desc()).limit(BATCH), BEHIND_ALL
    while True:
        with connection():
            batch = list(query.where(Journal.id < last))
        yield from batch
        if len(batch) < BATCH:
            return
        last = batch[-1].id
