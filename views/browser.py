"""What the pages for browsers share: their frame, their forms and the messages between them."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache, partial
from urllib.parse import quote

from bottle import HTTPResponse, request

from extrapypi import sessions
from extrapypi.auth import Actor
from extrapypi.models import User
from extrapypi.views import STATIC, prefix, render, root

UNTYPED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
MESSAGE = "extrapypi_message"  # the cookie of the message that the next page shows
LONGEST_MESSAGE = 1000  # characters
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; img-src 'self' data:"
)
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def page(
    site, actor: Actor | None, template: str, status: int = 200, **values: object
) -> HTTPResponse:
    """A page of the dashboard, with the message that waits for this browser.

    Templates know, besides the values: ``actor`` (None: nobody is logged in), ``url`` and
    ``static`` (paths as links), ``root`` (this application's URL), ``here`` (the page's path),
    ``form_token``, ``message`` and ``weak`` (users with a documented password, for admins).
    """
    message = sessions.cookie(request.environ, MESSAGE)
    common = {
        "actor": actor,
        "url": url,
        "static": partial(static, site),
        "root": root(),
        "here": request.path,
        "form_token": sessions.form_token(actor, site.config.secret_keys[0]) if actor else "",
        "message": opened(site, message),
        "weak": weak_users() if actor and actor.may("admin") else [],
    }
    response = HTTPResponse(render(site, template, **common, **values), status, HEADERS)
    request.environ["extrapypi.policy"] = policy(site.config.README_IMAGES)
    if message:
        drop_cookie(response, MESSAGE)
    return response


def policy(images: bool) -> str:
    """The Content-Security-Policy; with ``images``, READMEs may have those of other hosts."""
    return f"{POLICY} https: http:" if images else POLICY


def url(path: str) -> str:
    """A path of this application, with its query, as a link on a page."""
    return prefix() + quote(path, safe="/?&=#@:+!~%")


def static(site, name: str) -> str:
    """The link of one of our own files; another version of it has another link."""
    return f"{url(site.config.STATIC_URL)}{name}?v={digest(name)}"


@cache
def digest(name: str) -> str:
    """A few characters that change with the content of a file of ours."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def weak_users() -> list[str]:
    """The names of active users whose password is a documented one."""
    query = User.select(User.username).where(User.default_password, User.is_active)
    return [user.username for user in query]


def field(name: str) -> str:
    """A field of the form that was sent, without outer white space; "" when it is absent."""
    return clean(request.forms.getunicode(name, ""))


def asked(name: str) -> str:
    """A value of the URL's query, without outer white space; "" when it is absent."""
    return clean(request.query.getunicode(name, ""))


def clean(text: str) -> str:
    """The text without what no form's field has: control characters (PostgreSQL takes no NUL)."""
    return UNTYPED.sub("", text).strip()


def done(site, path: str, message: str = "") -> HTTPResponse:
    """The answer to a form that was good: the browser gets another page, with a message.

    :param path: of this application, with its query.
    """
    location = root().removesuffix(prefix()) + url(path)
    response = HTTPResponse(b"", 303, {"Location": location, "Cache-Control": "no-store"})
    if message:
        set_cookie(response, MESSAGE, sealed(site, message[:LONGEST_MESSAGE]))
    return response


def set_cookie(response: HTTPResponse, name: str, value: str, **options: object) -> None:
    """Sets a cookie that only this application gets, and no script sees."""
    secure = request.environ["wsgi.url_scheme"] == "https"
    place = {"path": prefix() or "/", "httponly": True, "samesite": "lax", "secure": secure}
    response.set_cookie(sessions.cookie_name(request.environ, name), value, **place, **options)


def drop_cookie(response: HTTPResponse, name: str) -> None:
    """Takes a cookie of ours from the browser."""
    set_cookie(response, name, "", max_age=0, expires=0)


def log_in(response: HTTPResponse, user: User, lifetime: int, remember: bool) -> None:
    """Starts a session of so many seconds for this browser.

    :param user: as it was when its password was checked.
    :param remember: whether the browser keeps it when it is closed.
    :raises NotLoggedIn: when it has another password by now, or is not active any more.
    """
    token = sessions.start(user, lifetime, request.environ)
    set_cookie(response, sessions.COOKIE, token, **({"max_age": lifetime} if remember else {}))


def sealed(site, message: str) -> str:
    """A message as a cookie's value, which nobody else can make."""
    text = base64.urlsafe_b64encode(message.encode()).decode()
    return f"{sessions.keyed_digest(site.config.secret_keys[0], f'message {text}')}.{text}"


def opened(site, value: str) -> str:
    """The message in a cookie's value; "" for a value that we have not made."""
    seal, _, text = value.partition(".")
    if sessions.is_keyed_digest(site.config.secret_keys, f"message {text}", seal):
        return base64.urlsafe_b64decode(text).decode()
    return ""


def safe_next(path: str) -> str:
    """Where to go after a login: a path of this application; "/dashboard/" for all else."""
    good = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if good else "/dashboard/"
