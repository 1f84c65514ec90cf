"""Logging in and out."""

from __future__ import annotations

from bottle import request

from extrapypi import sessions
from extrapypi.auth import WRONG
from extrapypi.errors import NotLoggedIn, TooManyFailures
from extrapypi.models import User
from extrapypi.views import prefix
from extrapypi.views.browser import done, field, log_in, page, safe_next


def login(site, actor):
    """GET and POST /dashboard/login"""
    target = safe_next(request.query.getunicode("next", ""))
    if request.method != "POST":
        if actor is not None:
            return done(site, target)
        return login_page(site, target)
    try:
        found = site.authenticator.by_password(
            field("username"), request.forms.getunicode("password", ""), request.environ
        )
        user = User.get_or_none(User.id == found.user_id)
        if user is None:  # deleted in this moment
            raise NotLoggedIn(WRONG)
    except (NotLoggedIn, TooManyFailures) as error:
        return login_page(site, target, error)
    remember = bool(field("remember"))
    config = site.config
    response = done(site, target)
    lifetime = config.REMEMBER_LIFETIME if remember else config.SESSION_LIFETIME
    log_in(response, user, lifetime, remember)
    if actor is not None:
        sessions.end(actor, [actor.session_id])
    return response


def login_page(site, target: str, error: Exception | None = None):
    """The form; after a failure with what was typed, but for the password."""
    values = {"username": field("username"), "remember": bool(field("remember"))}
    status = getattr(error, "status", 200)
    response = page(site, None, "login/login.html", status, target=target, error=error, **values)
    if isinstance(error, TooManyFailures):
        response.set_header("Retry-After", str(error.retry_after))
    return response


def logout(site, actor):
    """GET and POST /dashboard/logout"""
    if request.method != "POST":
        return page(site, actor, "login/logout.html")
    sessions.end(actor, [actor.session_id])
    response = done(site, "/dashboard/login", "You are logged out.")
    response.delete_cookie(sessions.COOKIE, path=prefix() or "/")
    return response
