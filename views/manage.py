"""A project's settings: maintainers, status, and what to yank or delete."""

from __future__ import annotations

from bottle import request

from extrapypi import packages
from extrapypi.errors import InvalidInput, NotFound
from extrapypi.models import STATUSES, Package, Release
from extrapypi.paging import page_number
from extrapypi.views import normalized, redirect
from extrapypi.views.browser import asked, done, field, page


def settings(site, actor, project):
    """GET /dashboard/packages/<project>/settings/"""
    if normalized(project) != project:
        return redirect(f"/dashboard/packages/{normalized(project)}/settings/", 301)
    return settings_page(site, actor, found(actor, project))


def settings_page(site, actor, package: Package, error: InvalidInput | None = None):
    """The page; after a failure with what was typed and the fault beside it."""
    maintainers = sorted(package.maintainers, key=lambda user: user.username_key)
    return page(
        site,
        actor,
        "manage/settings.html",
        error.status if error else 200,
        package=package,
        maintainers=maintainers,
        statuses=STATUSES,
        releases=packages.releases_of(package, page_number(asked("page"))),
        faults={error.field: str(error)} if error else {},
        typed={name: field(name) for name in ("username", "status", "reason")} if error else {},
    )


def found(actor, project: str, role: str = "maintainer") -> Package:
    """The project, for an admin or those of its maintainers who have the role."""
    package = Package.named(normalized(project))
    packages.check_listed(actor, package, role)
    return package


def maintainers(site, actor, project):
    """POST /dashboard/packages/<project>/settings/maintainers"""
    package = found(actor, project)
    listed, username = field("action") != "remove", field("username")
    try:
        packages.set_maintainer(actor, project, username, listed)
    except NotFound as error:
        return settings_page(site, actor, package, InvalidInput(str(error), "username"))
    if listed:
        message = f"{username} is a maintainer of {package.name} now."
    else:
        message = f"{username} is no maintainer of {package.name} any more."
    is_own = username.casefold() == actor.username.casefold()
    if not listed and is_own and not actor.may("admin"):
        return done(site, f"/dashboard/packages/{package.normalized_name}/", message)
    return done(site, home(package), message)


def status(site, actor, project):
    """POST /dashboard/packages/<project>/settings/status"""
    package = found(actor, project)
    try:
        packages.set_status(actor, project, field("status"), field("reason"))
    except InvalidInput as error:
        return settings_page(site, actor, package, error)
    return done(site, home(package), f"{package.name} is {field('status')} now.")


def yank(site, actor, project):
    """GET and POST /dashboard/packages/<project>/settings/yank"""
    package = found(actor, project)
    release, filename, files = chosen(package)
    undo = sent("undo") == "1"
    if request.method != "POST":
        return page(
            site,
            actor,
            "manage/yank.html",
            package=package,
            release=release,
            filename=filename,
            files=files,
            undo=undo,
        )
    names = packages.yank(actor, project, release.version, field("reason"), undo, filename or None)
    what = filename or f"{package.name} {release.version}"
    count = "" if filename else f" ({len(names)} file{'s' * (len(names) != 1)})"
    return done(site, home(package), f"{what}{count} is {'no longer ' * undo}yanked.")


def delete(site, actor, project):
    """GET and POST /dashboard/packages/<project>/settings/delete"""
    package = found(actor, project, "developer" if sent("version") else "admin")
    release, filename = chosen(package)[:2] if sent("version") else (None, "")
    name = filename or (release.version if release else package.normalized_name)
    values = {"package": package, "release": release, "filename": filename, "name": name}
    faults = {}
    if request.method == "POST":
        if field("name") != name:
            faults["name"] = f"Type {name} exactly, to show that this is what you mean."
        if not field("reason"):
            faults["reason"] = "Give a reason; the journal keeps it."
        if not faults:
            version = release.version if release else None
            return deleted(site, actor, package, version, filename)
    lost = packages.lost(package, release, filename or None)
    typed = {each: field(each) for each in ("name", "reason")} if faults else {}
    code = 400 if faults else 200
    return page(
        site, actor, "manage/delete.html", code, lost=lost, faults=faults, typed=typed, **values
    )


def deleted(site, actor, package: Package, version: str | None, filename: str):
    """Deletes, and goes to what is left of the project, or to all projects."""
    names = packages.delete(
        site.storage, actor, package.name, version, filename or None, field("reason")
    )
    what = filename or f"{package.name} {version or ''}".strip()
    count = f"{len(names)} file{'s' * (len(names) != 1)}"
    message = f"{what} is deleted{'' if filename else f', with {count}'}."
    is_left = Package.select().where(Package.normalized_name == package.normalized_name).exists()
    return done(site, home(package) if is_left else "/dashboard/", message)


def chosen(package: Package) -> tuple[Release, str, list]:
    """The release that the request is about, the name of one file of it or "", and its files.

    :raises NotFound: for what does not exist.
    """
    release, filename = Release.of(package, sent("version")), sent("filename")
    return release, filename, packages.files_named(release, filename or None)


def sent(name: str) -> str:
    """A value from the form that was sent, or from the URL that shows the form."""
    return field(name) if request.method == "POST" else asked(name)


def home(package: Package) -> str:
    """The path of the project's settings."""
    return f"/dashboard/packages/{package.normalized_name}/settings/"
