"""What can be done to packages: yank, delete, mark; views and commands both call it.

Each change is one short transaction with its line in the journal. Rights are checked here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from extrapypi.auth import UNPRINTABLE, Actor
from extrapypi.database import retried, tuples
from extrapypi.errors import Forbidden, InvalidInput, NotFound, StorageError
from extrapypi.models import (
    STATUSES,
    File,
    Journal,
    Maintainer,
    Package,
    Release,
    User,
    version_key,
    writing,
)
from extrapypi.paging import Paged, paged
from extrapypi.storage import BaseStorage

log = logging.getLogger("extrapypi")

LONGEST_REASON = 500  # characters


@retried
def yank(
    actor: Actor,
    project: str,
    version: str,
    reason: str = "",
    undo: bool = False,
    filename: str | None = None,
) -> list[str]:
    """Yanks a release, or one file of it (PEP 592), or takes that back; the names of its files.

    :raises NotFound: for what does not exist.
    :raises Forbidden: for an actor who is neither admin nor listed as maintainer.
    :raises InvalidInput: for a reason that is too long.
    """
    reason = checked_reason(reason)
    state = {"yanked": not undo, "yanked_reason": "" if undo else reason}
    with writing() as serial:
        package = Package.named(project)
        check_listed(actor, package, "maintainer")
        release = Release.of(package, version)
        files = files_named(release, filename)
        names = [file.filename for file in files]
        if all((file.yanked, file.yanked_reason) == tuple(state.values()) for file in files):
            return names
        File.update(state).where(File.id.in_([file.id for file in files])).execute()
        package.touch(serial)
        action = "un-yank" if undo else "yank"
        what = {"version": release.version, "filename": filename or ""}
        Journal.add(serial, actor, action, package=package.name, detail=reason, **what)
    return names


def delete(
    storage: BaseStorage,
    actor: Actor,
    project: str,
    version: str | None = None,
    filename: str | None = None,
    reason: str = "",
) -> list[str]:
    """Deletes a project, a release or a file, for good; the names of the files that went.

    A release or project whose last file goes, goes too. The names stay used.

    :raises NotFound: for what does not exist.
    :raises Forbidden: for a project unless admin; else unless developer and listed.
    """
    package, files = delete_rows(storage, actor, project, version, filename, reason)
    remove_stored(storage, package, files)
    return [file.filename for file in files]


@retried
def delete_rows(
    storage: BaseStorage,
    actor: Actor,
    project: str,
    version: str | None,
    filename: str | None,
    reason: str,
) -> tuple[Package, dict[File, Path | None]]:
    """Takes a project, a release or a file off the index.

    The project, and the files that went, each with the storage's note of it.
    """
    with writing() as serial:
        package = Package.named(project)
        if version is None:
            actor.check("admin")
            actor.check_package(package.normalized_name)
        else:
            check_listed(actor, package, "developer")
        releases = [Release.of(package, version)] if version else versions_of(package)
        files = [file for release in releases for file in files_named(release, filename)]
        remove_rows(package, releases, files, serial)
        action = f"delete {'file' if filename else 'release' if version else 'project'}"
        what = {"version": releases[0].version if version else "", "filename": filename or ""}
        Journal.add(
            serial, actor, action, package=package.name, detail=checked_reason(reason), **what
        )
        return package, {file: storage.note(file.location) for file in files}


def remove_rows(package: Package, releases: list[Release], files: list[File], serial: int) -> None:
    """Deletes the rows of the files, and of a release or project that is left without any."""
    for file in files:
        file.delete_instance()
    for release in releases:
        if not release.files.exists():
            release.delete_instance()
    if package.releases.exists():
        package.touch(serial)
    else:
        package.remove()


def remove_stored(storage: BaseStorage, package: Package, files: dict[File, Path | None]) -> None:
    """Removes the bytes of deleted files, unless they have come back in the meantime.

    They are off the index; what cannot be removed now is swept up later, because of its note.
    """
    for file, note in files.items():
        try:
            if storage.REUSES:
                remove_unlisted(storage, package, file)
            else:
                storage.delete_file(file.location)
            remove_note(note)
        except StorageError as error:
            log.error("%s was deleted, but is left in the storage: %s", file.filename, error)


def remove_note(note: Path | None) -> None:
    """Removes what the storage has noted, now that it is done."""
    if note is not None:
        note.unlink(missing_ok=True)


@retried
def remove_unlisted(storage: BaseStorage, package: Package, file: File) -> None:
    """Removes what lies at the file's location, if no file on the index has it.

    It holds the writers' lock: an upload of the same bytes may go to the same place.
    """
    with writing():
        back = File.get_or_none(File.filename == file.filename)
        if back is None or back.location != file.location:
            storage.delete_file(file.location)
        storage.delete_package(package)


@retried
def set_status(actor: Actor, project: str, status: str, reason: str = "") -> None:
    """Marks a project as active, archived, deprecated or quarantined (PEP 792).

    :raises InvalidInput: for another word, or a reason that is too long.
    :raises Forbidden: unless admin.
    """
    reason = checked_reason(reason)
    if status not in STATUSES:
        raise InvalidInput(f"The status {status!r} is none of {', '.join(STATUSES)}.", "status")
    actor.check("admin")
    with writing() as serial:
        package = Package.named(project)
        package.status = status
        package.status_reason = "" if status == "active" else reason
        package.save(only=["status", "status_reason"])
        package.touch(serial)
        detail = f"{status}: {reason}" if reason else status
        Journal.add(serial, actor, "set status", package=package.name, detail=detail)


@retried
def set_maintainer(actor: Actor, project: str, username: str, listed: bool = True) -> None:
    """Lists a user as maintainer of the project, or takes them off the list.

    :raises NotFound: for an unknown project or user.
    :raises Forbidden: for an actor who is neither admin nor listed.
    """
    with writing() as serial:
        package = Package.named(project)
        check_listed(actor, package, "maintainer")
        user = User.named(username)
        key = (Maintainer.package == package) & (Maintainer.user == user)
        if Maintainer.select().where(key).exists() == listed:
            return
        if listed:
            Maintainer.create(package=package, user=user)
        else:
            Maintainer.delete().where(key).execute()
        package.touch(serial)
        action = "add maintainer" if listed else "remove maintainer"
        Journal.add(serial, actor, action, package=package.name, detail=user.username)


def releases_of(package: Package, page: int) -> Paged:
    """A page of the project's releases, newest version first, each with ``own_files``.

    Of the releases there is only the version.
    """
    rows = versions_of(package)
    rows.sort(key=lambda release: version_key(release.version), reverse=True)
    found = paged(rows, page)
    columns = (File.id, File.release, File.filename, File.size, File.yanked, File.yanked_reason)
    query = File.select(*columns).where(File.release.in_([release.id for release in found.rows]))
    files = sorted(query, key=lambda file: file.filename)
    for release in found.rows:
        release.own_files = [file for file in files if file.release_id == release.id]
    return found


def versions_of(package: Package) -> list[Release]:
    """All releases of the project, of which there is only the version."""
    return list(package.releases.select(Release.id, Release.version))


class Loss(NamedTuple):
    """What goes when something is deleted; ``size`` is in bytes."""

    filenames: list[str]
    size: int
    takes_release: bool
    takes_project: bool


def lost(package: Package, release: Release | None, filename: str | None) -> Loss:
    """What would go with the project, with one release (else None) or one file of it."""
    rows = tuples(File.of(package).select(File.filename, File.size, File.release))
    going: list[tuple] = []
    kept: list[tuple] = []
    for row in rows:
        goes = row[0] == filename if filename else release is None or row[2] == release.id
        (going if goes else kept).append(row)
    return Loss(
        filenames=sorted(row[0] for row in going),
        size=sum(row[1] for row in going),
        takes_release=release is not None and all(row[2] != release.id for row in kept),
        takes_project=not kept,
    )


def check_listed(actor: Actor, package: Package, role: str) -> None:
    """Refuses all but admins, and the project's maintainers who have the role.

    :raises Forbidden: with what is missing.
    """
    actor.check(role)
    actor.check_package(package.normalized_name)
    key = (Maintainer.package == package) & (Maintainer.user == actor.user_id)
    if not actor.may("admin") and not Maintainer.select().where(key).exists():
        raise Forbidden(f"{actor.username} is not listed as a maintainer of {package.name}.")


def files_named(release: Release, filename: str | None) -> list[File]:
    """The release's file of this name, or (None) all of them.

    :raises NotFound: when there is none.
    """
    files = [file for file in release.files if filename in (None, file.filename)]
    if filename is not None and not files:
        raise NotFound(f"There is no file {filename} in the release {release.version}.")
    return files


def checked_reason(text: str) -> str:
    """The reason as one line; index pages repeat it for each file.

    :raises InvalidInput: when it is too long.
    """
    reason = one_line(text)
    if len(reason) > LONGEST_REASON:
        raise InvalidInput(
            f"A reason has at most {LONGEST_REASON} characters; this one has {len(reason)}.",
            "reason",
        )
    return reason


def one_line(text: str) -> str:
    """The text without line breaks, other control characters and outer white space."""
    return " ".join(UNPRINTABLE.sub(" ", text).split())
