"""Browsers that are logged in: a random token in a cookie, its digest in the table of sessions.

Nothing that a browser sends is trusted for more than finding the row. Every form inside a session
carries a keyed digest of it, and every POST has to come from a page of our own.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from extrapypi.auth import WRONG, Actor, secret_digest, source
from extrapypi.database import fetch, retried, transaction, utcnow
from extrapypi.errors import Forbidden, NotLoggedIn
from extrapypi.models import Session, User

COOKIE = "extrapypi_session"
BROWSERS = {  # what a User-Agent has -> whose it is; Edge calls itself Chrome, too, and all Safari
    "Edg": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "Chrom": "Chrome",
    "Safari/": "Safari",
}
SYSTEMS = {
    "Windows": "Windows",
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Mac OS": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}
LONGEST_COOKIE = 2000  # characters of a value that can be one of ours
SESSION_SQL = """
    SELECT s.value, u.id, u.username, u.role, u.is_active, x.id, x.expires_at
    FROM serial s
    LEFT JOIN sessions x ON x.token_sha256 = ?
    LEFT JOIN users u ON u.id = x.user_id"""


def actor_of(environ: dict) -> Actor | None:
    """Who is logged in with the request's cookie, or None."""
    token = cookie(environ, COOKIE)
    if not token:
        return None
    digest = secret_digest(token)
    serial, user_id, name, role, is_active, session_id, expires_at = fetch(SESSION_SQL, digest)
    if not is_active or Session.expires_at.python_value(expires_at) <= utcnow():
        return None
    where = source(environ)
    return Actor(name, role, serial, user_id, session=digest, session_id=session_id, **where)


def still_there(environ: dict) -> Actor:
    """Who is logged in with the request's cookie, when its body has come, which may be slow.

    :raises NotLoggedIn: when that is nobody any more.
    """
    actor = actor_of(environ)
    if actor is None:
        raise NotLoggedIn("The session was ended.")
    return actor


def cookie_name(environ: dict, name: str) -> str:
    """The name that a cookie of ours has in browsers.

    Under https its beginning lets nobody else set it: no page over http and, but for an application
    below a prefix, no other host of the domain.
    """
    if environ["wsgi.url_scheme"] != "https":
        return name
    return f"{'__Secure-' if environ.get('SCRIPT_NAME') else '__Host-'}{name}"


def cookie(environ: dict, name: str) -> str:
    """The value of a cookie of ours; "" when it is absent, or longer than one of them.

    Other programs of the host may have set others, in any form.
    """
    name = cookie_name(environ, name)
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name and len(value) <= LONGEST_COOKIE:
            return value.strip('"')
    return ""


@retried
def start(user: User, lifetime: int, environ: dict) -> str:
    """Logs a browser in for so many seconds; the token for its cookie, 256 random bits.

    Forgets the sessions that have expired.

    :param user: as it was when its password was checked.
    :raises NotLoggedIn: when it has another one by now, or is not active any more.
    """
    token, where = secrets.token_urlsafe(32), source(environ)
    same = (User.id == user.id) & (User.password_hash == user.password_hash) & User.is_active
    with transaction():
        # Holds up who changes the account; afterwards the session is there, to be ended with it.
        if not User.update(last_login_at=utcnow()).where(same).execute():
            raise NotLoggedIn(WRONG)
        Session.delete().where(Session.expires_at <= utcnow()).execute()
        Session.create(
            user=user,
            token_sha256=secret_digest(token),
            expires_at=utcnow() + timedelta(seconds=lifetime),
            address=where["address"],
            browser=where["agent"],
        )
    return token


def of_user(user_id: int) -> list[Session]:
    """The browsers that are logged in with the account, the one seen last first."""
    live = (Session.user == user_id) & (Session.expires_at > utcnow())
    return list(Session.select().where(live).order_by(Session.last_seen_at.desc(), Session.id))


def rest(actor: Actor, shortest: int) -> tuple[int, bool]:
    """The seconds that the actor's session has left, and whether its browser was to remember it.

    :param shortest: the lifetime of a session that was not.
    :raises NotLoggedIn: when it was ended meanwhile.
    """
    own = Session.get_or_none(Session.id == actor.session_id)
    if own is None:
        raise NotLoggedIn("The session was ended.")
    left = int((own.expires_at - utcnow()).total_seconds())
    return max(left, 1), (own.expires_at - own.created_at).total_seconds() > shortest + 60


def described(agent: str) -> str:
    """A browser in plain words, such as "Firefox on Linux"; else its name as it gives it."""
    browser = next((name for mark, name in BROWSERS.items() if mark in agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or agent.partition(" ")[0] or "An unknown browser"


@retried
def end(actor: Actor, session_ids: list[int]) -> None:
    """Logs browsers of the actor out; those of others stay as they are."""
    own = (Session.user == actor.user_id) & Session.id.in_(session_ids)
    with transaction():
        Session.delete().where(own).execute()


def form_token(actor: Actor, key: str) -> str:
    """What a form inside the actor's session has to carry."""
    return keyed_digest(key, f"form {actor.session}")


def check_form_token(actor: Actor, keys: list[str], sent: str) -> None:
    """Refuses a form that no page of this session has shown, with Forbidden."""
    if not is_keyed_digest(keys, f"form {actor.session}", sent):
        raise Forbidden("The form is out of date; go back, load the page again and repeat it.")


def keyed_digest(key: str, text: str) -> str:
    """What only those can make of the text who have the key, in hex."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_keyed_digest(keys: list[str], text: str, sent: str) -> bool:
    """Whether it is what :func:`keyed_digest` makes of the text with one of the keys."""
    good = [keyed_digest(key, text).encode() for key in keys]
    return any(hmac.compare_digest(each, sent.encode()) for each in good)


def check_origin(environ: dict) -> None:
    """Refuses a POST that a page of another site makes a browser send.

    A browser says where the page is from, in Sec-Fetch-Site (over https and on this machine) or in
    Origin; a program that says nothing is no browser.

    :raises Forbidden: naming the other site.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE", "")
    origin = environ.get("HTTP_ORIGIN", "")
    host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
    is_own = not origin or origin.partition("://")[2] == host
    if site:
        is_own = site in ("same-origin", "none") and origin != "null"
    if not is_own:
        raise Forbidden(f"A form of another site ({(origin or site)[:100]}) is not taken here.")
