"""The search of the dashboard: what is found, in which order, by whom, and as JSON."""

from __future__ import annotations

import pytest
import webtest
from archives_made import wheel_bytes
from conftest import USERS, as_user, upload
from queries import asked, plan, scans

from extrapypi import packages, search
from extrapypi.database import execute, transaction
from extrapypi.errors import InvalidInput
from extrapypi.models import ROLES, Dependency, Maintainer, Package, Release, User, writing
from extrapypi.starting import COMMAND_LINE
from extrapypi.trigrams import contains

URL = "/dashboard/search/"


def publish(app, name, version="1.0", *headers):
    """Puts a wheel with these lines of metadata on the index."""
    publisher = as_user(app, "developer", USERS["developer"])
    upload(publisher, *wheel_bytes(name, version, metadata_extra="\n".join(headers)))


@pytest.fixture
def browser(app):
    test_app = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    test_app.post("/dashboard/login", {"username": "installer", "password": USERS["installer"]})
    return test_app


def found(browser, query):
    answer = browser.get(URL, {"q": query, "format": "json"})
    assert answer.content_type == "application/json"
    return [project["name"] for project in answer.json["projects"]]


def test_the_exact_name_comes_first_then_prefixes_then_other_places(app, browser):
    publish(app, "web_parser")
    publish(app, "parser_tools")
    publish(app, "parser")
    publish(app, "aaa", "1.0", "Summary: Has a parser inside")
    publish(app, "other")
    assert found(browser, "Parser") == ["parser", "parser_tools", "web_parser", "aaa"]


def test_every_word_has_to_be_somewhere_in_names_summary_or_keywords(app, browser):
    publish(app, "billing", "1.0", "Summary: Invoices for shops", "Keywords: money,VAT")
    publish(app, "shops", "1.0", "Summary: A list")
    assert found(browser, "invoices vat") == ["billing"]
    assert found(browser, "shops") == ["shops", "billing"]
    assert found(browser, "invoices list") == []


@pytest.mark.parametrize("query", ["demo.pkg", "DEMO_PKG", "demo-pkg", "demo pkg", "mo_p"])
def test_a_name_is_found_in_any_spelling(app, browser, query):
    publish(app, "Demo_Pkg")
    assert found(browser, query) == ["Demo_Pkg"]


@pytest.mark.parametrize(
    ("summary", "query"),
    [
        ("Größe und Maß", "GRÖSSE MASS"),
        ("ПРИВЕТ мир", "привет МИР"),
        ("Ωμέγα", "ωμέγα"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER W}IDE", "wide"),
        ("日本語の説明", "日本語"),
        ("I\N{COMBINING DIAERESIS}le", "\N{LATIN SMALL LETTER I WITH DIAERESIS}LE"),
    ],
)
def test_case_and_width_make_no_difference_in_any_script(app, browser, summary, query):
    publish(app, "demo", "1.0", f"Summary: {summary}")
    assert found(browser, query) == ["demo"]


@pytest.mark.parametrize("query", ["%", "_", "100%", "\\", "'", '"', "a%c", "[x]", "*"])
def test_the_databases_own_signs_mean_themselves(app, browser, query):
    publish(app, "a-bc", "1.0", "Summary: nothing special")
    publish(app, "signs", "1.0", "Summary: 100% _ \\ ' \" a%c [x] *")
    assert found(browser, query) == ["signs"]


def test_the_latest_release_is_what_is_searched(app, browser):
    publish(app, "demo", "1.0", "Keywords: ancient", "Requires-Dist: six", "Author: Anna")
    publish(app, "demo", "2.0", "Keywords: modern", "Requires-Dist: attrs", "Author: Bert")
    assert found(browser, "ancient") == found(browser, "depends:six") == []
    assert found(browser, "modern") == found(browser, "depends:ATTRS") == ["demo"]
    assert (found(browser, "author:anna"), found(browser, "author:bert")) == ([], ["demo"])
    packages.yank(COMMAND_LINE, "demo", "2.0")
    assert found(browser, "ancient depends:six author:anna") == ["demo"]
    packages.yank(COMMAND_LINE, "demo", "2.0", undo=True)
    packages.delete(app.site.storage, COMMAND_LINE, "demo", "2.0")
    assert found(browser, "ancient") == ["demo"]
    assert Package.get().latest_version == "1.0"


def test_filters_and_words_go_together(app, browser):
    publish(app, "one", "1.0", "Requires-Dist: Some.Thing>=1; extra == 'x'", "Provides-Extra: x")
    publish(app, "two", "1.0", "Requires-Dist: some-thing")
    packages.set_maintainer(COMMAND_LINE, "two", "maintainer")
    packages.set_status(COMMAND_LINE, "two", "archived", "old")
    assert found(browser, "depends:some_thing") == ["one", "two"]
    assert found(browser, "depends:some_thing maintainer:MAINTAINER") == ["two"]
    assert found(browser, "one depends:some_thing status:active") == ["one"]
    assert found(browser, "status:ARCHIVED") == ["two"]
    assert found(browser, "Depends:nothing") == []
    assert found(browser, "http://one") == []


def test_authors_are_found_by_name_and_address(app, browser):
    publish(app, "demo", "1.0", "Author-Email: Ånna <anna@example.org>", "Maintainer: Team X")
    for query in ("author:ÅNNA", "author:@example.org", "author:team"):
        assert found(browser, query) == ["demo"]


def test_a_project_in_quarantine_is_found_with_a_mark(app, browser):
    publish(app, "demo")
    packages.set_status(COMMAND_LINE, "demo", "quarantined", "checked")
    page = browser.get(URL, {"q": "demo"})
    assert page.html.select_one("tbody .mark").text == "quarantined"


def test_the_page_has_a_row_for_each_project_and_links_to_it(app, browser):
    publish(app, "Demo_Pkg", "1.0", "Summary: <script>alert(1)</script>")
    page = browser.get(URL, {"q": "demo"})
    link = page.html.select_one("tbody a")
    assert (link.text, link["href"]) == ("Demo_Pkg", "/dashboard/packages/demo-pkg/")
    assert not page.html.select("tbody script")
    assert page.html.select_one("#q")["value"] == "demo"
    assert len(page.html.select("h1")) == 1


def test_what_was_typed_is_escaped_and_kept(app, browser):
    text = '"><script>alert(1)</script>'
    page = browser.get(URL, {"q": text})
    assert page.html.select_one("#q")["value"] == text
    assert "<script>alert" not in page.text
    assert "matches" in page.html.select_one("main").text


def test_results_are_paged_by_url(app, browser):
    with writing():
        for number in range(120):
            name = f"part-{number:03}"
            Package.create(name=name, normalized_name=name, search_text=name)
    first = browser.get(URL, {"q": "part-"})
    assert len(first.html.select("tbody tr")) == 50
    assert "page 1 of 3" in first.html.select_one("caption").text
    second = first.click("Next")
    assert second.html.select_one("tbody a").text == "part-050"
    assert second.click("Next").html.select_one("tbody a").text == "part-100"
    answer = browser.get(URL, {"q": "part", "page": "99", "format": "json"}).json
    assert (answer["page"], answer["pages"], answer["total"]) == (3, 3, 120)


def test_the_json_twin_tells_what_the_page_shows(app, browser):
    publish(app, "Demo_Pkg", "1.0", "Summary: Größe")
    answer = browser.get(URL, {"q": "demo"}, headers={"Accept": "application/json"})
    document = answer.json
    project = document["projects"][0]
    assert project.pop("updated").endswith("Z")
    assert project.pop("url").endswith("/dashboard/packages/demo-pkg/")
    assert document == {
        "query": "demo",
        "page": 1,
        "pages": 1,
        "total": 1,
        "more": False,
        "projects": [
            {
                "name": "Demo_Pkg",
                "summary": "Größe",
                "version": "1.0",
                "status": "active",
            }
        ],
    }


@pytest.mark.parametrize("query", ["", "   ", "\0", "\u200b"])
def test_an_empty_search_finds_nothing_and_shows_the_form(app, browser, query):
    publish(app, "demo")
    page = browser.get(URL, {"q": query})
    assert page.html.select_one("#q") is not None
    assert not page.html.select("tbody tr")


BAD = [
    ("x" * 201, "at most 200 characters"),
    ("a " * 11, "at most 10 words"),
    ("status:gone", "The status 'gone' is none of"),
    ("depends:", "has no value"),
]


@pytest.mark.parametrize(("query", "said"), BAD, ids=[said for _, said in BAD])
def test_a_search_that_cannot_be_done_says_why_beside_the_field(app, browser, query, said):
    page = browser.get(URL, {"q": query}, status=400)
    assert said in page.html.select_one("#q-fault").text
    assert page.html.select_one("#q")["aria-invalid"] == "true"
    assert "q-fault" in page.html.select_one("#q")["aria-describedby"]
    answer = browser.get(URL, {"q": query, "format": "json"}, status=400)
    assert said in answer.json["message"]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1e3", "9" * 40])
def test_a_page_that_is_no_number_is_refused(app, browser, number):
    browser.get(URL, {"q": "x", "page": number}, status=400)


@pytest.mark.parametrize("raw", ["q=%FF%FE", "q=%ED%A0%80", "q=%00", "q=a%00b&page=%00", "q&q=1"])
def test_odd_bytes_are_no_fault_of_the_server(app, browser, raw):
    assert browser.get(f"{URL}?{raw}", status="*").status_int < 500


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_search(app, role):
    test_app = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    test_app.get(URL, status=303)
    test_app.post("/dashboard/login", {"username": role, "password": USERS[role]})
    test_app.get(URL, status=200)


def test_a_search_asks_a_fixed_number_of_queries(app, browser, monkeypatch):
    publish(app, "demo", "1.0", "Requires-Dist: six")
    few = len(asked(monkeypatch, lambda: search.find("demo depends:six", 1)))
    for number in range(5):
        publish(app, f"demo{number}", "1.0", "Requires-Dist: six")
    assert len(asked(monkeypatch, lambda: search.find("demo depends:six", 1))) == few <= 5


@pytest.mark.parametrize("query", ["e", "mo", "zz", "ß", "本"])
def test_words_of_one_or_two_letters_are_found_anywhere(app, browser, query):
    publish(app, "demo", "1.0", "Summary: 日本 Straße", "Keywords: fizz")
    publish(app, "ab", "1.0", "Summary: cd")
    assert found(browser, query) == ["demo"]
    assert found(browser, f"{query} straße") == ["demo"]
    assert found(browser, f"{query} ab") == []


def test_what_changes_or_goes_is_found_no_more(app, browser):
    publish(app, "demo", "1.0", "Summary: before", "Author: Anna")
    assert found(browser, "before") == found(browser, "be") == ["demo"]
    publish(app, "demo", "2.0", "Summary: after", "Author: Bert")
    assert found(browser, "before") == found(browser, "be") == []
    packages.delete(app.site.storage, COMMAND_LINE, "demo", "2.0")
    assert found(browser, "before author:anna") == ["demo"]
    assert found(browser, "after") == found(browser, "author:bert") == []
    packages.delete(app.site.storage, COMMAND_LINE, "demo")
    assert found(browser, "demo") == found(browser, "de") == found(browser, "author:anna") == []


@pytest.fixture
def many(app, monkeypatch):
    """An index with more projects of one kind than a search reads."""
    monkeypatch.setattr(search, "MOST", 10)
    user = User.get(User.username == "developer")
    with writing():
        for number in range(30):
            name = f"part-{number:02}"
            package = Package.create(
                name=name, normalized_name=name, search_text=f"{name} common", search_author="team"
            )
            release = Release.create(package=package, version="1", canonical_version="1")
            for marker in ("", "x"):
                Dependency.create(release=release, normalized_name="six", marker=marker)
            Package.update(latest_release_id=release.id).where(Package.id == package.id).execute()
            Maintainer.create(package=package, user=user)
        for name in ("zzz-common", "common", "common-things", "aaa-common"):
            Package.create(name=name, normalized_name=name, search_text=name, search_author="")


def test_of_very_many_the_names_that_fit_best_come_first(many, browser):
    names = found(browser, "common")
    assert names[:2] == ["common", "common-things"]
    assert len(names) == 10
    page = browser.get(URL, {"q": "common"})
    assert "More than 10 projects" in page.html.select_one("caption").text
    assert browser.get(URL, {"q": "common", "format": "json"}).json["more"] is True
    assert browser.get(URL, {"q": "zzz", "format": "json"}).json["more"] is False


@pytest.mark.parametrize(
    "query",
    [
        *(
            "depends:six",
            "maintainer:developer",
            "status:active",
            "author:team",
            "part-",
            "a",
            "co",
        ),
        *("common depends:six", "author:team status:active", "maintainer:developer depends:six"),
    ],
)
def test_a_broad_search_says_that_there_are_more(many, browser, query):
    answer = browser.get(URL, {"q": query, "format": "json"}).json
    assert answer["more"] is True and 5 <= answer["total"] <= 10


@pytest.mark.parametrize(
    "query",
    [
        *("part-07 depends:six", "depends:six part-07", "07 maintainer:developer common"),
        "author:team status:active common 07",
    ],
)
def test_a_narrow_condition_is_found_among_broad_ones(many, browser, query):
    answer = browser.get(URL, {"q": query, "format": "json"}).json
    assert [project["name"] for project in answer["projects"]] == ["part-07"]
    assert answer["more"] is False


BROAD = ["common", "co", "author:team", "depends:six", "maintainer:developer", "status:active"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("query", [*BROAD, " ".join(BROAD)])
def test_no_search_goes_through_all_projects(many, browser, monkeypatch, query):
    for sql, parameters in asked(monkeypatch, lambda: search.find(query, 1)):
        assert scans(sql, parameters) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("query", ["part-07", "07", "common part-07", "author:team 07"])
def test_an_sqlite_without_trigrams_finds_the_same(many, browser, query):
    before = found(browser, query)
    for trigger in ("added", "removed", "changed"):
        execute(f"DROP TRIGGER packages_{trigger}")
    for table in ("trigrams", "texts"):
        execute(f"DROP TABLE packages_{table}")
    assert found(browser, query) == before == ["part-07"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_finds_texts_by_their_trigrams(app):
    with transaction():
        execute("SET LOCAL enable_seqscan = off")
        query = Package.select(Package.id).where(contains(Package.search_text, "100%"))
        assert "packages_texts" in plan(*query.sql())


def test_a_user_of_a_long_name_or_none_is_no_error(app, browser):
    assert User.select().count() == len(ROLES)
    assert found(browser, "maintainer:ẞ") == []
    with pytest.raises(InvalidInput):
        search.parse("maintainer:")
