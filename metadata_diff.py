"""What a release changed in the metadata, against the release before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from packaging.utils import canonicalize_name

from extrapypi.models import Release

PROJECT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(.*)", re.DOTALL)  # of a Requires-Dist
LONGEST = 200  # characters of a value that are shown
TEXTS = (  # heading, field
    ("Requires-Python", "requires_python"),
    ("Licence", "license_expression"),
    ("Licence", "license"),
    ("Summary", "summary"),
    ("Author", "author"),
    ("Author", "author_email"),
    ("Maintainer", "maintainer"),
    ("Maintainer", "maintainer_email"),
    ("Keywords", "keywords"),
    ("Homepage", "home_page"),
    ("Download page", "download_url"),
)
LISTS = (("Extra", "provides_extra"), ("Classifier", "classifiers"))
FIELDS = ("requires_dist", "project_urls", *(field for _, field in (*TEXTS, *LISTS)))


class Change(NamedTuple):
    """One difference; a value that is not there is ""."""

    kind: str  # added, removed or changed
    what: str
    name: str  # of which dependency, link, …; "" where there is only one
    before: str
    after: str


def changes(before: Release, after: Release) -> list[Change]:
    """What differs between the :data:`FIELDS` of two releases: dependencies first."""
    found = list(between("Dependency", requirements(before), requirements(after)))
    for what, field in TEXTS:
        old, new = (given(getattr(each, field)) for each in (before, after))
        found += between(what, old, new)
    found += between("Link", before.project_urls, after.project_urls)
    for what, field in LISTS:
        old, new = (dict.fromkeys(getattr(each, field), "") for each in (before, after))
        found += between(what, old, new)
    return found


def given(text: str) -> dict[str, str]:
    """A field that has at most one value, like those that have many with names."""
    return {"": text} if text else {}


def between(what: str, before: dict[str, str], after: dict[str, str]) -> Iterator[Change]:
    """What was added, removed or changed, by name."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            kind = "added" if old is None else "removed" if new is None else "changed"
            yield Change(kind, what, name, shortened(old or ""), shortened(new or ""))


def requirements(release: Release) -> dict[str, str]:
    """What a release asks of each project; several for one are put together."""
    found: dict[str, list[str]] = {}
    for text in release.requires_dist:
        match = PROJECT.match(text)
        if match:
            condition = match[2].removeprefix(";").strip()
            found.setdefault(canonicalize_name(match[1]), []).append(condition)
    return {name: " and also ".join(sorted(texts)) for name, texts in found.items()}


def shortened(text: str) -> str:
    """The text on one line, without the end of a long one."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rstrip()} …"
