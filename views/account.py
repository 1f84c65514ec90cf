"""One's own account: address, password, sessions and tokens."""

from __future__ import annotations

from bottle import request

from extrapypi import accounts, auth, people, sessions
from extrapypi.errors import InvalidInput, NotLoggedIn
from extrapypi.models import Session, Token
from extrapypi.views.browser import done, field, log_in, page

EXPIRY = (("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"), ("", "never"))


def account_page(site, actor, name: str, faults: dict, status: int = 400, **values: object):
    """A page about the account; after a failure with the faults."""
    user = people.user_of(actor.user_id)
    code = status if faults else 200
    return page(site, actor, f"account/{name}.html", code, user=user, faults=faults, **values)


def check_password(actor) -> None:
    """Makes sure that the owner of the session sits before it.

    :raises InvalidInput: for another password.
    :raises TooManyFailures: after too many of them, as at the login.
    """
    sent = request.forms.getunicode("password", "")
    try:
        auth.check_password(actor.username, sent, request.environ)
    except NotLoggedIn:
        raise InvalidInput("This is not your password.", "password") from None


def profile(site, actor):
    """GET and POST /user/"""
    faults, email = {}, field("email")
    if request.method == "POST":
        try:
            check_password(actor)
            accounts.edit_user(actor, actor.username, email=email)
            return done(site, "/user/", "Your e-mail address is changed.")
        except InvalidInput as error:
            faults[error.field] = str(error)
    maintained = people.packages_of(people.user_of(actor.user_id))
    return account_page(site, actor, "profile", faults, email=email, maintained=maintained)


def password(site, actor):
    """GET and POST /user/password"""
    faults = {}
    if request.method == "POST":
        try:
            return password_changed(site, actor)
        except InvalidInput as error:
            faults[error.field] = str(error)
    return account_page(site, actor, "password", faults)


def password_changed(site, actor):
    """Changes the password; this browser gets a new session, and all others lose theirs.

    :raises InvalidInput: with the field that is wrong.
    """
    check_password(actor)
    new = request.forms.getunicode("new", "")
    if new != request.forms.getunicode("again", ""):
        raise InvalidInput("The two are not the same.", "again")
    lifetime, is_kept = sessions.rest(actor, site.config.SESSION_LIFETIME)
    try:
        accounts.set_password(actor, actor.username, new)
    except InvalidInput as error:
        raise InvalidInput(str(error), "new") from error
    message = "Your password is changed. All other browsers are logged out."
    response = done(site, "/user/password", message)
    log_in(response, people.user_of(actor.user_id), lifetime, is_kept)
    return response


def own_sessions(site, actor):
    """GET and POST /user/sessions"""
    found = sessions.of_user(actor.user_id)
    if request.method == "POST":
        return sessions_ended(site, actor, found)
    described = sessions.described
    return account_page(site, actor, "sessions", {}, sessions=found, described=described)


def sessions_ended(site, actor, found: list[Session]):
    """Ends one session, or all but the one at hand."""
    chosen = field("session")
    ids = [
        session.id
        for session in found
        if session.id != actor.session_id and chosen in ("others", str(session.id))
    ]
    number = accounts.end_sessions(actor, actor.username, ids) if ids else 0
    message = f"{number} session{'s are' if number != 1 else ' is'} ended."
    return done(site, "/user/sessions", message)


def tokens(site, actor):
    """GET and POST /user/tokens"""
    faults, made, secret = {}, None, ""
    if request.method == "POST":
        try:
            made, secret = token_created(actor)
        except InvalidInput as error:
            faults[error.field] = str(error)
    own = people.tokens_of(people.user_of(actor.user_id))
    names = ("name", "scope", "packages", "days")
    typed = {name: field(name) for name in names} if faults else {}
    # The secret is in this answer only: a redirect would have to carry it somewhere.
    return account_page(
        site,
        actor,
        "tokens",
        faults,
        typed=typed,
        made=made,
        secret=secret,
        tokens=own,
        expiry=EXPIRY,
    )


def token_created(actor) -> tuple[Token, str]:
    """The token that the form asks for, with its secret."""
    days = field("days")
    if days not in dict(EXPIRY):
        raise InvalidInput(f"{days[:100]!r} is none of the times to choose from.", "days")
    return accounts.create_token(
        actor,
        actor.username,
        field("name"),
        field("scope"),
        field("packages").replace(",", " ").split(),
        int(days) if days else None,
    )


def revoke(site, actor):
    """POST /user/tokens/revoke"""
    own = {str(token.id): token for token in people.tokens_of(people.user_of(actor.user_id))}
    if field("token") not in own:
        return done(site, "/user/tokens", "There is no such token of yours.")
    token = accounts.revoke_token(actor, own[field("token")].id)
    return done(site, "/user/tokens", f"The token {token.name} is revoked.")
