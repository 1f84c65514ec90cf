"""Descriptions as HTML: what is shown of each format, what never is, and when it is made."""

from __future__ import annotations

import os
import re
import threading

import pytest
from archives_made import wheel_bytes
from bs4 import BeautifulSoup
from conftest import at_once, upload

from extrapypi import markup, rendering
from extrapypi.models import Release, Serial

MARKDOWN = "text/markdown"


def html(text, content_type=MARKDOWN, images=False):
    """What is made of a text in this process, as a tree."""
    made, fault = markup.html_of(text, content_type, images)
    assert fault is None
    return BeautifulSoup(made, "html.parser")


def test_markdown_of_github_has_tables_tasks_footnotes_and_notes():
    tree = html(
        "|a|\n|-|\n|b|\n\n- [x] done\n- [ ] open\n\n~~no~~[^1]\n\n> [!NOTE]\n> Hi\n\n[^1]: f\n"
    )
    assert tree.td.text == "b"
    assert [li.text.strip() for li in tree.ul("li")] == ["☑ done", "☐ open"]
    assert tree.find("del").text == "no"
    assert tree.find(class_="admonition-title").text == "Note"
    note = tree.sup.a["href"].removeprefix("#")
    assert tree.find(id=note).text.startswith("\nf")


@pytest.mark.parametrize("variant", ["CommonMark", "commonmark", '"CommonMark"'])
def test_commonmark_has_none_of_these(variant):
    assert html("~~no~~", f"text/markdown; charset=UTF-8; variant={variant}").find("del") is None


@pytest.mark.parametrize(
    "content_type",
    ["Text/Markdown", "text/markdown;variant=GFM", "text/markdown; variant=of-tomorrow"],
)
def test_every_other_markdown_is_that_of_github(content_type):
    assert html("~~no~~", content_type).find("del").text == "no"


@pytest.mark.parametrize("content_type", ["", "text/x-rst", "text/x-rst; charset=UTF-8"])
def test_without_a_content_type_it_is_restructuredtext(content_type):
    tree = html("Title\n=====\n\nSub\n---\n\nA *word*.\n\n.. note:: Hi\n", content_type)
    assert (tree.h2.text, tree.h3.text, tree.em.text) == ("Title", "Sub", "word")
    assert tree.find(class_="admonition").text.split() == ["Note", "Hi"]


def test_plain_text_stays_as_it_is():
    tree = html("a  <b>\n*c*", "text/plain; charset=UTF-8")
    assert tree.pre.text == "a  <b>\n*c*"


def test_an_unknown_content_type_is_plain_text_with_a_note():
    made, fault = markup.html_of("<b>", "text/org", False)
    assert made == '<pre class="plain">&lt;b&gt;</pre>'
    assert "'text/org'" in fault


BROKEN = [
    ("Title\n=====\n\nSee |nothing|.\n", "Line 4: Undefined substitution"),
    ("Long title\n=====\n", "Line 2: Title underline too short."),
    (".. raw:: html\n\n   <script>alert(1)</script>\n", '"raw" directive disabled'),
    (".. include:: /etc/passwd\n", '"include" directive disabled'),
    (".. csv-table::\n   :file: /etc/passwd\n", "URL access deactivated"),
    (".. unknown:: x\n", 'Unknown directive type "unknown"'),
    ("".join(" " * n + "a\n\n" for n in range(400)), "nested too deeply"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_broken_restructuredtext_is_plain_text_with_the_reason(text, said):
    made, fault = markup.html_of(text, "text/x-rst", False)
    assert said in fault
    assert len(fault) < 1000
    assert BeautifulSoup(made, "html.parser").pre.text == text
    assert "<script" not in made


def test_who_forgot_the_content_type_is_told():
    assert "no content type" in markup.html_of("A `b\n", "", False)[1]


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "<a href='java\nscript:alert(1)'>x</a>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe src=https://example.org></iframe>",
    "<style>body{display:none}</style>",
    "<p style='position:fixed' onclick=alert(1)>x</p>",
    "<form action=/user/><input name=a><button>go</button></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<meta http-equiv=refresh content=0;url=//example.org><base href=//example.org>",
    "<div class='banner error' id=main>Your password has expired</div>",
    "<a href='//example.org/x'>x</a> <a href=/dashboard/logout>x</a>",
    '![a"><script>alert(1)</script>](https://example.org/x.png)',
    '<img alt="&lt;script&gt;" src="https://example.org/&quot;onload=&quot;x">',
    "<object data=x></object><embed src=x><video src=x autoplay></video>",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("images", [False, True])
def test_nothing_runs_loads_or_looks_like_the_page(text, images):
    tree = html(text, images=images)
    allowed = {"id", "class", "href", "rel", "title", "tabindex", "src", "alt", "loading"}
    for tag in tree.find_all(True):
        assert tag.name in markup.TAGS
        assert set(tag.attrs) <= allowed | {"referrerpolicy"}
        assert tag.get("id", markup.PREFIX).startswith(markup.PREFIX)
        assert set(tag.get("class", ())) <= markup.CLASSES
        href = tag.get("href", "https://")
        assert re.match(r"https?://|mailto:|#user-content-", href), href
        assert images or tag.name != "img"


def test_links_lead_out_without_a_recommendation():
    tree = html("[a](https://example.org) [b](mailto:a@example.org) [c](docs/x.md) <a name=d></a>")
    assert [a["href"] for a in tree("a")] == ["https://example.org", "mailto:a@example.org"]
    assert all(a["rel"] == ["nofollow", "noopener"] for a in tree("a"))
    assert "c" in tree.text


def test_links_within_lead_to_their_headings():
    tree = html("[go](#the-end)\n\n# The end\n")
    assert tree.find(id=tree.a["href"].removeprefix("#")) is not None


def test_images_of_other_hosts_become_their_text_and_a_link():
    tree = html("![A plan](https://example.org/plan.png) ![](https://example.org/b.png)")
    assert tree.img is None
    texts = [(a.text, a["href"]) for a in tree("a")]
    assert texts == [
        ("A plan (image)", "https://example.org/plan.png"),
        ("image", "https://example.org/b.png"),
    ]


def test_a_badge_becomes_the_text_of_its_link():
    tree = html(
        "[![build](https://example.org/b.svg)](https://ci.example.org) [![](x.png)](https://x.y)"
    )
    assert [(a.text, a["href"]) for a in tree("a")] == [
        ("build", "https://ci.example.org"),
        ("image", "https://x.y"),
    ]


def test_with_the_setting_images_are_shown_and_tell_nobody_where():
    tree = html("![A plan](https://example.org/plan.png)", images=True)
    assert tree.img["alt"] == "A plan"
    assert tree.img["referrerpolicy"] == "no-referrer"


def test_images_in_the_text_are_shown_and_relative_ones_become_their_text():
    tree = html("![dot](data:image/png;base64,AAAA) ![shot](docs/shot.png)")
    assert [(img["src"], img["alt"]) for img in tree("img")] == [
        ("data:image/png;base64,AAAA", "dot")
    ]
    assert "shot" in tree.text


@pytest.mark.parametrize(
    ("levels", "shown"),
    [
        ([1, 2, 3], [2, 3, 4]),
        ([3, 1, 1], [2, 2, 2]),
        ([1, 4, 2, 6], [2, 3, 3, 4]),
        ([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 6]),
    ],
)
def test_headings_go_below_that_of_the_page_and_skip_no_level(levels, shown):
    tree = html("\n\n".join(f"{'#' * level} x" for level in levels))
    assert [int(tag.name[1]) for tag in tree.find_all(re.compile("h[1-6]"))] == shown


def test_what_scrolls_can_be_reached_by_keyboard():
    tree = html("|a|\n|-|\n|b|\n\n```python\nprint('x')\n```\n")
    assert tree.pre["tabindex"] == tree.table.parent["tabindex"] == "0"


def test_no_landmarks_and_no_links_without_a_text():
    tree = html(".. contents::\n\nA\n=\n\n.. sidebar:: S\n\n   t\n\nB [1]_\n\n.. [1] f\n", "")
    assert not tree.find_all(["nav", "aside", "section"])
    assert all(a.text.strip() for a in tree("a"))


ENDLESS = {  # text, content type; each would take minutes or gigabytes
    "substitutions": (
        "".join(f".. |a{n}| replace:: {f'|a{n + 1}| ' * 10}\n" for n in range(9))
        + ".. |a9| replace:: x\n\n|a0|\n",
        "text/x-rst",
    ),
    "elements": ("<div>" * 200_000, MARKDOWN),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_description_is_given_up_and_shown_as_plain_text(name):
    text, content_type = ENDLESS[name]
    made, fault = rendering.render(text, content_type)
    assert "too much time or memory" in fault
    assert made.startswith('<pre class="plain">')


def test_a_huge_description_is_plain_text_at_once():
    made, fault = rendering.render("# a\n" * 300_000, MARKDOWN)
    assert "1,048,576 characters" in fault
    assert made.startswith('<pre class="plain"># a')


def test_a_short_text_that_swells_is_plain_text(monkeypatch):
    text = f"{'|a' * 20}|\n{'|-' * 20}|\n" + "|x\n" * 50  # all rows get all their cells
    monkeypatch.setattr(markup, "LARGEST", 10_000)
    made, fault = markup.html_of(text, MARKDOWN, False)
    assert (fault, made) == ("It becomes too large.", markup.plain(text))


def test_the_process_of_its_own_makes_the_same():
    text = "# Größe 😀\n\n![x](https://example.org/x.png)\n"
    assert rendering.render(text, MARKDOWN) == markup.html_of(text, MARKDOWN, False)
    assert "<img" in rendering.render(text, MARKDOWN, images=True)[0]


def test_where_python_is_embedded_its_own_program_is_used(monkeypatch):
    monkeypatch.setattr("sys.executable", "/usr/bin/uwsgi")
    assert os.access(rendering.interpreter(), os.X_OK)
    assert rendering.render("*a*", MARKDOWN)[0] == "<p><em>a</em></p>\n"


# From here on with an index.


def publish(client, version="1.0", tag="py3-none-any", description="# Hello\n", extra=""):
    name, body = wheel_bytes(
        version=version,
        tag=tag,
        description=description,
        metadata_extra=f"Description-Content-Type: text/markdown\n{extra}",
    )
    return upload(client, name, body)


def renderings(monkeypatch):
    """A list that grows with every description that is rendered."""
    done, real = [], rendering.render
    monkeypatch.setattr(rendering, "render", lambda *given: done.append(given[0]) or real(*given))
    return done


def test_an_upload_renders_the_description_once(as_role, monkeypatch):
    done = renderings(monkeypatch)
    client = as_role("developer")
    publish(client)
    release = Release.get()
    assert release.rendered == '<h2 id="user-content-hello">Hello</h2>\n'
    assert (release.rendered_by, release.rendering_fault) == (rendering.rendered_by(), None)
    serial = Serial.get().value
    publish(client, tag="cp311-abi3-any")  # of the same release
    publish(client)  # the same file
    assert rendering.shown(Release.get()) == (release.rendered, None)
    assert done == ["# Hello\n"]
    assert Serial.get().value == serial + 1


def test_another_description_or_type_is_rendered_anew(as_role):
    client = as_role("developer")
    publish(client)
    publish(client, tag="cp311-abi3-any", description="# Bye\n")
    assert "Bye" in Release.get().rendered
    name, body = wheel_bytes(
        tag="cp312-abi3-any",
        description="# Bye\n",
        metadata_extra="Description-Content-Type: text/plain",
    )
    upload(client, name, body)
    assert Release.get().rendered == '<pre class="plain"># Bye\n</pre>'


def test_a_broken_description_is_no_fault_of_the_upload(as_role):
    name, body = wheel_bytes(description="A `b\n")
    upload(as_role("developer"), name, body)
    release = Release.get()
    assert "no content type" in release.rendering_fault
    assert release.rendered == '<pre class="plain">A `b\n</pre>'


def test_an_upload_is_good_when_nothing_can_be_rendered_now(as_role, monkeypatch, log):
    monkeypatch.setattr(rendering, "interpreter", lambda: "/nowhere/python")
    publish(as_role("developer"))
    release = Release.get()
    assert release.rendered_by is None
    assert "could not be rendered" in log.read_text()
    html, fault = rendering.shown(release)
    assert (html, "load the page again" in fault) == ('<pre class="plain"># Hello\n</pre>', True)
    monkeypatch.undo()
    assert "<h2" in rendering.shown(release)[0]
    assert "<h2" in Release.get().rendered


@pytest.mark.parametrize("change", [{"rendered_by": "readme-renderer 1"}, {"rendered_by": None}])
def test_what_another_version_made_is_made_anew(as_role, change):
    publish(as_role("developer"))
    Release.update(rendered="old", **change).execute()
    serial = Serial.get().value
    assert "Hello" in rendering.shown(Release.get())[0]
    release = Release.get()
    assert "Hello" in release.rendered
    assert release.rendered_by == rendering.rendered_by()
    assert Serial.get().value == serial  # no index page has changed


def test_the_setting_for_images_takes_effect_on_what_is_there(as_role):
    publish(as_role("developer"), description="![x](https://example.org/x.png)\n")
    assert "<img" not in Release.get().rendered
    assert "<img" in rendering.shown(Release.get(), images=True)[0]
    assert "<img" not in rendering.shown(Release.get())[0]


def test_a_description_that_changes_meanwhile_is_not_overwritten(as_role):
    publish(as_role("developer"))
    stale = Release.get()
    stale.rendered_by = None
    Release.update(description="# New\n", rendered=None, rendered_by=None).execute()
    assert "Hello" in rendering.shown(stale)[0]
    assert Release.get().rendered is None


def test_an_empty_description_is_nothing(as_role, monkeypatch):
    done = renderings(monkeypatch)
    upload(as_role("developer"))
    assert rendering.shown(Release.get()) == ("", None)
    assert done == []


def test_without_a_dashboard_nothing_is_rendered(settings, request, monkeypatch):
    settings["DASHBOARD"] = False
    done = renderings(monkeypatch)
    publish(request.getfixturevalue("as_role")("developer"))
    assert done == []


def test_many_readers_of_one_release_start_few_processes(as_role, monkeypatch):
    publish(as_role("developer"))
    Release.update(rendered_by=None).execute()
    running, most, lock, real = [0], [0], threading.Lock(), rendering.subprocess.run

    def run(*given, **options):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return real(*given, **options)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(rendering.subprocess, "run", run)
    release_id, shown = Release.get().id, []
    at_once(5, lambda _: shown.append(rendering.shown(Release.get_by_id(release_id))[0]))
    assert len(shown) == 5
    assert all("Hello" in each for each in shown)
    assert most[0] <= 2


def test_imports_leave_it_to_the_first_view(app, as_role, monkeypatch, tmp_path):
    from extrapypi import importing
    from extrapypi.starting import COMMAND_LINE

    done = renderings(monkeypatch)
    name, body = wheel_bytes(description="Hello\n")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / name).write_bytes(body)
    summary = importing.Summary()
    importing.import_folders(app.site.storage, COMMAND_LINE, [tmp_path / "old"], summary)
    assert (done, Release.get().rendered) == ([], None)
    assert rendering.shown(Release.get())[0] == "<p>Hello</p>\n"


@pytest.mark.parametrize("inner", ["<pre><form action=/x>", "</h1>", "<h1>", "<a href=x>"])
def test_markup_in_a_value_stays_in_it(inner):
    html, fault = rendering.render(f'<abbr title="{inner}">x</abbr>\n', "text/markdown", False)
    assert fault is None
    assert "<form" not in html
    assert html.count("<abbr") == html.count("</abbr>") == 1
