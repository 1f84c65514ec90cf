"""What can be done to packages: add, yank, delete, mark; views and commands both call it.

Each change is one short transaction with its line in the journal. Rights are checked here.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from extrapypi.auth import Actor
from extrapypi.database import utcnow
from extrapypi.distributions import Distribution
from extrapypi.errors import FileExists, Forbidden, InvalidInput, InvalidUpload, NotFound
from extrapypi.models import (
    STATUSES,
    Dependency,
    File,
    Journal,
    Maintainer,
    Package,
    Release,
    UsedFilename,
    User,
    writing,
)
from extrapypi.storage import BaseStorage, Incoming

CLOSED = ("archived", "quarantined")  # take no uploads (PEP 792)


def add_file(
    storage: BaseStorage,
    actor: Actor,
    distribution: Distribution,
    incoming: Incoming,
    upload_time: datetime | None = None,
) -> bool:
    """Puts a checked and finished file on the index; False when it was there already.

    :param upload_time: when an imported file was published; None means now.
    :raises FileExists: when the name is taken by other bytes.
    :raises InvalidUpload: when the name was used before, or the release has an sdist.
    :raises Forbidden: for an actor who may not, or a project that takes no files.
    """
    incoming.filename, incoming.metadata = distribution.filename, distribution.metadata_bytes
    digests = incoming.digests
    name = distribution.normalized_name
    actor.check_package(name)
    if is_known(distribution, digests["sha256"]):
        return False
    package = Package.get_or_none(Package.normalized_name == name)
    check_may_add(actor, package, distribution)
    storage.prepare(package or Package(normalized_name=name), incoming)
    with writing() as serial:
        if is_known(distribution, digests["sha256"]):  # now that nobody else writes
            return False
        package = get_package(serial, actor, distribution)
        check_may_add(actor, package, distribution)
        release = get_release(package, distribution)
        check_free(release, distribution, digests["sha256"])
        add_rows(actor, release, distribution, incoming, digests, upload_time or utcnow(), storage)
        package.touch(serial)
        what = {"version": release.version, "filename": distribution.filename}
        Journal.add(serial, actor, "upload", package=package.name, detail=actor.agent, **what)
    return True


def is_known(distribution: Distribution, sha256: str) -> bool:
    """Whether this very file is on the index.

    :raises FileExists: when another one of its name is.
    """
    taken = File.select(File.sha256).where(File.filename == distribution.filename).scalar()
    if taken not in (None, sha256):
        raise FileExists(distribution.filename)
    return taken is not None


def check_may_add(actor: Actor, package: Package | None, distribution: Distribution) -> None:
    """Nothing, when the actor may add files to the project, or create it when there is none.

    :raises Forbidden: with what stands in the way.
    """
    if package is None:
        if not actor.may("developer"):
            raise Forbidden(
                f"There is no project {distribution.metadata.name} yet, and creating one needs the "
                f"role developer; {actor.username} is {actor.role}."
            )
        return
    actor.check("maintainer")
    if package.status in CLOSED:
        raise Forbidden(f"The project {package.name} is {package.status} and takes no new files.")


def get_package(serial: int, actor: Actor, distribution: Distribution) -> Package:
    """The file's project, created when this is its first; lists the actor as maintainer."""
    package, is_new = Package.get_or_create(
        normalized_name=distribution.normalized_name, defaults={"name": distribution.metadata.name}
    )
    if is_new:
        if not actor.may("developer"):  # the last file was deleted a moment ago
            raise Forbidden(f"There is no project {package.name} any more.")
        Journal.add(serial, actor, "create project", package=package.name)
    if actor.user_id is not None:
        key = {"package": package, "user": actor.user_id}
        Maintainer.get_or_create(**key)
    return package


def get_release(package: Package, distribution: Distribution) -> Release:
    """The file's release, with the metadata that the file brings.

    The newest file's fields win, but what it leaves empty does not erase an older file's.
    """
    key = {"package": package, "canonical_version": distribution.canonical_version}
    release = Release.get_or_none(**key) or Release(**key, version=distribution.metadata.version)
    for field, value in asdict(distribution.metadata).items():
        if value and field not in ("metadata_version", "name", "version"):
            setattr(release, field, value)
    release.updated_at = utcnow()
    release.save()
    if release.summary != package.summary and release.id == package.latest_release_id:
        package.summary = release.summary
        package.save(only=["summary"])
    if distribution.packagetype != "sdist" or not release.dependencies.exists():
        set_dependencies(release, distribution.metadata.requires_dist)
    return release


def set_dependencies(release: Release, requires_dist: list[str]) -> None:
    """Writes the release's dependencies, of which each has its row."""
    Dependency.delete().where(Dependency.release == release).execute()
    for requirement in map(Requirement, requires_dist):
        Dependency.create(
            release=release,
            normalized_name=canonicalize_name(requirement.name)[:200],
            specifier=f"@ {requirement.url}" if requirement.url else str(requirement.specifier),
            marker=str(requirement.marker or ""),
            extra=extra_of(requirement)[:200],
        )


def extra_of(requirement: Requirement) -> str:
    """The extra that asks for the requirement, or "" when it always counts."""
    _, quoted, rest = str(requirement.marker or "").partition('extra == "')
    return canonicalize_name(rest.partition('"')[0]) if quoted else ""


def check_free(release: Release, distribution: Distribution, sha256: str) -> None:
    """Nothing, when the release has room for the file.

    :raises InvalidUpload: for a name that other bytes had, and for a second sdist.
    :raises FileExists: for a name that differs only by case.
    """
    filename = distribution.filename
    used = UsedFilename.get_or_none(UsedFilename.filename == filename)
    if used is not None and used.sha256 != sha256:
        raise InvalidUpload(
            f"The file name {filename} was used before with other content and was deleted; "
            "clients keep what they know, so raise the version."
        )
    for file in release.files:
        if file.filename.lower() == filename.lower():
            raise FileExists(filename)
        if file.packagetype == distribution.packagetype == "sdist":
            raise InvalidUpload(
                f"{filename}: the release {release.version} has the source distribution "
                f"{file.filename}; a release has only one."
            )


def add_rows(
    actor: Actor,
    release: Release,
    distribution: Distribution,
    incoming: Incoming,
    digests: dict[str, str],
    upload_time: datetime,
    storage: BaseStorage,
) -> None:
    """Writes the file's rows and, behind them, its bytes."""
    is_wheel = distribution.packagetype == "bdist_wheel"
    file = File.create(
        release=release,
        filename=distribution.filename,
        location="",
        size=incoming.size,
        packagetype=distribution.packagetype,
        python_version=distribution.python_version[:128],
        requires_python=distribution.metadata.requires_python,
        upload_time=upload_time,
        uploaded_by=actor.user_id,
        user_agent=actor.agent,
        # A source distribution's may change when it is built: only a wheel's is offered.
        metadata_sha256=incoming.metadata_sha256 if is_wheel else None,
        **digests,
    )
    UsedFilename.get_or_create(
        filename=distribution.filename, defaults={"sha256": digests["sha256"]}
    )
    storage.create_package(release.package)
    file.location = storage.create_release(release.package, incoming)
    file.save(only=["location"])


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
    """
    with writing() as serial:
        package = Package.named(project)
        check_listed(actor, package, "maintainer")
        release = Release.of(package, version)
        files = files_named(release, filename)
        for file in files:
            file.yanked, file.yanked_reason = not undo, "" if undo else one_line(reason)
            file.save(only=["yanked", "yanked_reason"])
        package.touch(serial)
        action = "un-yank" if undo else "yank"
        what = {"version": release.version, "filename": filename or ""}
        Journal.add(serial, actor, action, package=package.name, detail=one_line(reason), **what)
    return [file.filename for file in files]


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
    with writing() as serial:
        package = Package.named(project)
        if version is None:
            actor.check("admin")
            actor.check_package(package.normalized_name)
        else:
            check_listed(actor, package, "developer")
        releases = [Release.of(package, version)] if version else list(package.releases)
        files = [file for release in releases for file in files_named(release, filename)]
        remove_rows(package, releases, files, serial)
        action = f"delete {'file' if filename else 'release' if version else 'project'}"
        what = {"version": releases[0].version if version else "", "filename": filename or ""}
        Journal.add(serial, actor, action, package=package.name, detail=one_line(reason), **what)
    remove_stored(storage, package, files)
    return [file.filename for file in files]


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
        package.delete_instance()


def remove_stored(storage: BaseStorage, package: Package, files: list[File]) -> None:
    """Removes the bytes of deleted files, unless they have come back in the meantime.

    It holds the writers' lock: an upload of the same bytes goes to the same place.
    """
    with writing():
        for file in files:
            if not File.select().where(File.filename == file.filename).exists():
                storage.delete_file(file.location)
        storage.delete_package(package)


def set_status(actor: Actor, project: str, status: str, reason: str = "") -> None:
    """Marks a project as active, archived, deprecated or quarantined (PEP 792).

    :raises InvalidInput: for another word.
    :raises Forbidden: unless admin.
    """
    if status not in STATUSES:
        raise InvalidInput(f"The status {status!r} is none of {', '.join(STATUSES)}.")
    actor.check("admin")
    with writing() as serial:
        package = Package.named(project)
        package.status = status
        package.status_reason = "" if status == "active" else one_line(reason)
        package.save(only=["status", "status_reason"])
        package.touch(serial)
        detail = f"{status}: {one_line(reason)}" if reason else status
        Journal.add(serial, actor, "set status", package=package.name, detail=detail)


def set_maintainer(actor: Actor, project: str, username: str, listed: bool = True) -> None:
    """Lists a user as maintainer of the project, or takes them off the list.

    :raises NotFound: for an unknown project or user.
    :raises Forbidden: for an actor who is neither admin nor listed.
    """
    with writing() as serial:
        package = Package.named(project)
        check_listed(actor, package, "maintainer")
        user = User.named(username)
        if listed:
            Maintainer.get_or_create(package=package, user=user)
        else:
            Maintainer.delete().where(
                Maintainer.package == package, Maintainer.user == user
            ).execute()
        action = "add maintainer" if listed else "remove maintainer"
        Journal.add(serial, actor, action, package=package.name, detail=user.username)


def check_listed(actor: Actor, package: Package, role: str) -> None:
    """Nothing, for an admin, and for the project's maintainers who have the role.

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


def one_line(text: str) -> str:
    """The text without line breaks and outer white space."""
    return " ".join(text.split())
