"""Accounts, for admins: list, create, edit, deactivate, delete."""

from __future__ import annotations

from bottle import request

from extrapypi import accounts, people, sessions
from extrapypi.errors import InvalidInput, NotFound
from extrapypi.models import User
from extrapypi.paging import page_number, paged
from extrapypi.views.browser import asked, done, field, page


def user_list(site, actor):
    """GET /dashboard/users/"""
    order = asked("sort") if asked("sort") in people.ORDERS else "name"
    found = paged(people.everybody(order), page_number(asked("page")))
    return page(site, actor, "users/user_list.html", people=found, order=order)


def create(site, actor):
    """GET and POST /dashboard/users/new/"""
    typed = {name: field(name) for name in ("username", "email", "role")}
    faults = {}
    if request.method == "POST":
        try:
            user = accounts.create_user(actor, password=password(), **typed)
            message = f"The user {user.username} is created; hand over the password safely."
            return done(site, "/dashboard/users/", message)
        except InvalidInput as error:
            faults[error.field] = str(error)
    code = 400 if faults else 200
    return page(site, actor, "users/create.html", code, typed=typed, faults=faults)


def password(name: str = "password") -> str:
    """A password that was sent, white space and all."""
    return request.forms.getunicode(name, "")


def edit(site, actor, user_id):
    """GET and POST /dashboard/users/<user_id>/"""
    user = people.user_of(user_id)
    if request.method != "POST":
        return user_page(site, actor, user)
    wanted = {"email": field("email"), "role": field("role"), "is_active": bool(field("is_active"))}
    try:
        ended = accounts.edit_user(actor, user.username, **wanted)
    except InvalidInput as error:
        return user_page(site, actor, user, error, wanted)
    also = " and logged out everywhere" if ended else ""
    return done(site, home(user), f"{user.username} is changed{also}.")


def user_page(
    site, actor, user: User, error: InvalidInput | None = None, typed: dict | None = None
):
    """All about an account; after a failure with what was typed and the fault beside it."""
    return page(
        site,
        actor,
        "users/edit.html",
        error.status if error else 200,
        user=user,
        typed=typed or {name: getattr(user, name) for name in ("email", "role", "is_active")},
        faults={error.field: str(error)} if error else {},
        is_self=user.id == actor.user_id,
        sessions=sessions.of_user(user.id),
        described=sessions.described,
        tokens=people.tokens_of(user),
        maintained=people.packages_of(user),
    )


def set_password(site, actor, user_id):
    """POST /dashboard/users/<user_id>/password"""
    user = people.user_of(user_id)
    if user.id == actor.user_id:  # there the old one is asked for
        return done(site, "/user/password")
    try:
        accounts.set_password(actor, user.username, password())
    except InvalidInput as error:
        return user_page(site, actor, user, error)
    message = f"The password of {user.username} is changed, and all sessions are ended."
    return done(site, home(user), message)


def end_sessions(site, actor, user_id):
    """POST /dashboard/users/<user_id>/sessions"""
    user = people.user_of(user_id)
    accounts.end_sessions(actor, user.username)
    return done(site, home(user), f"{user.username} is logged out everywhere.")


def revoke_token(site, actor, user_id):
    """POST /dashboard/users/<user_id>/tokens"""
    user = people.user_of(user_id)
    number = token_number()
    if number not in {token.id for token in user.tokens}:
        raise NotFound(f"{user.username} has no token {number}.")
    token = accounts.revoke_token(actor, number)
    return done(site, home(user), f"The token {token.name} is revoked.")


def token_number() -> int:
    """The number of the token that the form is about.

    :raises NotFound: for what can be none.
    """
    number = field("token")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise NotFound("There is no such token.")
    return int(number)


def delete(site, actor, user_id):
    """GET and POST /dashboard/users/<user_id>/delete/"""
    user = people.user_of(user_id)
    faults, typed = {}, ""
    if request.method == "POST":
        typed = field("name")
        try:
            if typed != user.username:
                message = f"Type {user.username} exactly, to show that this is what you mean."
                raise InvalidInput(message, "name")
            accounts.delete_user(actor, user.username)
            return done(site, "/dashboard/users/", f"The user {user.username} is deleted.")
        except InvalidInput as error:
            faults[error.field] = str(error)
    values = {"maintained": people.packages_of(user), "tokens": people.tokens_of(user)}
    code = 400 if faults else 200
    return page(
        site, actor, "users/delete.html", code, user=user, faults=faults, typed=typed, **values
    )


def home(user: User) -> str:
    """The path of the account's page."""
    return f"/dashboard/users/{user.id}/"
