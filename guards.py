"""The Bottle plugin that lets a request reach its view only with the route's role."""

from __future__ import annotations

import functools
from collections.abc import Callable

from bottle import HTTPResponse, request

from extrapypi import sessions
from extrapypi.auth import Actor
from extrapypi.database import connection
from extrapypi.errors import ExtraPyPIError, Forbidden, NotLoggedIn
from extrapypi.gateway import USER
from extrapypi.views.browser import field
from extrapypi.views.failures import error_page, log_in_first

UPLOAD_PAGE = "/dashboard/upload"


def actor_with(site, environ: dict, role: str) -> Actor:
    """Who asks, from credentials or, to read only, from the cookie of a session.

    :raises NotLoggedIn, TooManyFailures: as :meth:`~extrapypi.auth.Authenticator.actor` does.
    :raises Forbidden: when the role is not enough.
    """
    actor = None
    if "HTTP_AUTHORIZATION" not in environ and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        actor = sessions.actor_of(environ)
    actor = actor or site.authenticator.actor(environ)
    if actor is None or (actor.user_id is None and not actor.may(role)):
        raise NotLoggedIn("This needs a user name and a password, or a token.")
    environ[USER] = actor.username
    actor.check(role)
    return actor


def check_uploader(site, environ: dict) -> None:
    """Refuses whoever may upload nothing, before the body of the request is read.

    :raises ExtraPyPIError: as :func:`actor_with` does; Forbidden for a browser without a session.
    """
    with connection():
        if environ["PATH_INFO"].rstrip("/") != UPLOAD_PAGE:
            actor_with(site, environ, "maintainer")
            return
        actor = sessions.actor_of(environ)
        if actor is None:
            raise Forbidden("Log in to upload files.")  # a 401 lets browsers ask for a password
        environ[USER] = actor.username
        actor.check("maintainer")


class AuthPlugin:
    """Every route names a role, ``app.route(path, method, view, role="admin")``; None is for all.

    The view gets the site and the actor (or None) first. Programs log in with every request;
    routes with ``page=True`` are for browsers with a session, and their errors are pages, too. Such
    a POST needs the session's form token, which a view with ``checks_form=True`` looks for itself.
    """

    name = "auth"
    api = 2

    def __init__(self, site):
        self.site = site

    def apply(self, callback, route):
        role = route.config["role"]
        if route.config.get("page"):
            return self._page(callback, role, route.config.get("checks_form", False))
        if role is None:  # costs no query
            return functools.partial(callback, self.site, None)

        @functools.wraps(callback)
        def guarded(**url):
            with connection():
                return callback(self.site, actor_with(self.site, request.environ, role), **url)

        return guarded

    def _page(self, callback: Callable, role: str | None, checks_form: bool) -> Callable:
        """The view of a browser's page; whoever is not logged in is asked to log in."""

        @functools.wraps(callback)
        def guarded(**url) -> HTTPResponse:
            actor = None
            try:
                with connection():
                    actor = sessions.actor_of(request.environ)
                    if actor is None and role is not None:
                        return log_in_first(self.site)
                    if request.method == "POST":
                        self._check_post(actor, checks_form)
                    if actor is not None:
                        request.environ[USER] = actor.username
                        self.site.authenticator.last_seen.note(actor)
                        actor.check(role or "installer")
                    return callback(self.site, actor, **url)
            except NotLoggedIn:  # any more
                return log_in_first(self.site)
            except ExtraPyPIError as error:
                return error_page(self.site, actor, error)

        return guarded

    def _check_post(self, actor: Actor | None, checks_form: bool) -> None:
        """Refuses a form that no page of ours has sent, with Forbidden."""
        sessions.check_origin(request.environ)
        if actor is not None and not checks_form:
            keys = self.site.config.secret_keys
            sessions.check_form_token(actor, keys, field("form_token"))
