"""Logging in and out."""

from __future__ import annotations

from bottle import request

from extrapypi import sessions
from extrapypi.auth import check_password
from extrapypi.errors import NotLoggedIn, TooManyFailures
from extrapypi.views.browser import done, drop_cookie, field, log_in, page, safe_next


def login(site, actor):
    """GET and POST /dashboard/login"""
    target = safe_next(request.query.getunicode("next", ""))
    if request.method != "POST":
        if actor is not None:
            return done(site, target)
        return login_page(site, target)
    config, remember = site.config, bool(field("remember"))
    lifetime = config.REMEMBER_LIFETIME if remember else config.SESSION_LIFETIME
    response = done(site, target)
    try:
        password = request.forms.getunicode("password", "")
        user = check_password(field("username"), password, request.environ)
        log_in(response, user, lifetime, remember)
    except (NotLoggedIn, TooManyFailures) as error:
        return login_page(site, target, error)
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
    drop_cookie(response, sessions.COOKIE)
    return response
