"""The dashboard in Chromium: every role's way through it, by mouse and by keyboard, with scripts
and without, and what axe-core says to each page in both colour schemes."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import chromium
import pytest
import sample_index
from archives_made import wheel_bytes
from axe_playwright_python.sync_playwright import Axe
from chromium import Visitor
from playwright.sync_api import expect
from sample_index import PEOPLE

from extrapypi.app import PAGES, SETTINGS, USER
from extrapypi.models import ROLES

INSTALLER, MAINTAINER, DEVELOPER, ADMIN = ROLES
WHO = {"deniz": INSTALLER, "chiara": MAINTAINER, "bruno": DEVELOPER, "ada": ADMIN}
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
PROJECT = "/dashboard/packages/<project>/"
TIDEWATER, FORECAST = "/dashboard/packages/tidewater/", "/dashboard/packages/forecast/"
VISITED = {  # route of a page -> who looks at which of its pages
    "/dashboard/login": [("", "/dashboard/login?next=/user/")],
    "/dashboard/logout": [("deniz", "/dashboard/logout")],
    "/dashboard/": [
        ("deniz", "/dashboard/"),
        ("ada", "/dashboard/?sort=-downloads"),
    ],
    "/dashboard/search/": [
        ("deniz", "/dashboard/search/?q=tides"),
        ("deniz", "/dashboard/search/?q=nothing-like-that"),
        ("deniz", "/dashboard/search/?q=status:lost"),
    ],
    PROJECT: [
        ("deniz", TIDEWATER),
        ("deniz", f"{TIDEWATER}?tab=files"),
        ("deniz", f"{TIDEWATER}?tab=dependencies"),
        ("deniz", f"{TIDEWATER}?tab=dependents"),
        ("ada", f"{TIDEWATER}?tab=history"),
        ("bruno", "/dashboard/packages/gauge-protocol/?tab=files"),
        ("bruno", "/dashboard/packages/gauge-protocol/"),
        ("chiara", "/dashboard/packages/invoice-export/"),  # a description that is broken
        ("deniz", "/dashboard/packages/free-trial-helper/"),  # quarantined
        ("deniz", "/dashboard/packages/harbour-logging/?tab=history"),  # archived
        ("deniz", "/dashboard/packages/old-forecast/"),  # deprecated
    ],
    f"{PROJECT}<version>/": [
        ("deniz", f"{FORECAST}3.1/"),  # yanked
        ("deniz", f"{TIDEWATER}2.0.0rc1/"),
    ],
    SETTINGS: [
        ("chiara", f"{TIDEWATER}settings/"),
        ("ada", f"{FORECAST}settings/"),
    ],
    f"{SETTINGS}yank": [("chiara", f"{TIDEWATER}settings/yank?version=1.3.0")],
    f"{SETTINGS}delete": [("bruno", f"{FORECAST}settings/delete?version=3.1")],
    "/dashboard/upload/": [("chiara", "/dashboard/upload/")],
    "/dashboard/users/": [("ada", "/dashboard/users/")],
    "/dashboard/users/new/": [("ada", "/dashboard/users/new/")],
    USER: [("ada", "/dashboard/users/1/")],
    f"{USER}delete/": [("ada", "/dashboard/users/2/delete/")],
    "/dashboard/journal/": [
        ("ada", "/dashboard/journal/"),
        ("ada", "/dashboard/journal/?since=soon"),
        ("deniz", "/dashboard/journal/"),  # which is refused
    ],
    "/dashboard/help/": [("deniz", "/dashboard/help/"), ("bruno", "/dashboard/help/")],
    "/user/": [("deniz", "/user/")],
    "/user/password": [("deniz", "/user/password")],
    "/user/sessions": [("ada", "/user/sessions")],
    "/user/tokens": [("deniz", "/user/tokens"), ("ada", "/user/tokens")],
}
VISITS = [visit for visits in VISITED.values() for visit in visits]
FOCUS = """() => {
    const at = document.activeElement, style = getComputedStyle(at);
    const label = at.labels && at.labels.length ? at.labels[0].innerText : at.innerText;
    const name = (label || at.name || "").trim().replace(/\\s+/g, " ");
    return at === document.body ? ["", ""] : [name, style.outlineStyle];
}"""
MOST_TABS = 150  # until one is where one wants to go


@pytest.fixture(scope="module")
def browser():
    """A running Chromium."""
    with chromium.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The URL of a server with the sample's index."""
    with chromium.server(tmp_path_factory.mktemp("sample")) as url:
        yield url


@pytest.fixture(scope="module")
def empty_url(tmp_path_factory):
    """The URL of a server with people, and without packages."""
    with chromium.server(tmp_path_factory.mktemp("empty"), is_filled=False) as url:
        yield url


@pytest.fixture(scope="module")
def seated(browser):
    """Who has a browser open, at which server: they log in only once."""
    visitors: dict[tuple[str, str], Visitor] = {}
    yield visitors
    for visitor in visitors.values():
        visitor.close()


@pytest.fixture
def look(browser, url, seated):
    """A function that gives a user's window, on a page; nothing may have gone wrong in the end."""
    looked_at: list[Visitor] = []

    def visitor_at(username: str, path: str, server: str = url) -> Visitor:
        key = (username, server)
        if key not in seated:
            seated[key] = Visitor(browser, server, viewport=DESK)
            if username:
                seated[key].log_in(username)
        visitor = seated[key]
        visitor.faults.clear()
        visitor.page.set_viewport_size(DESK)
        visitor.page.goto(path)
        looked_at.append(visitor)
        return visitor

    yield visitor_at
    assert [fault for visitor in looked_at for fault in visitor.faults] == []


@pytest.fixture
def newcomer(browser, url):
    """A function that gives a fresh window, without a session."""
    visitors: list[Visitor] = []

    def opened(**options: object) -> Visitor:
        visitors.append(Visitor(browser, url, viewport=DESK, **options))
        return visitors[-1]

    yield opened
    faults = [fault for visitor in visitors for fault in visitor.faults]
    for visitor in visitors:
        visitor.close()
    assert faults == []


def check(visitor: Visitor) -> None:
    """Makes sure that the page is good to everybody: at a desk in light, on a phone in dark."""
    for size, scheme in ((DESK, "light"), (PHONE, "dark")):
        visitor.page.set_viewport_size(size)
        visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(visitor.page, options=RULES)
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"
        widths = "[document.scrollingElement.scrollWidth, window.innerWidth]"
        needed, there = visitor.page.evaluate(widths)
        assert needed <= there, f"{needed} pixels wide, on a screen of {there}"


def test_every_page_is_visited():
    pages = {path for method, path, view, _ in PAGES if method == "GET"}
    slashes = {path for method, path, view, _ in PAGES if view.__name__ == "slash"}
    assert set(VISITED) == pages - slashes


@pytest.mark.parametrize(("username", "path"), VISITS, ids=[f"{who}:{at}" for who, at in VISITS])
def test_a_page_is_good_to_everybody_and_asks_nobody_else(look, username, path):
    visitor = look(username, path)
    assert visitor.page.locator("h1").count() == 1
    check(visitor)


@pytest.mark.parametrize("username", ["ada", "bruno", "deniz"])
def test_an_index_without_packages_tells_how_to_begin(look, empty_url, username):
    visitor = look(username, "/dashboard/", empty_url)
    lines = visitor.page.locator("[data-copy]").all_inner_texts()
    assert any(f"{empty_url}/legacy/" in line for line in lines) == (username != "deniz")
    check(visitor)


def test_long_and_hostile_words_break_no_page(look):
    name, version = "x" * 90, f"1.0+{'9' * 60}"
    hostile = "<script>alert(1)</script>" + "w" * 300
    links = "Project-URL: <b>x</b>, javascript:alert(1)\nHome-page: javascript:alert(2)\n"
    archive = wheel_bytes(
        name,
        version,
        requires_dist=[f"{'y' * 120}>=1.0"],
        metadata_extra=f"Summary: {hostile}\nKeywords: {'k' * 200}\nAuthor: {hostile}\n{links}",
        description=f"{hostile}\n\n`here <javascript:alert(3)>`_",
    )
    visitor = look("bruno", "/dashboard/upload/")
    publish(visitor.page, [archive])
    for path in ("/dashboard/", "/dashboard/search/?q=xxx", *tabs_of(name)):
        look("bruno", path)
        assert visitor.page.locator("a[href^=javascript]").count() == 0
        check(visitor)


def tabs_of(name: str) -> list[str]:
    """The pages of a project."""
    tabs = ("description", "files", "dependencies", "dependents", "history")
    home = f"/dashboard/packages/{name}/"
    return [*(f"{home}?tab={tab}" for tab in tabs), f"{home}settings/"]


def publish(page, archives: list[tuple[str, bytes]]) -> None:
    """Chooses the files on the upload page, and sends them."""
    kind = "application/octet-stream"
    files = [{"name": name, "mimeType": kind, "buffer": content} for name, content in archives]
    page.get_by_label("Files").set_input_files(files)
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("What became of each file").wait_for()


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("username", WHO)
def test_a_day_at_the_index(newcomer, username, javascript):
    visitor = newcomer(java_script_enabled=javascript)
    page, role = visitor.page, WHO[username]
    page.goto(TIDEWATER)
    visitor.log_in(username)
    assert page.url.endswith(TIDEWATER)  # where one wanted to go
    offers_what_the_role_allows(page, role)
    uploads(page, role, "1" if javascript else "2")
    finds_a_project(page, javascript)
    if javascript:
        copies_the_install_line(visitor)
    yanks(page, role, username)
    makes_and_revokes_a_token(visitor)
    page.get_by_role("link", name="Log out").click()
    page.get_by_role("main").get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_have_text("You are logged out.")
    page.goto("/dashboard/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def offers_what_the_role_allows(page, role: str) -> None:
    """The navigation has what the role may do, and nothing else."""
    links = page.get_by_role("navigation", name="Main").get_by_role("link").all_inner_texts()
    allowed = ROLES.index(role)
    assert ("Upload" in links) == (allowed >= ROLES.index(MAINTAINER))
    assert ("Users" in links) == ("Journal" in links) == (role == ADMIN)
    page.goto("/dashboard/upload/")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Upload" if "Upload" in links else "Forbidden")


def uploads(page, role: str, number: str) -> None:
    """A file of a project that exists, and of a new one, from the page of the navigation."""
    if role == INSTALLER:
        return
    page.get_by_role("link", name="Upload", exact=True).click()
    version = f"9.{ROLES.index(role)}.{number}"
    publish(page, [wheel_bytes("tidewater-cli", version), wheel_bytes(f"{role}-{number}", "1.0")])
    results = page.get_by_role("row").filter(has_text=".whl")
    expect(results.filter(has_text="tidewater_cli")).to_contain_text("published")
    may_create = role in (DEVELOPER, ADMIN)
    outcome = "published" if may_create else "needs the role developer"
    expect(results.filter(has_text=f"{role}_{number}")).to_contain_text(outcome)


def finds_a_project(page, javascript: bool) -> None:
    """By the search box, which "/" reaches, and then from tab to tab."""
    page.get_by_role("link", name="Packages", exact=True).click()
    page.get_by_role("heading", level=1, name="Packages").wait_for()
    box = page.get_by_role("searchbox", name="Search packages")
    if javascript:
        page.keyboard.press("/")
    else:
        box.click()
    expect(box).to_be_focused()
    page.keyboard.type("gauge depends:numpy")
    page.keyboard.press("Enter")
    page.get_by_role("main").get_by_role("link", name="tidewater", exact=True).click()
    tabs = page.get_by_role("navigation", name="tidewater")
    for name, heading in (("Files", "Files"), ("Dependencies", "Dependencies")):
        tabs.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=2, name=heading)).to_be_attached()
        assert page.url.endswith(f"?tab={name.lower()}")
    page.get_by_role("main").get_by_role("link", name="gauge-protocol", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("gauge-protocol")


def copies_the_install_line(visitor: Visitor) -> None:
    """What the button copies is what one sees."""
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visitor.page
    button = page.get_by_role("button", name="Copy the line for pip")
    button.click()
    expect(button).to_have_text("Copied")
    line = page.evaluate("navigator.clipboard.readText()")
    assert line == f"pip install --extra-index-url {visitor.url}/simple/ gauge-protocol"


def yanks(page, role: str, username: str) -> None:
    """A release, with a reason that its page shows, and takes it back."""
    page.goto(TIDEWATER)
    settings = page.get_by_role("navigation", name="tidewater").get_by_role("link", name="Settings")
    if username in ("deniz", "bruno"):  # neither admin nor listed
        expect(settings).to_have_count(0)
        return
    settings.click()
    page.get_by_role("link", name="Yank 1.1.0", exact=True).click()
    page.get_by_label("Reason").fill(f"Wrong units, says {username}")
    page.get_by_role("button", name="Yank").click()
    expect(page.get_by_role("status")).to_contain_text("tidewater 1.1.0 (2 files) is yanked")
    page.goto(f"{TIDEWATER}1.1.0/")
    expect(page.get_by_role("main")).to_contain_text(f"Wrong units, says {username}")
    page.goto(f"{TIDEWATER}settings/")
    page.get_by_role("link", name="Un-yank 1.1.0", exact=True).click()
    page.get_by_role("button", name="Un-yank").click()
    expect(page.get_by_role("status")).to_contain_text("tidewater 1.1.0")


def makes_and_revokes_a_token(visitor: Visitor) -> None:
    """The token is shown once, works at once, and is refused at once."""
    page = visitor.page
    page.get_by_role("navigation", name="Main").get_by_role("listitem").nth(-2).click()
    page.get_by_role("link", name="Tokens").click()
    page.get_by_label("Name").fill("for an afternoon")
    page.get_by_label("It may").select_option("read")
    page.get_by_role("button", name="Create the token").click()
    secret = page.locator("pre", has_text="xpypi_").first.inner_text()
    page.get_by_role("link", name="Tokens").click()
    expect(page.get_by_text(secret)).to_have_count(0)
    assert status(visitor.url, secret) == 200
    page.get_by_role("button", name="Revoke for an afternoon").click()
    expect(page.get_by_role("status")).to_contain_text("for an afternoon is revoked")
    assert status(visitor.url, secret) == 401


def status(url: str, token: str) -> int:
    """What a program with this token gets from the index."""
    request = urllib.request.Request(f"{url}/simple/", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_everything_can_be_done_by_keyboard_and_the_focus_is_seen(newcomer, javascript):
    visitor = newcomer(java_script_enabled=javascript)
    page, keys = visitor.page, visitor.page.keyboard
    page.goto("/dashboard/login")
    expect(page.get_by_label("User name")).to_be_focused()
    keys.type("chiara")
    go_to(page, "Password")
    keys.type(sample_index.password("chiara"))
    keys.press("Enter")
    page.get_by_role("link", name="Log out").wait_for()
    keys.press("Tab")
    assert page.evaluate(FOCUS)[0] == "Skip to content"  # before everything else
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id || location.hash.slice(1)") == "main"
    keys.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    page.goto("/dashboard/")
    go_to(page, "Search packages")
    keys.type("tidewater")
    keys.press("Enter")
    page.get_by_role("heading", level=1, name="Search").wait_for()
    version = "1.0.0" if javascript else "1.2.0"
    for link in ("tidewater", "Settings", f"Yank {version}"):
        go_to(page, link)
        with page.expect_navigation():
            keys.press("Enter")
    go_to(page, "Reason")
    keys.type("By keyboard")
    go_to(page, "Yank")
    keys.press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"tidewater {version} (2 files) is yanked")


def go_to(page, name: str) -> None:
    """Presses Tab until the focus is on what has this name; it has to be seen all the way."""
    seen = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        found, outline = page.evaluate(FOCUS)
        seen.append(found)
        assert outline != "none", f"nothing shows that the focus is on {found!r}"
        if found == name:
            return
    raise AssertionError(f"Tab does not lead to {name!r}, only to {seen}")


def test_arrow_keys_go_from_tab_to_tab(look):
    page = look("deniz", TIDEWATER).page
    tabs = page.get_by_role("navigation", name="tidewater").get_by_role("link")
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tabs.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(tabs.last).to_be_focused()


def test_a_refused_form_says_so_beside_the_field_and_keeps_what_was_typed(look):
    visitor = look("ada", "/dashboard/users/new/")
    page = visitor.page
    page.get_by_label("User name").fill("__frida")
    page.get_by_label("E-mail").fill("frida@example.org")
    page.get_by_label("Password").fill("a long one of words")
    page.get_by_role("button", name="Create").click()
    name = page.get_by_label("User name")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_accessible_description(re.compile("begins with __"))
    expect(page.get_by_label("E-mail")).to_have_value("frida@example.org")
    check(visitor)


def test_a_new_token_and_the_lines_for_it_fit_on_every_screen(look):
    visitor = look("bruno", "/user/tokens")
    visitor.page.get_by_label("Name").fill("to look at")
    visitor.page.get_by_role("button", name="Create the token").click()
    visitor.page.get_by_text("it is shown only this once").wait_for()
    check(visitor)


def test_a_refused_upload_is_told_with_all_its_reasons(look):
    visitor = look("bruno", "/dashboard/upload/")
    broken = wheel_bytes("broken", "1.0", requires_python="soon", requires_dist=["???"])
    publish(visitor.page, [broken, wheel_bytes("sound", "1.0")])
    refused = visitor.page.get_by_role("row").filter(has_text="broken-1.0")
    expect(refused).to_contain_text("soon")
    expect(refused).to_contain_text("???")
    check(visitor)


def test_the_sample_has_somebody_of_every_role():
    assert {PEOPLE[username] for username in WHO} == set(ROLES)
    assert all(PEOPLE[username] == role for username, role in WHO.items())
