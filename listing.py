"""What the index pages show, as the dictionaries of the standards; templates use the same ones.

Simple repository API 1.4 (PEP 503, 592, 691, 700, 714, 792) and PyPI's JSON API.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from extrapypi.database import tuples
from extrapypi.errors import NotFound
from extrapypi.models import File, Package, Release, Serial, version_key

API_VERSION = "1.4"


def projects(only: frozenset[str] | None = None) -> dict[str, Any]:
    """The project list, without those in quarantine.

    :param only: normalized names to which it is limited; None for all.
    """
    query = Package.select(Package.normalized_name, Package.last_serial)
    rows = sorted(tuples(query.where(Package.status != "quarantined")))  # databases differ in it
    return {
        "meta": {"api-version": API_VERSION, "_last-serial": Serial.select(Serial.value).scalar()},
        "projects": [
            {"name": name, "_last-serial": serial}
            for name, serial in rows
            if only is None or name in only
        ],
    }


def project(package: Package, root: str) -> dict[str, Any]:
    """A project's page; in quarantine it lists nothing.

    :param root: what comes before ``/packages/`` in the URLs: a prefix, or scheme and host too.
    """
    files = [] if package.status == "quarantined" else sorted_files(package)
    versions = sorted({file.release.version for file in files}, key=version_key)
    status = {"status": package.status, "reason": package.status_reason}
    return {
        "meta": {"api-version": API_VERSION, "_last-serial": package.last_serial},
        "name": package.normalized_name,
        "project-status": {key: value for key, value in status.items() if value},
        "versions": [version for version in versions if version_key(version)[0]],
        "files": [simple_file(file, package, root) for file in files],
    }


def sorted_files(package: Package) -> list[File]:
    """The files by version and name, so that a page's bytes are always the same."""
    return sorted(
        File.of(package), key=lambda file: (version_key(file.release.version), file.filename)
    )


def simple_file(file: File, package: Package, root: str) -> dict[str, Any]:
    """One file of a project's page; keys that say nothing are left out, never null (uv)."""
    shown = {
        "filename": file.filename,
        "url": file_url(file, package, root),
        "hashes": {"sha256": file.sha256},  # only this one: poetry would lock a stronger one
        "size": file.size,
        "upload-time": iso(file.upload_time),
        "yanked": (file.yanked_reason or True) if file.yanked else False,
    }
    if is_specifier(file.requires_python):
        shown["requires-python"] = file.requires_python
    if file.metadata_sha256:
        shown["core-metadata"] = {"sha256": file.metadata_sha256}
    return shown


def is_specifier(text: str) -> bool:
    """Whether it is a version specifier that installers can read, and not empty."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return bool(text)


def file_url(file: File, package: Package, root: str) -> str:
    """Where the file is served."""
    return f"{root}/packages/{package.normalized_name}/{quote(file.filename)}"


def iso(moment: datetime) -> str:
    """A moment as PEP 700 wants it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def json_api(package: Package, release: Release | None, root: str) -> dict[str, Any]:
    """PyPI's JSON document of a project, or of one release of it.

    :param release: None for the project; then ``info`` is that of the latest release.
    :raises NotFound: for a project without releases.
    """
    files: dict[int, list[File]] = {}
    for file in [] if package.status == "quarantined" else sorted_files(package):
        files.setdefault(file.release_id, []).append(file)
    shown = release or package.latest_release
    if shown is None:
        raise NotFound(f"There is no release of {package.name}.")
    document = {
        "info": info(package, shown, files.get(shown.id, []), root),
        "last_serial": package.last_serial,
        "urls": [api_file(file, package, root) for file in files.get(shown.id, [])],
        "vulnerabilities": [],
        "ownership": {
            "roles": [{"role": "Maintainer", "user": u.username} for u in package.maintainers],
            "organization": None,
        },
    }
    if release is None:
        document["releases"] = {
            group[0].release.version: [api_file(file, package, root) for file in group]
            for group in files.values()
        }
    return document


def info(package: Package, release: Release, files: list[File], root: str) -> dict[str, Any]:
    """The part ``info`` of the JSON document: the release's core metadata."""
    page = f"{root}/simple/{package.normalized_name}/"
    yanked = bool(files) and all(file.yanked for file in files)
    return {
        "author": release.author,
        "author_email": release.author_email,
        "bugtrack_url": None,
        "classifiers": release.classifiers,
        "description": release.description,
        "description_content_type": release.description_content_type or None,
        "docs_url": None,
        "download_url": release.download_url or None,
        "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
        "dynamic": release.dynamic,
        "home_page": release.home_page or None,
        "keywords": release.keywords or None,
        "license": release.license or None,
        "license_expression": release.license_expression or None,
        "license_files": release.license_files,
        "maintainer": release.maintainer,
        "maintainer_email": release.maintainer_email,
        "name": package.name,
        "package_url": page,
        "platform": ",".join(release.platforms) or None,
        "project_url": page,
        "project_urls": release.project_urls or None,
        "provides_extra": release.provides_extra,
        "release_url": page,
        "requires_dist": release.requires_dist or None,
        "requires_python": release.requires_python or None,
        "summary": release.summary,
        "version": release.version,
        "yanked": yanked,
        "yanked_reason": (files[0].yanked_reason or None) if yanked else None,
    }


def api_file(file: File, package: Package, root: str) -> dict[str, Any]:
    """One file of the JSON document."""
    shown = {
        "comment_text": "",
        "digests": {"blake2b_256": file.blake2b_256, "md5": file.md5, "sha256": file.sha256},
        "downloads": -1,
        "filename": file.filename,
        "has_sig": False,
        "md5_digest": file.md5,
        "packagetype": file.packagetype,
        "python_version": file.python_version,
        "requires_python": file.requires_python or None,
        "size": file.size,
        "upload_time": file.upload_time.strftime("%Y-%m-%dT%H:%M:%S"),
        "upload_time_iso_8601": iso(file.upload_time),
        "url": file_url(file, package, root),
        "yanked": file.yanked,
        "yanked_reason": (file.yanked_reason or None) if file.yanked else None,
    }
    if file.metadata_sha256:
        shown["core-metadata"] = {"sha256": file.metadata_sha256}
    return shown
