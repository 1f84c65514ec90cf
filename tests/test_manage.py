"""A project's settings in the browser; pip and uv see each change at the next request."""

from __future__ import annotations

import pytest
from archives_made import sdist_bytes, wheel_bytes
from browsers import Browser, fault, offered
from conftest import upload

from extrapypi.models import File, Journal, Maintainer, Package, Release, User

SETTINGS = "/dashboard/packages/demo-pkg/settings/"
WHEEL, SDIST = "demo_pkg-1.0-py3-none-any.whl", "demo_pkg-1.0.tar.gz"
LATER = "demo_pkg-2.0-py3-none-any.whl"
HOSTILE = "<script>alert(1)</script>\r\n\x00'\""


@pytest.fixture
def demo(app, as_role):
    """A project with two releases, uploaded by the developer; gives the installer's client."""
    for archive in (wheel_bytes(), sdist_bytes(), wheel_bytes(version="2.0")):
        upload(as_role("developer"), *archive)
    return as_role("installer")


def listed(*usernames: str) -> None:
    """Lists users as maintainers of the project."""
    for name in usernames:
        Maintainer.create(package=Package.get(), user=User.named(name))


def last_line() -> Journal:
    return Journal.select().order_by(Journal.id.desc()).first()


def test_a_release_is_yanked_with_a_reason_and_taken_back(app, demo):
    browser = Browser(app, "developer")
    form = browser.get(f"{SETTINGS}yank?version=1.0").forms[1]
    form["reason"] = "broken on\twindows"
    answer = form.submit()
    assert browser.message(answer) == "demo-pkg 1.0 (2 files) is yanked."
    why = "broken on windows"
    assert offered(demo) == {WHEEL: why, SDIST: why, LATER: False}
    assert (last_line().who, last_line().action, last_line().detail) == ("developer", "yank", why)
    browser.send(f"{SETTINGS}yank", version="1.0", undo="1")
    assert set(offered(demo).values()) == {False}


def test_one_file_is_yanked_alone(app, demo):
    Browser(app, "admin").send(f"{SETTINGS}yank", version="1.0", filename=SDIST)
    assert offered(demo) == {WHEEL: False, SDIST: True, LATER: False}


def test_who_is_not_listed_sees_no_settings_and_changes_nothing(app, demo):
    browser = Browser(app, "maintainer")
    assert "not listed as a maintainer" in browser.get(SETTINGS, status=403).text
    browser.send(f"{SETTINGS}yank", 403, version="1.0")
    browser.send(f"{SETTINGS}maintainers", 403, username="maintainer", action="add")
    assert set(offered(demo).values()) == {False}


def test_a_listed_maintainer_yanks_but_does_not_delete(app, demo):
    listed("maintainer")
    browser = Browser(app, "maintainer")
    text = browser.get(SETTINGS).text
    assert "Yank" in text and "Delete" not in text and "Set the status" not in text
    browser.send(f"{SETTINGS}yank", version="2.0")
    assert offered(demo)[LATER] is True
    browser.get(f"{SETTINGS}delete?version=1.0", status=403)
    browser.send(f"{SETTINGS}delete", 403, version="1.0", name="1.0", reason="x")
    assert len(offered(demo)) == 3


def test_an_installer_on_the_list_changes_nothing(app, demo):
    listed("installer")
    Browser(app, "installer").send(f"{SETTINGS}yank", 403, version="1.0")
    assert set(offered(demo).values()) == {False}


@pytest.mark.parametrize(
    ("chosen", "name", "left"),
    [
        ({"version": "1.0", "filename": SDIST}, SDIST, {WHEEL, LATER}),
        ({"version": "1.0"}, "1.0", {LATER}),
        ({}, "demo-pkg", set()),
    ],
    ids=["file", "release", "project"],
)
def test_deleting_asks_for_the_name_and_a_reason(app, demo, chosen, name, left):
    browser = Browser(app, "admin")
    page = browser.get(f"{SETTINGS}delete", chosen)
    assert set(offered(demo)) - left == {each.text for each in page.html.select("main li code")}
    answer = browser.send(f"{SETTINGS}delete", 400, **chosen, name=f"{name}x", reason="")
    assert fault(answer, "name") == f"Type {name} exactly, to show that this is what you mean."
    assert fault(answer, "reason") == "Give a reason; the journal keeps it."
    assert answer.forms[1]["name"].value == f"{name}x"
    assert len(offered(demo)) == 3
    answer = browser.send(f"{SETTINGS}delete", **chosen, name=name, reason="made by mistake")
    assert answer.location.endswith(SETTINGS if left else "/dashboard/")
    assert set(offered(demo)) == left
    assert last_line().detail == "made by mistake"


def test_the_page_tells_when_a_release_or_the_project_goes_along(app, demo):
    browser = Browser(app, "admin")
    page = browser.get(f"{SETTINGS}delete?version=2.0&filename={LATER}")
    assert "and the release 2.0 with it" in page.text
    browser.send(f"{SETTINGS}delete", version="1.0", name="1.0", reason="x")
    page = browser.get(f"{SETTINGS}delete?version=2.0")
    assert "and the project demo-pkg with it" in page.text


def test_only_admins_delete_a_project_or_set_its_status(app, demo):
    browser = Browser(app, "developer")
    browser.get(f"{SETTINGS}delete", status=403)
    browser.send(f"{SETTINGS}delete", 403, name="demo-pkg", reason="x")
    browser.send(f"{SETTINGS}status", 403, status="archived")
    assert len(offered(demo)) == 3


def test_a_status_shows_at_once_and_keeps_its_reason(app, demo):
    browser = Browser(app, "admin")
    browser.send(f"{SETTINGS}status", status="deprecated", reason="use other-pkg")
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    status = demo.get("/simple/demo-pkg/", headers=headers).json["project-status"]
    assert status == {"status": "deprecated", "reason": "use other-pkg"}
    assert browser.get(SETTINGS).forms[3]["reason"].value == "use other-pkg"
    browser.send(f"{SETTINGS}status", status="quarantined", reason="x")
    assert offered(demo) == {}


def test_an_unknown_status_is_refused_beside_its_field(app, demo):
    answer = Browser(app, "admin").send(f"{SETTINGS}status", 400, status="gone", reason="typed")
    assert "'gone' is none of active" in fault(answer, "status")
    assert 'value="typed"' in answer.text


def test_maintainers_are_added_and_removed(app, demo):
    browser = Browser(app, "developer")
    answer = browser.send(f"{SETTINGS}maintainers", username="maintainer", action="add")
    assert "maintainer is a maintainer of demo-pkg now" in browser.message(answer)
    answer = browser.send(f"{SETTINGS}maintainers", 400, username="nobody else", action="add")
    assert fault(answer, "username") == "There is no user nobody else."
    assert 'value="nobody else"' in answer.text
    answer = browser.send(f"{SETTINGS}maintainers", username="developer", action="remove")
    assert answer.location.endswith("/dashboard/packages/demo-pkg/")
    assert [user.username for user in Package.get().maintainers] == ["maintainer"]
    browser.get(SETTINGS, status=403)


@pytest.mark.parametrize("action", ["maintainers", "status", "yank", "delete"])
def test_without_the_form_token_nothing_happens(app, demo, action):
    browser = Browser(app, "admin")
    fields = {"version": "1.0", "name": "1.0", "reason": "x", "status": "archived"}
    for token in ("", "x", "ü" * 64):
        browser.post(SETTINGS + action, {**fields, "form_token": token}, status=403)
    sent = {**fields, "form_token": browser.form_token}
    origin = {"Origin": "http://elsewhere.example"}
    browser.post(SETTINGS + action, sent, headers=origin, status=403)
    assert set(offered(demo).values()) == {False} and len(offered(demo)) == 3


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("yank", 404),
        ("yank?version=3.0", 404),
        ("yank?version=%00%FF%3Cscript%3E", 404),
        ("yank?version=1.0&filename=../../x", 404),
        (f"yank?version=2.0&filename={WHEEL}", 404),
        ("delete?version=9", 404),
        ("?page=99", 200),
        ("?page=0", 400),
        ("?page=%C2%B2", 400),
        ("status", 405),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(app, demo, path, status):
    answer = Browser(app, "admin").get(SETTINGS + path, status=status)
    assert answer.html.h1
    assert "<script>" not in answer.text


def test_an_unknown_project_is_404_for_all_who_may_ask(app, demo):
    Browser(app, "maintainer").get("/dashboard/packages/nothing/settings/", status=404)
    Browser(app, "admin").send("/dashboard/packages/nothing/settings/status", 404, status="active")


def test_another_spelling_leads_to_the_settings(app, demo):
    answer = Browser(app, "admin").get("/dashboard/packages/Demo.Pkg/settings/", status=301)
    assert answer.location.endswith(SETTINGS)


def test_hostile_reasons_stay_text_on_every_page(app, demo):
    browser = Browser(app, "admin")
    browser.send(f"{SETTINGS}yank", version="1.0", filename=WHEEL, reason=HOSTILE)
    browser.send(f"{SETTINGS}status", status="deprecated", reason=HOSTILE)
    for path in (SETTINGS, "/dashboard/journal/", f"{SETTINGS}yank?version=1.0"):
        text = browser.get(path).text
        assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in browser.get(SETTINGS).text
    assert File.get(File.filename == WHEEL).yanked_reason == "<script>alert(1)</script> '\""


def test_many_releases_come_in_pages(app, demo):
    package = Package.get()
    rows = [
        {"package": package, "version": f"3.{n}", "canonical_version": f"3.{n}"} for n in range(60)
    ]
    Release.insert_many(rows).execute()
    browser = Browser(app, "admin")
    first = browser.get(SETTINGS)
    assert "demo-pkg 3.59" in first.text and "demo-pkg 1.0" not in first.text
    last = browser.get(f"{SETTINGS}?page=2")
    assert WHEEL in last.text and "demo-pkg 3.59" not in last.text
