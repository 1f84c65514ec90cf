"""Script that somebody stores or sends, in Chromium: nothing of it runs, loads or leads anywhere,
with the Content-Security-Policy and, because escaping has to hold alone, without it."""

from __future__ import annotations

import base64
import re
import urllib.request
from pathlib import Path
from urllib.parse import quote

import chromium
import pytest
import sample_index
import sites
from archives_made import sdist_bytes, wheel_bytes
from chromium import Visitor
from clients import form
from conftest import form_of
from hostile import DESCRIPTIONS, HTML, OUTSIDE, RST
from playwright.sync_api import Error

from extrapypi import markup


def probe(name: str) -> str:
    """What runs where it is a part of the page, and says so."""
    return f"<img src onerror=pwned('{name}')>"


def long_probe(name: str) -> str:
    """The same where it has to break out first, or where another kind of element is let through."""
    return f"\"'>{probe(name)}<script>pwned('{name}')</script><img src={OUTSIDE}{name}>{{{{7*7}}}}"


MALLORY = f"<script>pwned('user')</script>{probe('user')}"
EMAIL = "\"'><img/src/onerror=pwned('email')>@outside.invalid"
MARKER = f"""python_version < "{probe("marker")}\""""
HEADER = f"""Summary: {long_probe("summary")}
Author: {long_probe("author")}
Maintainer: {long_probe("maintainer")}
Maintainer-Email: {long_probe("maintainer_email")}
License: {long_probe("licence")}
Keywords: {long_probe("keyword")},other
Classifier: {long_probe("classifier")}
Platform: {long_probe("platform")}
Project-URL: {probe("label")}, javascript:pwned('url')
Project-URL: {probe("site")}, https://outside.invalid/"'>{probe("link")}
Home-Page: javascript:pwned('home')
Download-URL: data:text/html,<script>pwned('download')</script>
Description-Content-Type: {probe("kind")}
"""
LATER = f"""Summary: {long_probe("later")}
Author-Email: {EMAIL}
License: {long_probe("line")}
  {long_probe("lines")}
Description-Content-Type: text/x-rst
"""
NEEDS = [f"victim>=1; {MARKER}"]
ARCHIVES = [
    wheel_bytes(
        "victim",
        description="\n\n".join(HTML),
        metadata_extra="Description-Content-Type: text/markdown",
    ),
    sdist_bytes("index.html", filename="index.html-1.0.tar.gz"),
    wheel_bytes("hostile", "0.9"),
    wheel_bytes(
        "hostile",
        "1.0+a.b",
        requires_dist=NEEDS,
        metadata_extra=HEADER,
        description=long_probe("readme"),
    ),
    wheel_bytes(
        "hostile", "2.0", requires_dist=NEEDS * 2, metadata_extra=LATER, description=RST[0]
    ),
]
HOSTILE, SETTINGS = "/dashboard/packages/hostile/", "/dashboard/packages/hostile/settings/"
VISITS = {  # who -> which pages
    "ada": [
        *("/dashboard/", "/dashboard/?sort=name", "/dashboard/search/?q=hostile"),
        *(f"{HOSTILE}?tab={tab}" for tab in ("description", "files", "dependencies", "history")),
        *(f"{HOSTILE}1.0+a.b/", f"{HOSTILE}1.0+a.b/?tab=files"),
        *("/dashboard/packages/victim/", "/dashboard/packages/victim/?tab=dependents"),
        *(SETTINGS, f"{SETTINGS}yank?version=2.0", f"{SETTINGS}delete?version=2.0"),
        *("/dashboard/journal/", f"/dashboard/journal/?who={quote(MALLORY)}"),
        *("/dashboard/users/", "/dashboard/users/6/", "/dashboard/users/6/delete/"),
        *("/user/sessions", "/user/tokens"),
    ],
    MALLORY: [
        *("/user/", "/user/password", "/user/sessions", "/dashboard/help/", "/dashboard/upload/"),
        *(HOSTILE, SETTINGS, "/dashboard/logout", "/dashboard/users/", "/legacy/", "/simple/"),
        *("/simple/hostile/", "/legacy/+simple/hostile/", "/pypi/hostile/json"),
        "/dashboard/search/?q=hostile&format=json",
        f"/packages/hostile/{ARCHIVES[3][0]}.metadata",
    ],
}
SHOWN = {  # the probes that all these pages together have to show
    *("user", "email", "marker", "summary", "author", "licence", "keyword", "classifier", "label"),
    *("url", "site", "home", "download", "kind", "later", "line", "lines", "readme", "raw"),
    *("maintainer", "maintainer_email", "platform", "link"),  # as JSON
    *("token", "yank", "status", "deletion", "agent", "program"),
}
SENT = {  # URL -> whether the page shows the probe that stands for {}
    "/dashboard/?sort={}&page={}": False,
    "/dashboard/search/?q={}": True,
    "/dashboard/search/?q=status:{}": True,
    "/dashboard/search/?q=x&page={}": False,
    f"{HOSTILE}?tab={{}}": True,
    f"{HOSTILE}{{}}/": True,
    "/dashboard/packages/{}/": True,
    "/dashboard/packages/{}/settings/": True,
    f"{SETTINGS}yank?version={{}}&filename={{}}": True,
    f"{SETTINGS}delete?version=2.0&filename={{}}": True,
    "/dashboard/journal/?who={0}&package={0}&action={0}": True,
    "/dashboard/journal/?since={0}&until={0}&before={0}": True,
    "/dashboard/users/?sort={}&page={}": False,
    "/dashboard/{0}?{0}": False,
    "/simple/{}/": True,
    "/simple/?format={}": True,
    "/packages/hostile/{}": False,
    "/pypi/hostile/{}/json": True,
    "/static/{}": False,
    "/{}": False,
    "/_/oidc/{}": False,
}
AUDIT = """() => {
    const faults = [], ids = new Set(), note = each => faults.push(each.outerHTML || each);
    if (document.contentType !== "text/html")
        return [...document.querySelectorAll("script, img, svg, iframe, a, form")].map(note);
    const read = (each, name) => new URL(each.getAttribute(name) ?? "", document.baseURI).href;
    const own = (each, name) => read(each, name).startsWith(location.origin + "/");
    const foreign = /^(i?frame|object|embed|applet|base|style|math|video|audio|template)$/;
    const urls = /^(href|src|action|data|poster|srcset|cite|background|formaction|xlink:href)$/;
    for (const each of document.querySelectorAll("*")) {
        const tag = each.localName, readme = each.parentElement?.closest(".readme");
        if (foreign.test(tag) || tag === "script" && !(each.src && own(each, "src"))
            || tag === "link" && !own(each, "href") || tag === "form" && !own(each, "action")
            || tag === "svg" && !each.closest(".chart") || each.httpEquiv) note(each);
        for (const {name, value} of each.attributes) {
            if (/^(on|style$|srcdoc$|formaction$)/.test(name)) note(each);
            if (urls.test(name) && !/^(https?|mailto):|^data:image\\//.test(read(each, name)))
                note(each);
        }
        if (ids.has(each.id) && each.id && !readme) note(`the id ${each.id} is there twice`);
        ids.add(each.id);
        if (readme && (/\\b(banner|button|error|mark)\\b/.test(each.className)
            || each.id && !each.id.startsWith("user-content-") || each.name)) note(each);
    }
    return faults;
}"""
TEXT = """() => {
    const values = [...document.querySelectorAll("input, option")].map(each => each.value);
    return [document.documentElement.textContent, ...values].join(" ");
}"""


class Witness(Visitor):
    """A visitor who looks closely; ``shown`` are the probes that were there as text."""

    def __init__(self, browser, url: str, **options: object) -> None:
        super().__init__(browser, url, **options)
        self.shown: set[str] = set()
        self.context.expose_binding("pwned", self._ran)
        self.context.route(f"*:{OUTSIDE}**", lambda route: route.abort())

    def _ran(self, source: dict, name: str) -> None:
        self.faults.append(f"{name} ran on {source['page'].url}")

    def look(self, path: str = "") -> set[str]:
        """Goes to a page, or stays where it is; the probes that are shown."""
        if path:
            self.page.goto(path)
        self.faults += [f"{fault} on {self.page.url}" for fault in self.page.evaluate(AUDIT)]
        text = self.page.evaluate(TEXT)
        return {*re.findall(r"pwned\('(\w+)'\)", text)}

    def send(self, path: str, button: str, **fields: str) -> None:
        """Fills in the form of a page and sends it."""
        self.page.goto(path)
        for name, value in fields.items():
            control = self.page.locator(f"main form [name={name}]:not([type=hidden])").first
            control.evaluate("(each, value) => { each.value = value }", value)
        self.page.evaluate("for (const each of document.forms) each.noValidate = true")
        with self.page.expect_navigation():
            self.page.locator("main").get_by_role("button", name=button).first.click()


def publish(url: str, archive: tuple[str, bytes]) -> None:
    """Uploads a distribution as Mallory, with a program of her own."""
    password = sample_index.password(MALLORY)
    request = urllib.request.Request(
        f"{url}/legacy/",
        form(form_of(*archive), *archive),
        {
            "Authorization": f"Basic {base64.b64encode(f'{MALLORY}:{password}'.encode()).decode()}",
            "Content-Type": "multipart/form-data; boundary=xxxx",
            "User-Agent": "<script>pwned('program')</script>",
        },
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def browser():
    """A running Chromium."""
    with chromium.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(browser, tmp_path_factory):
    """The URL of an index where Mallory has published, and others had to do with it."""
    with chromium.server(tmp_path_factory.mktemp("hostile"), is_filled=False) as url:
        ada = Witness(browser, url, bypass_csp=True, user_agent="<script>pwned('agent')</script>")
        ada.log_in("ada")
        password = sample_index.password(MALLORY)
        new = {"username": MALLORY, "email": EMAIL, "role": "developer", "password": password}
        ada.send("/dashboard/users/new/", "Create", **new)
        for archive in ARCHIVES:
            publish(url, archive)
        ada.send(f"{SETTINGS}yank?version=1.0%2Ba.b", "Yank", reason=long_probe("yank"))
        ada.send(SETTINGS, "Set the status", status="deprecated", reason=long_probe("status"))
        gone = {"name": "0.9", "reason": long_probe("deletion")}
        ada.send(f"{SETTINGS}delete?version=0.9", "Delete", **gone)
        ada.send("/user/tokens", "Create", name=long_probe("token")[:100])
        assert ada.faults == []
        ada.context.close()
        yield url


@pytest.fixture(params=[False, True], ids=["with the policy", "without it"])
def witness(browser, url, request):
    """A function that gives a user's window; nothing may have gone wrong in the end."""
    opened: dict[str, Witness] = {}

    def window(username: str = "") -> Witness:
        if username not in opened:
            opened[username] = Witness(browser, url, bypass_csp=request.param)
            if username:
                opened[username].log_in(username)
        return opened[username]

    yield window
    for each in opened.values():
        each.close()
    assert [fault for each in opened.values() for fault in each.faults] == []


def test_what_is_stored_is_shown_as_text(witness):
    shown = {
        name for who, paths in VISITS.items() for path in paths for name in witness(who).look(path)
    }
    assert SHOWN - shown == set()


def test_what_a_url_brings_is_shown_as_text(witness):
    for number, (path, is_shown) in enumerate(SENT.items()):
        sent = quote(probe(f"sent{number}"))
        shown = witness("ada").look(path.format(sent, sent))
        assert not is_shown or f"sent{number}" in shown, path


def test_what_a_form_brings_is_shown_as_text(witness):
    ada = witness("ada")
    page = f"/dashboard/login?next=/{quote(long_probe('next'))}"
    witness().send(page, "Log in", username=long_probe("login"), password="x")
    assert "login" in witness().look()
    ada.send("/dashboard/users/6/", "Save")
    assert ada.page.get_by_role("status").inner_text() == f"{MALLORY} is changed."
    ada.send("/dashboard/users/6/", "Save", email=long_probe("address"))
    assert "address" in ada.look()
    ada.send(SETTINGS, "Add", username=long_probe("name"))
    assert "name" in ada.look()
    refused = wheel_bytes("refused", requires_python=probe("python"))
    odd = (f"{probe('file')}.whl", b"")
    ada.page.goto("/dashboard/upload/")
    files = [{"name": name, "mimeType": "x/x", "buffer": body} for name, body in (refused, odd)]
    ada.page.get_by_label("Files").set_input_files(files)
    with ada.page.expect_navigation():
        ada.page.get_by_role("button", name="Publish").click()
    assert ada.look() >= {"python", "file"}


@pytest.mark.parametrize("images", [False, True], ids=["", "images"])
@pytest.mark.parametrize("content_type", DESCRIPTIONS)
def test_what_is_made_of_a_description_is_tame(browser, url, content_type, images):
    witness = Witness(browser, url, bypass_csp=True)
    witness.page.goto("/dashboard/login")
    loaded = re.compile("a request to https?:|Failed to load" if images else "(?!)")
    for texts in DESCRIPTIONS[content_type]:
        made = [markup.html_of(text, content_type, images)[0] for text in texts]
        witness.page.set_content("".join(f"<main class=readme>{html}</main>" for html in made))
        witness.look()
        assert [fault for fault in witness.faults if not loaded.search(fault)] == [], texts
    witness.close()


def test_a_file_is_downloaded_and_never_shown(witness):
    page = witness("ada").page
    for filename, content in ARCHIVES[:2]:
        project = filename.partition("-")[0].replace(".", "-")
        for place in ("packages", "simple"):
            with page.expect_download() as download, pytest.raises(Error):
                page.goto(f"/{place}/{project}/{filename}")
            assert Path(download.value.path()).read_bytes() == content
    page.goto(f"/packages/victim/{ARCHIVES[0][0]}.metadata")
    assert page.evaluate("document.contentType") == "text/plain"


def test_another_site_frames_nothing_runs_nothing_and_keeps_no_hold_of_a_window(browser, url):
    paths = ("/dashboard/", "/simple/", "/simple/hostile/", "/pypi/victim/json", "/ping", "/no")
    wheel = f"/packages/victim/{ARCHIVES[0][0]}"
    note = "onload=\"document.title += 'loaded '\""
    visitor = Visitor(browser, url)
    visitor.log_in("ada")
    with sites.site() as other:
        loads = [
            f"<script src={url}{path} {note}></script>"
            for path in (*paths, wheel, f"{wheel}.metadata")
        ]
        loads += [
            f"<link rel=stylesheet href={url}{path} {note}>"
            for path in (*paths, f"{wheel}.metadata")
        ]
        frames = [f"<iframe src={url}{path}></iframe>" for path in (*paths, f"{wheel}.metadata")]
        other.html("/", "".join(["<title>:</title>", *loads, *frames]))
        visitor.page.goto(other.url)
        assert visitor.page.title() == ":"
        framed = {frame.url for frame in visitor.page.frames[1:]}
        assert framed == {"chrome-error://chromewebdata/"}
        with visitor.page.expect_popup() as popup:
            visitor.page.evaluate("url => { window.opened = open(url) }", f"{url}/dashboard/")
        popup.value.wait_for_load_state()
        assert visitor.page.evaluate("opened.closed")
    visitor.close()
