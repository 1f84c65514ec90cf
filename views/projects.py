"""The packages list and the pages of a project that are for reading."""

from __future__ import annotations

import re

from extrapypi import browsing, catalogue, counts, dependencies, history, rendering, wheels
from extrapypi.database import snapshot
from extrapypi.errors import InvalidInput
from extrapypi.links import licence, links
from extrapypi.paging import MOST, page_number, paged
from extrapypi.views import normalized, package_for, redirect, root
from extrapypi.views.browser import asked, page

NEWEST = "-updated"  # how the packages list is sorted when nobody says how
LOCAL = re.compile(r"(localhost|127(\.[0-9]+){3}|\[::1\])(:[0-9]+)?\Z")


def index(site, actor):
    """GET /dashboard/"""
    sort, totals = asked("sort") or NEWEST, catalogue.totals()
    return page(
        site,
        actor,
        "projects/index.html",
        packages=catalogue.listed(sort, page_number(asked("page")), totals.projects),
        totals=totals,
        sort=sort,
        sorts=catalogue.SORTS,
    )


def project(site, actor, project, version=None):
    """GET /dashboard/packages/<project>/ and /dashboard/packages/<project>/<version>/"""
    name = normalized(project)
    if name != project:
        return redirect(path(name, version), 301)
    with snapshot():  # or the latest release may be deleted between two queries
        found = browsing.Project(package_for(actor, name), version)
    if version not in (None, found.release.version):
        return redirect(path(name, found.release.version))  # may be spelled otherwise some day
    tab = asked("tab") or "description"
    if tab not in TABS:
        raise InvalidInput(f"tab is {tab[:100]!r}; it takes {', '.join(TABS)}.")
    return page(
        site,
        actor,
        "projects/project.html",
        project=found,
        tab=tab,
        path=path(name, version),
        may_manage=browsing.may_manage(actor, found.package),
        links=links(found.release),
        licence=licence(found.release),
        downloads=counts.of_projects([found.package.id]).get(found.package.id, 0),
        untrusted=untrusted(root()),
        most=MOST,
        **TABS[tab](site, found),
    )


def slash(site, actor, project=None, version=None):
    """GET of a page without the slash in its end."""
    if project is None:
        return redirect("/dashboard/", 301)
    return redirect(path(normalized(project), version), 301)


def path(name: str, version: str | None = None) -> str:
    """The page of a project, or of one release."""
    return f"/dashboard/packages/{name}/{f'{version}/' if version else ''}"


def untrusted(root: str) -> str:
    """The host of a URL, when pip takes files from it only if it is told to; else ""."""
    scheme, _, rest = root.partition("://")
    host = rest.partition("/")[0]
    return "" if scheme == "https" or LOCAL.match(host) else host


def description(site, found: browsing.Project) -> dict:
    """The description as safe HTML, and why it is plain text if it is."""
    html, fault = rendering.shown(found.release, site.config.README_IMAGES)
    return {"description": html, "fault": fault}


def files(site, found: browsing.Project) -> dict:
    """The wheels by platform and Python; the files are part of every page."""
    return {"matrix": wheels.matrix(found.files), "suited": wheels.suited}


def required(site, found: browsing.Project) -> dict:
    """What the release needs, by the conditions under which it does."""
    return {"groups": dependencies.groups(found.release)}


def dependents(site, found: browsing.Project) -> dict:
    """A page of the projects that need this one."""
    shown = paged(dependencies.dependents(found.package), page_number(asked("page")))
    return {"dependents": shown._replace(is_cut=found.dependents_count > MOST)}


def past(site, found: browsing.Project) -> dict:
    """The releases and what they changed, the journal, and the downloads."""
    return {
        "releases": browsing.releases(found, page_number(asked("page"))),
        "journal": browsing.journal(found.package),
        "told": history.told,
        "remark": history.remark,
        "weeks": counts.by_week(found.package),
        "clients": counts.by_client(found.package),
    }


TABS = {
    "description": description,
    "files": files,
    "dependencies": required,
    "dependents": dependents,
    "history": past,
}
