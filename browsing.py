"""A project as the dashboard's reading pages show it.

They ask a fixed number of queries, however many releases and files there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from itertools import zip_longest
from typing import Any, NamedTuple

from peewee import JOIN

from extrapypi import packages
from extrapypi.auth import Actor
from extrapypi.database import tuples
from extrapypi.dependencies import dependents_count
from extrapypi.errors import Forbidden, NotFound
from extrapypi.metadata_diff import FIELDS, Change, changes
from extrapypi.models import File, Journal, Package, Release, User, is_prerelease, version_key
from extrapypi.paging import PER_PAGE, Paged, paged

MOST_LINES = 100  # of the journal on a project's page


class Project:
    """A project with one of its releases, as its pages show them."""

    def __init__(self, package: Package, version: str | None = None) -> None:
        """:raises NotFound: when there is no such release."""
        self.package = package
        own = Release.select(Release.id, Release.version).where(Release.package == package)
        self.versions: dict[int, str] = dict(tuples(own))
        latest_id = package.latest_release_id
        if latest_id not in self.versions:  # the last one was deleted in between
            raise NotFound(f"There is no release of {package.name}.")
        self.latest_id = latest_id
        self.is_pinned = version is not None
        self.release = Release.of(package, version or self.versions[self.latest_id])
        self.yanked = Release.yanked_of(package)
        self.files = files_of(self.release)

    @property
    def latest(self) -> str | None:
        """The version that installers prefer, when it is another one and not yanked."""
        is_better = self.latest_id != self.release.id and self.latest_id not in self.yanked
        return self.versions[self.latest_id] if is_better else None

    @property
    def is_yanked(self) -> bool:
        """Whether every file of the release is yanked."""
        return self.release.id in self.yanked

    @property
    def is_prerelease(self) -> bool:
        """Whether installers take the release only when they are asked to."""
        return is_prerelease(self.release.version)

    @property
    def is_newer(self) -> bool:
        """Whether the release has a higher version than the latest one."""
        return version_key(self.release.version) > version_key(self.versions[self.latest_id])

    @property
    def reasons(self) -> list[str]:
        """Why files of the release are yanked, each reason once."""
        return reasons(self.files)

    @property
    def size(self) -> int:
        """Bytes of all the release's files."""
        return sum(file.size for file in self.files)

    @property
    def maintainers(self) -> list[User]:
        """The users who are listed as maintainers, by name."""
        return sorted(self.package.maintainers, key=lambda user: user.username.casefold())

    @cached_property
    def dependents_count(self) -> int:
        """How many projects here need it; MOST + 1 when they are more than MOST."""
        return dependents_count(self.package)


def files_of(release: Release) -> list[File]:
    """The release's files with who uploaded them: wheels first, each kind by name."""
    found = with_uploader(File.release == release)
    return sorted(found, key=lambda file: (file.packagetype, file.filename))


def with_uploader(condition: Any) -> Iterable[File]:
    """Query of files, each with the user who uploaded it."""
    return File.select(File, User).join(User, JOIN.LEFT_OUTER).where(condition)


def reasons(files: Iterable[File]) -> list[str]:
    """Why those of the files are yanked that are, each reason once."""
    return list(dict.fromkeys(f.yanked_reason for f in files if f.yanked and f.yanked_reason))


def may_manage(actor: Actor, package: Package) -> bool:
    """Whether the actor may change something about the project."""
    with suppress(Forbidden):
        packages.check_listed(actor, package, "maintainer")
        return True
    return False


class Past(NamedTuple):
    """A release in the history of its project, and the one of the version before it."""

    release: Release
    older: Release | None
    files: list[File]
    is_yanked: bool

    @property
    def changes(self) -> list[Change]:
        """What it changed in the metadata."""
        return changes(self.older, self.release) if self.older else []

    @property
    def reasons(self) -> list[str]:
        """Why its files are yanked, each reason once."""
        return reasons(self.files)

    @property
    def published(self) -> datetime | None:
        """When its first file came."""
        return min((file.upload_time for file in self.files), default=None)

    @property
    def who(self) -> list[str]:
        """Who uploaded its files, by name."""
        return sorted({file.uploaded_by.username for file in self.files if file.uploaded_by})


def releases(project: Project, page: int) -> Paged:
    """A page of the releases, newest version first, each as :class:`Past`."""
    newest = sorted(project.versions.items(), key=lambda each: version_key(each[1]), reverse=True)
    ids = [release_id for release_id, _ in newest]
    found = paged(ids, page)
    start = (found.page - 1) * PER_PAGE
    read = releases_of(ids[start : start + PER_PAGE + 1])  # the last one only to compare with
    files: dict[int, list[File]] = {}
    for file in with_uploader(File.release.in_(found.rows)):
        files.setdefault(file.release_id, []).append(file)
    pairs = list(zip_longest(read, read[1:]))[: len(found.rows)]
    yanked = project.yanked
    rows = [Past(new, old, files.get(new.id, []), new.id in yanked) for new, old in pairs]
    return found._replace(rows=rows)


def releases_of(ids: list[int]) -> list[Release]:
    """The releases with these ids, in this order, without their descriptions."""
    columns = [getattr(Release, name) for name in ("id", "version", *FIELDS)]
    found = {each.id: each for each in Release.select(*columns).where(Release.id.in_(ids))}
    return [found[each] for each in ids if each in found]


def journal(package: Package) -> list[Journal]:
    """The last lines of the journal about the project, newest first."""
    lines = Journal.select().where(Journal.package == package.name)
    return list(lines.order_by(Journal.id.desc()).limit(MOST_LINES))
