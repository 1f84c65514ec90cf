"""All routes in one table, and the factory of the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bottle

from extrapypi import database, schema
from extrapypi.answers import ErrorPlugin, bottle_error
from extrapypi.auth import Authenticator
from extrapypi.batches import Writer
from extrapypi.config import Config, load
from extrapypi.counts import Downloads
from extrapypi.gateway import Gateway
from extrapypi.guards import AuthPlugin, check_uploader
from extrapypi.mending import Sweeper, sweep
from extrapypi.metrics import Metrics
from extrapypi.pages import KeptPages
from extrapypi.sending import KnownFiles
from extrapypi.shortcut import Shortcut
from extrapypi.storage import get_store
from extrapypi.views import (
    account,
    files,
    help,
    journal,
    legacy,
    login,
    manage,
    projects,
    pypi,
    search,
    server,
    simple,
    upload,
    users,
)
from extrapypi.views.failures import bottle_page, is_for_browsers

ROUTES = (  # method, path, view, least role (None: everyone)
    ("GET", "/", server.front, None),
    ("GET", "/favicon.ico", server.icon, None),
    ("GET", "/ping", server.ping, None),
    ("GET", "/health", server.health, None),
    ("GET", "/metrics", server.metrics, "admin"),
    ("GET", "/openapi.json", server.openapi, None),
    ("GET", "/_/oidc/<path:path>", server.no_oidc, None),
    ("POST", "/_/oidc/<path:path>", server.no_oidc, None),
    ("GET", "/simple/", simple.project_list, "installer"),
    ("GET", "/simple", simple.slash, "installer"),
    ("POST", "/simple/", simple.upload, "maintainer"),
    ("POST", "/simple", simple.upload, "maintainer"),
    ("GET", "/simple/<project>/", simple.project_page, "installer"),
    ("GET", "/simple/<project>", simple.slash, "installer"),
    ("GET", "/simple/<project>/<filename>", files.download, "installer"),
    ("GET", "/packages/<project>/<filename>", files.download, "installer"),
    ("GET", "/pypi/<project>/json", pypi.project_json, "installer"),
    ("GET", "/pypi/<project>/json/", pypi.project_json, "installer"),
    ("GET", "/pypi/<project>/<version>/json", pypi.project_json, "installer"),
    ("GET", "/pypi/<project>/<version>/json/", pypi.project_json, "installer"),
    ("POST", "/legacy/", simple.upload, "maintainer"),
    ("POST", "/legacy", simple.upload, "maintainer"),
    ("GET", "/legacy/", legacy.help_page, "installer"),
    ("GET", "/legacy", legacy.help_page, "installer"),
    ("GET", "/legacy/+simple/<project>/", simple.plain_page, "installer"),
    ("GET", "/legacy/+simple/<project>", simple.plain_page, "installer"),
    ("GET", "/project/<project>/", legacy.project, "installer"),
    ("GET", "/legacy/<project>/", legacy.project, "installer"),
    ("GET", "/legacy/<project>", legacy.project, "installer"),
    ("GET", "/legacy/<project>/<version>/", legacy.project, "installer"),
    ("GET", "/legacy/<project>/<version>", legacy.project, "installer"),
)
SETTINGS = "/dashboard/packages/<project>/settings/"  # no version is called so
USER = "/dashboard/users/<user_id:re:[0-9]{1,9}>/"
PAGES = (  # the dashboard's, with a session; method, path, view, least role (None: everyone)
    ("GET", "/dashboard/login", login.login, None),
    ("POST", "/dashboard/login", login.login, None),
    ("GET", "/dashboard/logout", login.logout, "installer"),
    ("POST", "/dashboard/logout", login.logout, "installer"),
    ("GET", SETTINGS, manage.settings, "maintainer"),
    ("POST", f"{SETTINGS}maintainers", manage.maintainers, "maintainer"),
    ("POST", f"{SETTINGS}status", manage.status, "admin"),
    ("GET", f"{SETTINGS}yank", manage.yank, "maintainer"),
    ("POST", f"{SETTINGS}yank", manage.yank, "maintainer"),
    ("GET", f"{SETTINGS}delete", manage.delete, "developer"),
    ("POST", f"{SETTINGS}delete", manage.delete, "developer"),
    ("GET", "/dashboard/upload/", upload.upload, "maintainer"),
    ("POST", "/dashboard/upload/", upload.upload, "maintainer"),
    ("GET", "/dashboard/users/", users.user_list, "admin"),
    ("GET", "/dashboard/users/new/", users.create, "admin"),
    ("POST", "/dashboard/users/new/", users.create, "admin"),
    ("GET", USER, users.edit, "admin"),
    ("POST", USER, users.edit, "admin"),
    ("POST", f"{USER}password", users.set_password, "admin"),
    ("POST", f"{USER}sessions", users.end_sessions, "admin"),
    ("POST", f"{USER}tokens", users.revoke_token, "admin"),
    ("GET", f"{USER}delete/", users.delete, "admin"),
    ("POST", f"{USER}delete/", users.delete, "admin"),
    ("GET", "/dashboard/journal/", journal.journal, "admin"),
    ("GET", "/dashboard/help/", help.help_page, "installer"),
    ("GET", "/user/", account.profile, "installer"),
    ("POST", "/user/", account.profile, "installer"),
    ("GET", "/user/password", account.password, "installer"),
    ("POST", "/user/password", account.password, "installer"),
    ("GET", "/user/sessions", account.own_sessions, "installer"),
    ("POST", "/user/sessions", account.own_sessions, "installer"),
    ("GET", "/user/tokens", account.tokens, "installer"),
    ("POST", "/user/tokens", account.tokens, "installer"),
    ("POST", "/user/tokens/revoke", account.revoke, "installer"),
    ("GET", "/dashboard/upload", help.slash, "installer"),
    ("GET", "/dashboard/users", help.slash, "installer"),
    ("GET", "/dashboard/journal", help.slash, "installer"),
    ("GET", "/dashboard/help", help.slash, "installer"),
    ("GET", "/dashboard/search", help.slash, "installer"),
    ("GET", "/user", help.slash, "installer"),
    ("GET", "/dashboard", projects.slash, "installer"),
    ("GET", "/dashboard/", projects.index, "installer"),
    ("GET", "/dashboard/search/", search.search, "installer"),
    ("GET", "/dashboard/packages/", projects.slash, "installer"),
    ("GET", "/dashboard/packages/<project>", projects.slash, "installer"),
    ("GET", "/dashboard/packages/<project>/", projects.project, "installer"),
    # Behind those of other pages of a project, whose names are no versions.
    ("GET", "/dashboard/packages/<project>/<version>", projects.slash, "installer"),
    ("GET", "/dashboard/packages/<project>/<version>/", projects.project, "installer"),
)
# The first looks for the form token itself, before the files; the other has a password instead.
CHECKS_FORM = ("/dashboard/upload/", "/dashboard/login")


class Site:
    """What the views work with: settings, storage, kept pages, and who may do what."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.storage = get_store(config.STORAGE, config.STORAGE_PARAMS)
        self.pages = KeptPages(config.KEPT_PAGES_MB)
        self.files = KnownFiles()
        self.writer = Writer()
        self.authenticator = Authenticator(config, self.writer)
        self.downloads = Downloads(self.writer)
        self.sweeper = Sweeper(self.writer, self.storage)
        self.metrics = None
        if config.METRICS:
            bound = database.database.obj
            self.metrics = Metrics(self.pages, self.storage, bound, config.STATIC_URL)

    def check_uploader(self, environ: dict) -> None:
        """As :func:`~extrapypi.guards.check_uploader`."""
        check_uploader(self, environ)

    def close(self) -> None:
        """Writes what is still only in memory, and closes this thread's connection."""
        self.writer.stop()
        database.close()


def create_app(config: Any = None) -> Gateway:
    """The WSGI application; it creates no tables and no users.

    :param config: a mapping of settings, the path of a configuration file, or None for what
        EXTRAPYPI_CONFIG names.
    :raises ConfigError: for settings that cannot be used.
    :raises SchemaError: for a database without tables, or with those of another version.
    """
    config = load(config)
    config.start_logging()
    database.bind(config.DATABASE_URL)
    try:
        with database.connection():
            schema.check_current()
            served = Site(config)
            sweep(served.storage)
    finally:
        database.close()  # a server may fork now, and processes must not share a connection
    application = bottle.Bottle()
    application.uninstall(True)  # Bottle's own plugins: JSON and templates
    application.default_error_handler = error_handler(served)
    application.install(ErrorPlugin())
    application.install(AuthPlugin(served))
    for method, path, view, role in ROUTES:
        application.route(path, method, view, role=role)
    if config.DASHBOARD:
        add_pages(application, config.STATIC_URL)
    return Gateway(Shortcut(application, served), served, config)


def add_pages(application: bottle.Bottle, static_url: str) -> None:
    """Adds the routes of the dashboard."""
    application.route(f"{static_url}<name>", "GET", server.static, role=None)
    for method, path, view, role in PAGES:
        options = {"page": True, "checks_form": path in CHECKS_FORM}
        application.route(path, method, view, role=role, **options)


def error_handler(site: Site) -> Callable[[bottle.HTTPError], bottle.HTTPResponse]:
    """What answers errors of Bottle's own: with a page to browsers, if there is a dashboard."""
    for_programs = bottle_error(site.config.DEBUG)

    def answer(error: bottle.HTTPError) -> bottle.HTTPResponse:
        if site.config.DASHBOARD and is_for_browsers():
            return bottle_page(site, error)
        return for_programs(error)

    return answer
