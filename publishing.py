"""Putting files on the index: the rules of an upload, and its one transaction.

Views and the import both call it, with a distribution that was read and checked. Rights are
checked here.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import Any

from peewee import chunked

from extrapypi.auth import Actor
from extrapypi.database import execute, give_back, retried, utcnow
from extrapypi.dependencies import dependency_rows
from extrapypi.distributions import Distribution
from extrapypi.errors import FileExists, Forbidden, InvalidUpload, NotFound
from extrapypi.incoming import Incoming, sha256_of
from extrapypi.lookups import State
from extrapypi.models import (
    Dependency,
    File,
    Journal,
    Package,
    Release,
    UsedFilename,
    writing,
)
from extrapypi.packages import LONGEST_REASON, one_line, remove_note
from extrapypi.storage import BaseStorage

LIST_SQL = "INSERT INTO maintainers (package_id, user_id) VALUES (?, ?)"
OF_NO_RELEASE = ("metadata_version", "name", "version")  # fields that its row gets otherwise
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
    state = state_of(actor, distribution)
    if is_known(state, distribution, incoming) and is_mended(storage, distribution, incoming):
        return False
    check_may_add(actor, state, distribution)
    give_back()
    storage.prepare(Package(normalized_name=distribution.normalized_name), incoming)
    # Before the transaction: many specifiers take half a second.
    dependencies = dependency_rows(distribution.metadata.requires_dist)
    about: dict[str, Any] = {"upload_time": upload_time or utcnow()}
    if yanked is not None:
        about |= {"yanked": True, "yanked_reason": one_line(yanked)[:LONGEST_REASON]}
    try:
        return add_rows(storage, actor, distribution, dependencies, incoming, about)
    except BaseException:
        if incoming.location:  # whether the row is there is not known
            incoming.leave_note()
        raise


@retried
def add_rows(
    storage: BaseStorage,
    actor: Actor,
    distribution: Distribution,
    dependencies: list[dict[str, Any]],
    incoming: Incoming,
    about: dict[str, Any],
) -> bool:
    """The transaction of :func:`add_file`, which says what it gives and raises."""
    with writing() as serial:
        state = state_of(actor, distribution)
        if is_known(state, distribution, incoming):  # now that nobody else writes
            return False
        check_may_add(actor, state, distribution)
        claim_name(state, distribution, incoming)
        package = ensure_package(serial, actor, state, distribution)
        release = ensure_release(package, state, distribution, dependencies)
        storage.create_package(package)
        about["location"] = storage.create_release(package, incoming)
        add_file_row(actor, release, distribution, incoming, about)
        package.touch(serial)
        what = {"version": release.version, "filename": distribution.filename}
        Journal.add(serial, actor, "upload", package=package.name, detail=actor.agent, **what)
        if about.get("yanked"):
            what["detail"] = about["yanked_reason"]
            Journal.add(serial, actor, "yank", package=package.name, **what)
    return True


def state_of(actor: Actor, distribution: Distribution) -> State:
    """What the index has of the distribution, for this actor."""
    name, version = distribution.normalized_name, distribution.canonical_version
    return State.of(name, version, distribution.filename, actor.user_id)


def is_known(state: State, distribution: Distribution, incoming: Incoming) -> bool:
    """Whether this very file is on the index.

    :raises FileExists: when another one of its name is.
    """
    if state.sha256 not in (None, incoming.digests["sha256"]):
        raise FileExists(distribution.filename)
    return state.sha256 is not None


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
    note = storage.note(lost)
    is_there = put_in_place(storage, package, file, incoming)
    if is_there and file.location != lost:
        storage.delete_file(lost)
    remove_note(note)
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


def is_whole(storage: BaseStorage, file: Any) -> bool:
    """Whether the storage has the very bytes of the file; reads them.

    :param file: with ``location``, ``size`` and ``sha256``.
    """
    if not storage.has(file.location, file.size):
        return False
    with closing(storage.get_file(file.location)) as stream:
        return sha256_of(stream) == file.sha256


def check_may_add(actor: Actor, state: State, distribution: Distribution) -> None:
    """Refuses an actor who may not add files to the project, or create it when there is none.

    :raises Forbidden: with what stands in the way.
    """
    if state.package_id is None:
        if not actor.may("developer"):
            raise Forbidden(
                f"There is no project {distribution.metadata.name} yet, and creating one needs the "
                f"role developer; {actor.username} is {actor.role}."
            )
        return
    actor.check("maintainer")
    if state.status in CLOSED:
        raise Forbidden(
            f"The project {state.package_name} is {state.status} and takes no new files."
        )


def ensure_package(serial: int, actor: Actor, state: State, distribution: Distribution) -> Package:
    """The file's project, created when this is its first; lists the actor as maintainer."""
    package = Package(
        id=state.package_id,
        normalized_name=distribution.normalized_name,
        name=state.package_name or distribution.metadata.name,
    )
    if package.id is None:
        names = {"normalized_name": package.normalized_name, "name": package.name}
        package.id = Package.insert_row(**names)
        Journal.add(serial, actor, "create project", package=package.name)
    if actor.user_id is not None and state.listed is None:
        execute(LIST_SQL, package.id, actor.user_id)
    return package


def ensure_release(
    package: Package,
    state: State,
    distribution: Distribution,
    dependencies: list[dict[str, Any]],
) -> Release:
    """The file's release, with the metadata that the file brings."""
    if state.release_id is None:
        given = metadata_of(distribution)
        key = {"package": package.id, "canonical_version": distribution.canonical_version}
        release = Release(version=distribution.metadata.version, **key, **given)
        release.id = Release.insert_row(version=release.version, **key, **given)
    else:
        release = Release.get_by_id(state.release_id)
        check_free(release, distribution)
        before = release.requires_dist
        update_release(release, distribution)
        if release.requires_dist == before:
            return release
        Dependency.delete().where(Dependency.release == release).execute()
    for batch in chunked(dependencies, 500):
        Dependency.insert_many([{**row, "release": release.id} for row in batch]).execute()
    return release


def metadata_of(distribution: Distribution) -> dict[str, Any]:
    """The fields of a release that the distribution says something about."""
    told = vars(distribution.metadata).items()
    return {field: value for field, value in told if value and field not in OF_NO_RELEASE}


def update_release(release: Release, distribution: Distribution) -> None:
    """Takes the metadata of one more file over into its release.

    The newest file's fields win, but what it leaves empty does not erase an older file's. The
    requirements are those of the newest wheel, of an sdist only where there is no wheel.
    """
    given = metadata_of(distribution)
    requires_dist = given.pop("requires_dist", [])
    described = release.description, release.description_content_type
    for field, value in given.items():
        setattr(release, field, value)
    wheels = release.files.where(File.packagetype == "bdist_wheel")
    if distribution.packagetype == "bdist_wheel" or not wheels.exists():
        release.requires_dist = requires_dist  # those of an sdist may change when it is built
    if described != (release.description, release.description_content_type):
        release.rendered = release.rendered_by = release.rendering_fault = None
    release.updated_at = utcnow()
    release.save()


def claim_name(state: State, distribution: Distribution, incoming: Incoming) -> None:
    """Takes the file's name for these bytes, for ever.

    :raises InvalidUpload: when other bytes had it.
    """
    filename, sha256 = distribution.filename, incoming.digests["sha256"]
    if state.used_sha256 is None:
        UsedFilename.insert_row(filename=filename, sha256=sha256)
    elif state.used_sha256 != sha256:
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
    about: dict[str, Any],
) -> None:
    """Puts the file's row into the table.

    :param about: location, upload time, and whether it is yanked and why.
    """
    is_wheel = distribution.packagetype == "bdist_wheel"
    File.insert_row(
        release=release.id,
        filename=distribution.filename,
        size=incoming.size,
        packagetype=distribution.packagetype,
        python_version=distribution.python_version[:128],
        requires_python=distribution.metadata.requires_python,
        uploaded_by=actor.user_id,
        user_agent=actor.agent,
        # A source distribution's may change when it is built: only a wheel's is offered.
        metadata_sha256=incoming.metadata_sha256 if is_wheel else None,
        **about,
        **incoming.digests,
    )
