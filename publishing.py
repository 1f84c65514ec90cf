"""Putting files on the index: the rules of an upload, and its one transaction.

Views and the import both call it, with a distribution that was read and checked. Rights are
checked here.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from peewee import chunked

from extrapypi.auth import Actor
from extrapypi.database import give_back, retried, utcnow
from extrapypi.distributions import Distribution
from extrapypi.errors import FileExists, Forbidden, InvalidUpload, NotFound
from extrapypi.incoming import Incoming, sha256_of
from extrapypi.models import (
    Dependency,
    File,
    Journal,
    Maintainer,
    Package,
    Release,
    UsedFilename,
    writing,
)
from extrapypi.packages import LONGEST_REASON, one_line
from extrapypi.storage import BaseStorage

CLOSED = ("archived", "quarantined")  # take no uploads (PEP 792)


def add_file(
    storage: BaseStorage,
    actor: Actor,
    distribution: Distribution,
    incoming: Incoming,
    upload_time: datetime | None = None,
    yanked: str | None = None,
) -> bool:
    """Puts a checked and finished file on the index; False when it was there already.

    The same bytes again change nothing, except that they mend a file that the storage has lost.

    :param upload_time: when an imported file was published; None means now.
    :param yanked: why it was yanked where it comes from ("": for no given reason), if it was.
    :raises FileExists: when the name is taken by other bytes.
    :raises InvalidUpload: when the name was used before, or the release has an sdist.
    :raises Forbidden: for an actor who may not, or a project that takes no files.
    """
    incoming.filename, incoming.metadata = distribution.filename, distribution.metadata_bytes
    actor.check_package(distribution.normalized_name)
    if is_known(distribution, incoming) and is_mended(storage, distribution, incoming):
        return False
    package = Package.get_or_none(Package.normalized_name == distribution.normalized_name)
    check_may_add(actor, package, distribution)
    give_back()
    storage.prepare(package or Package(normalized_name=distribution.normalized_name), incoming)
    state = {"upload_time": upload_time or utcnow()}
    if yanked is not None:
        state |= {"yanked": True, "yanked_reason": one_line(yanked)[:LONGEST_REASON]}
    return add_rows(storage, actor, distribution, incoming, state)


@retried
def add_rows(
    storage: BaseStorage,
    actor: Actor,
    distribution: Distribution,
    incoming: Incoming,
    state: dict[str, Any],
) -> bool:
    """The transaction of :func:`add_file`, which says what it gives and raises."""
    with writing() as serial:
        if is_known(distribution, incoming):  # now that nobody else writes
            return False
        package = ensure_package(serial, actor, distribution)
        release = update_release(package, distribution)
        claim_name(distribution, incoming)
        check_free(release, distribution)
        file = add_file_row(actor, release, distribution, incoming, state)
        storage.create_package(package)
        file.location = storage.create_release(package, incoming)
        file.save(only=["location"])
        package.touch(serial)
        what = {"version": release.version, "filename": distribution.filename}
        Journal.add(serial, actor, "upload", package=package.name, detail=actor.agent, **what)
        if file.yanked:
            what["detail"] = file.yanked_reason
            Journal.add(serial, actor, "yank", package=package.name, **what)
    return True


def is_known(distribution: Distribution, incoming: Incoming) -> bool:
    """Whether this very file is on the index.

    :raises FileExists: when another one of its name is.
    """
    taken = File.select(File.sha256).where(File.filename == distribution.filename).scalar()
    if taken not in (None, incoming.digests["sha256"]):
        raise FileExists(distribution.filename)
    return taken is not None


def is_mended(storage: BaseStorage, distribution: Distribution, incoming: Incoming) -> bool:
    """Stores the bytes of a file that is on the index, when the storage has them no more.

    False when the file went off the index in the meantime.
    """
    try:
        file = File.named(distribution.filename)
    except NotFound:
        return False
    if is_whole(storage, file) and storage.has_metadata(file.location):
        return True
    lost, package = file.location, file.release.package
    give_back()
    storage.prepare(package, incoming)
    is_there = put_in_place(storage, package, file, incoming)
    if is_there and file.location != lost:
        storage.delete_file(lost)
    return is_there


@retried
def put_in_place(storage: BaseStorage, package: Package, file: File, incoming: Incoming) -> bool:
    """Lets the storage take over the bytes of a file, and notes where; False when it is gone."""
    with writing():
        if not File.select().where(File.id == file.id, File.sha256 == file.sha256).exists():
            return False
        storage.create_package(package)
        file.location = storage.create_release(package, incoming)
        file.save(only=["location"])
        return True


def is_whole(storage: BaseStorage, file: File) -> bool:
    """Whether the storage has the very bytes of the file; reads them."""
    if not storage.has(file.location, file.size):
        return False
    with closing(storage.get_file(file.location)) as stream:
        return sha256_of(stream) == file.sha256


def check_may_add(actor: Actor, package: Package | None, distribution: Distribution) -> None:
    """Refuses an actor who may not add files to the project, or create it when there is none.

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


def ensure_package(serial: int, actor: Actor, distribution: Distribution) -> Package:
    """The file's project, created when this is its first; lists the actor as maintainer."""
    package = Package.get_or_none(Package.normalized_name == distribution.normalized_name)
    check_may_add(actor, package, distribution)
    if package is None:
        names = {
            "normalized_name": distribution.normalized_name,
            "name": distribution.metadata.name,
        }
        package = Package.create(**names)
        Journal.add(serial, actor, "create project", package=package.name)
    key = {"package": package, "user": actor.user_id}
    if actor.user_id is not None and Maintainer.get_or_none(**key) is None:
        Maintainer.create(**key)
    return package


def update_release(package: Package, distribution: Distribution) -> Release:
    """The file's release, with the metadata that the file brings.

    The newest file's fields win, but what it leaves empty does not erase an older file's. The
    requirements are those of the newest wheel, of an sdist only where there is no wheel.
    """
    key = {"package": package, "canonical_version": distribution.canonical_version}
    release = Release.get_or_none(**key) or Release(**key, version=distribution.metadata.version)
    given = asdict(distribution.metadata)
    requires_dist = given.pop("requires_dist")
    described = release.description, release.description_content_type
    for field, value in given.items():
        if value and field not in ("metadata_version", "name", "version"):
            setattr(release, field, value)
    wheels = release.files.where(File.packagetype == "bdist_wheel")
    if distribution.packagetype == "bdist_wheel" or not wheels.exists():
        release.requires_dist = requires_dist  # those of an sdist may change when it is built
    if described != (release.description, release.description_content_type):
        release.rendered = release.rendered_by = release.rendering_fault = None
    release.updated_at = utcnow()
    release.save()
    set_dependencies(release)
    return release


def set_dependencies(release: Release) -> None:
    """Writes the release's dependencies, of which each has its row."""
    Dependency.delete().where(Dependency.release == release).execute()
    rows = [
        {
            "release": release,
            "normalized_name": canonicalize_name(requirement.name)[:200],
            "specifier": f"@ {requirement.url}" if requirement.url else str(requirement.specifier),
            "marker": str(requirement.marker or ""),
            "extra": extra_of(requirement)[:200],
        }
        for requirement in map(Requirement, release.requires_dist)
    ]
    for batch in chunked(rows, 500):
        Dependency.insert_many(batch).execute()


def extra_of(requirement: Requirement) -> str:
    """The extra that asks for the requirement, or "" when it always counts."""
    _, quoted, rest = str(requirement.marker or "").partition('extra == "')
    return canonicalize_name(rest.partition('"')[0]) if quoted else ""


def claim_name(distribution: Distribution, incoming: Incoming) -> None:
    """Takes the file's name for these bytes, for ever.

    :raises InvalidUpload: when other bytes had it.
    """
    filename, sha256 = distribution.filename, incoming.digests["sha256"]
    used = UsedFilename.get_or_none(UsedFilename.filename == filename)
    if used is None:
        UsedFilename.create(filename=filename, sha256=sha256)
    elif used.sha256 != sha256:
        raise InvalidUpload(
            f"The file name {filename} was used before with other content and was deleted; "
            "clients keep what they know, so raise the version."
        )


def check_free(release: Release, distribution: Distribution) -> None:
    """Refuses a file for which the release has no room.

    :raises InvalidUpload: for a second sdist.
    :raises FileExists: for a name that differs only by case.
    """
    filename = distribution.filename
    for file in release.files:
        if file.filename.lower() == filename.lower():
            raise FileExists(filename)
        if file.packagetype == distribution.packagetype == "sdist":
            raise InvalidUpload(
                f"{filename}: the release {release.version} has the source distribution "
                f"{file.filename}; a release has only one."
            )


def add_file_row(
    actor: Actor,
    release: Release,
    distribution: Distribution,
    incoming: Incoming,
    state: dict[str, Any],
) -> File:
    """The file's row, not yet with its location.

    :param state: upload time, and whether it is yanked and why.
    """
    is_wheel = distribution.packagetype == "bdist_wheel"
    return File.create(
        release=release,
        filename=distribution.filename,
        location="",
        size=incoming.size,
        packagetype=distribution.packagetype,
        python_version=distribution.python_version[:128],
        requires_python=distribution.metadata.requires_python,
        uploaded_by=actor.user_id,
        user_agent=actor.agent,
        # A source distribution's may change when it is built: only a wheel's is offered.
        metadata_sha256=incoming.metadata_sha256 if is_wheel else None,
        **state,
        **incoming.digests,
    )
