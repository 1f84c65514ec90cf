"""What a release needs, and which projects on this index need a project."""

from __future__ import annotations

from typing import Any, NamedTuple

import peewee
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from peewee import JOIN

from extrapypi.database import tuples
from extrapypi.models import Dependency, Package, Release
from extrapypi.paging import MOST


class Needed(NamedTuple):
    """One dependency; ``name`` is normalized, ``is_here`` tells whether this index has it."""

    name: str
    specifier: str
    is_here: bool


class Group(NamedTuple):
    """Dependencies that count under the same condition."""

    extra: str  # "" when they count without one
    marker: str  # "" when they always count
    requirements: list[Needed]


class Dependent(NamedTuple):
    """A project whose latest release needs another one."""

    name: str
    normalized_name: str
    status: str
    version: str
    specifier: str
    marker: str


def dependency_rows(requires_dist: list[str]) -> list[dict[str, Any]]:
    """The rows that a release gets for what its metadata requires, but for the release itself."""
    return [
        {
            "normalized_name": canonicalize_name(requirement.name)[:200],
            "specifier": f"@ {requirement.url}" if requirement.url else str(requirement.specifier),
            "marker": str(requirement.marker or ""),
            "extra": extra_of(requirement)[:200],
        }
        for requirement in map(Requirement, requires_dist)
    ]


def extra_of(requirement: Requirement) -> str:
    """The extra that asks for the requirement, or "" when it always counts."""
    _, quoted, rest = str(requirement.marker or "").partition('extra == "')
    return canonicalize_name(rest.partition('"')[0]) if quoted else ""


def groups(release: Release) -> list[Group]:
    """The dependencies of a release: first those without an extra, then by extra and marker."""
    rows = (
        Dependency.select(
            Dependency.extra,
            Dependency.marker,
            Dependency.normalized_name,
            Dependency.specifier,
            Package.id,
        )
        .join(
            Package,
            JOIN.LEFT_OUTER,
            on=(Package.normalized_name == Dependency.normalized_name),
        )
        .where(Dependency.release == release)
    )
    found: dict[tuple[str, str], list[Needed]] = {}
    for extra, marker, name, specifier, package_id in sorted(tuples(rows)):
        requirement = Needed(name, specifier, package_id is not None)
        found.setdefault((extra, without_extra(marker, extra)), []).append(requirement)
    return [Group(*key, requirements) for key, requirements in sorted(found.items())]


def without_extra(marker: str, extra: str) -> str:
    """The marker without its plain condition on the extra, which the heading says."""
    condition = f'extra == "{extra}"'
    if marker == condition:
        return ""
    if not extra or " or " in marker:
        return marker
    return marker.removesuffix(f" and {condition}").removeprefix(f"{condition} and ")


def dependents(package: Package) -> list[Dependent]:
    """The projects whose latest release needs this one, by name; each requirement of it.

    At most MOST projects.
    """
    releases = needing(package, Package.latest_release_id).distinct().limit(MOST)
    columns = (Package.name, Package.normalized_name, Package.status, Package.latest_version)
    rows = needing(package, *columns, Dependency.specifier, Dependency.marker)
    rows = rows.where(Dependency.release.in_([release for (release,) in tuples(releases)]))
    found = (Dependent(*row) for row in tuples(rows))
    return sorted(found, key=lambda each: (each.normalized_name, each.specifier, each.marker))


def dependents_count(package: Package) -> int:
    """How many projects need this one; MOST + 1 when they are more than MOST."""
    return needing(package, Package.id).distinct().limit(MOST + 1).count()


def needing(package: Package, *columns: peewee.Field) -> peewee.Select:
    """Query of the projects whose latest release needs this one."""
    is_latest = Package.latest_release_id == Dependency.release
    query = Dependency.select(*columns).join(Package, on=is_latest)
    is_needed = Dependency.normalized_name == package.normalized_name
    return query.where(is_needed, Package.id != package.id)
