"""The packages list and the pages of a project, as a browser sees them."""

from __future__ import annotations

import hashlib
import re

import pytest
import webtest
from archives_made import sdist_bytes, wheel_bytes
from conftest import COMMAND_LINE, USERS, at_once, upload
from queries import asked, plan, scans

from extrapypi import accounts, catalogue, dependencies, packages
from extrapypi.models import ROLES, File, Package, Release
from extrapypi.views import projects

PROJECT = "/dashboard/packages/demo-pkg/"
INCOMPRESSIBLE = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(100))
SCRIPT = "<script>alert(1)</script>"
TABS = ("description", "files", "dependencies", "dependents", "history")
PAGES = ("/dashboard/", PROJECT, f"{PROJECT}1.0/", *(f"{PROJECT}?tab={tab}" for tab in TABS))


@pytest.fixture
def browser(app):
    """A browser in which a role is logged in."""

    def logged_in(role: str = "installer") -> webtest.TestApp:
        client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        client.post("/dashboard/login", {"username": role, "password": USERS[role]})
        return client

    return logged_in


def publish(client, name="demo-pkg", version="1.0", make=wheel_bytes, **metadata):
    filename, body = make(name, version, **metadata)
    upload(client, filename, body)
    return filename


def words(answer) -> str:
    """What a person reads on the page."""
    text = re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2])
    return " ".join(text.replace("&gt;", ">").replace("&#34;", '"').split())


def listed(answer) -> list[str]:
    """The projects of the packages list, in its order."""
    return re.findall(r'<a href="/dashboard/packages/([^/]+)/">', answer.text)


# ---- Who may read ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reads_every_page(role, as_role, browser):
    publish(as_role("developer"))
    client = browser(role)
    for path in PAGES:
        assert client.get(path).status_int == 200


def test_who_is_not_logged_in_is_sent_to_the_login(as_role, client):
    publish(as_role("developer"))
    for path in (*PAGES, "/dashboard", PROJECT.rstrip("/"), "/dashboard/packages/nothing/"):
        assert "/dashboard/login" in client.get(path, status=303).location
        assert "/dashboard/login" in as_role("admin").get(path, status=303).location


def test_only_those_who_may_change_the_project_see_its_settings(as_role, browser):
    publish(as_role("developer"))
    assert "/settings/" in browser("developer").get(PROJECT)
    assert "/settings/" in browser("admin").get(PROJECT)
    assert "/settings/" not in browser("maintainer").get(PROJECT)
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "maintainer")
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "installer")
    assert "/settings/" in browser("maintainer").get(PROJECT)
    assert "/settings/" not in browser("installer").get(PROJECT)


def test_addresses_and_tokens_are_for_admins_only(as_role, browser):
    client = as_role("developer")
    client.extra_environ["REMOTE_ADDR"] = "198.51.100.7"
    publish(client)
    assert "198.51.100.7" in browser("admin").get(f"{PROJECT}?tab=history")
    assert "198.51.100.7" not in browser("developer").get(f"{PROJECT}?tab=history")


# ---- Addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/dashboard", "/dashboard/"),
        ("/dashboard/packages/", "/dashboard/"),
        ("/dashboard/packages/Demo_Pkg", PROJECT),
        ("/dashboard/packages/Demo..pkg/?tab=files", f"{PROJECT}?tab=files"),
        ("/dashboard/packages/DEMO-PKG/1.0/?tab=files", f"{PROJECT}1.0/?tab=files"),
        (f"{PROJECT}1.0", f"{PROJECT}1.0/"),
    ],
)
def test_other_spellings_lead_to_the_page(path, target, as_role, browser):
    publish(as_role("developer"))
    assert browser().get(path, status=301).location == f"http://localhost:80{target}"


def test_another_spelling_of_a_version_leads_to_the_one_that_was_given(as_role, browser):
    publish(as_role("developer"))
    answer = browser().get(f"{PROJECT}v1.0.0/?tab=files", status=302)
    assert answer.location.endswith(f"{PROJECT}1.0/?tab=files")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/dashboard/packages/nothing/", 404),
        ("/dashboard/packages/%3Cscript%3E/", 404),
        ("/dashboard/packages/demo-pkg%00/", 404),
        (f"{PROJECT}9/", 404),
        (f"{PROJECT}%C3%BF%3Cscript%3E/", 404),
        (f"{PROJECT}{'9' * 5000}/", 404),
        (f"{PROJECT}?tab=%3Cscript%3E", 400),
        (f"{PROJECT}?tab=history&page=0", 400),
        (f"{PROJECT}?tab=dependents&page=-1", 400),
        ("/dashboard/?page=x", 400),
        ("/dashboard/?page=%D9%A3", 400),
        (f"/dashboard/?page={'9' * 5000}", 400),
        ("/dashboard/?sort=password", 400),
        ("/dashboard/?sort=--name", 400),
        ("/dashboard/?sort=version", 400),
        ("/dashboard/?page=999999999", 200),
        (f"{PROJECT}?tab=history&page=999999999", 200),
    ],
)
def test_an_address_that_means_nothing_gets_a_sentence(path, status, as_role, browser):
    publish(as_role("developer"))
    answer = browser().get(path, status=status)
    assert "<script>" not in answer.text.partition("<main")[2]
    assert "<h1>" in answer


# ---- The list ----------------------------------------------------------------------------------


def test_an_empty_index_tells_how_to_publish(browser):
    answer = browser("developer").get("/dashboard/")
    line = "twine upload --repository-url http://localhost:80/legacy/ --username developer dist/*"
    assert line in answer
    assert "uv publish --publish-url http://localhost:80/legacy/ --username developer" in answer
    assert "repository = http://localhost:80/legacy/" in answer


def test_an_empty_index_tells_who_may_publish_to_those_who_may_not(browser):
    answer = browser("installer").get("/dashboard/")
    assert "needs the role developer; you are installer" in answer
    assert "twine upload" not in answer


def test_a_line_tells_what_there_is_of_a_project(as_role, browser):
    publish(as_role("developer"), version="1.0", metadata_extra="Summary: Old words\n")
    publish(as_role("admin"), version="2.0", metadata_extra="Summary: New words\n")
    shown = words(browser().get("/dashboard/"))
    size = sum(file.size for file in File.select())
    assert "1 project, 2 releases, 2 files" in shown
    assert "demo-pkg New words 2.0" in shown
    assert "by admin 2" in shown
    assert f'title="{size:,} bytes"' in browser().get("/dashboard/")


def test_the_list_marks_what_is_unusual(as_role, browser):
    client = as_role("developer")
    for name in ("plain", "old", "gone", "held", "bad"):
        publish(client, name)
    for name, status in (("old", "archived"), ("gone", "deprecated"), ("held", "quarantined")):
        packages.set_status(COMMAND_LINE, name, status)
    packages.yank(COMMAND_LINE, "bad", "1.0")
    rows = browser().get("/dashboard/").text.split("<tr>")
    marks = {
        name: re.findall(r'class="mark[^>]*>(\w+)', next(row for row in rows if f"/{name}/" in row))
        for name in ("plain", "old", "gone", "held", "bad")
    }
    assert marks == {
        "plain": [],
        "old": ["archived"],
        "gone": ["deprecated"],
        "held": ["quarantined"],
        "bad": ["yanked"],
    }


def test_the_list_is_sorted_by_each_column_both_ways(as_role, browser):
    client = as_role("developer")
    publish(client, "bravo", "9.0", description=INCOMPRESSIBLE)
    publish(client, "alpha", "10.0")
    publish(client, "alpha", "10.1")
    for sort, names in (
        ("", ["alpha", "bravo"]),
        ("name", ["alpha", "bravo"]),
        ("updated", ["bravo", "alpha"]),
        ("files", ["bravo", "alpha"]),
        ("size", ["alpha", "bravo"]),
    ):
        page = browser().get(f"/dashboard/?sort={sort}")
        assert listed(page) == names, sort
        if sort:
            assert listed(browser().get(f"/dashboard/?sort=-{sort}")) == names[::-1], sort
            assert 'aria-sort="ascending"' in page


def test_the_list_is_sorted_by_downloads(as_role, browser, app):
    client = as_role("developer")
    publish(client, "alpha")
    filename = publish(client, "bravo")
    client.get(f"/packages/bravo/{filename}")
    app.site.writer.stop()
    assert listed(browser().get("/dashboard/?sort=-downloads")) == ["bravo", "alpha"]
    assert "1" in words(browser().get("/dashboard/?sort=-downloads")).split()


def test_the_list_goes_over_pages(as_role, browser, monkeypatch):
    monkeypatch.setattr("extrapypi.paging.PER_PAGE", 2)
    client = as_role("developer")
    for name in ("alpha", "bravo", "charlie"):
        publish(client, name)
    first = browser().get("/dashboard/?sort=name")
    assert listed(first) == ["alpha", "bravo"]
    assert "Page 1 of 2" in first
    assert listed(browser().get("/dashboard/?sort=name&page=2")) == ["charlie"]
    assert listed(browser().get("/dashboard/?sort=name&page=7")) == ["charlie"]
    assert 'href="/dashboard/?sort=name&amp;page=2"' in first


def queries_of(client, path: str, monkeypatch) -> int:
    """How many queries the page asks."""
    return len(asked(monkeypatch, lambda: client.get(path)))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_page_goes_through_all_projects_or_files(as_role, browser, monkeypatch):
    publish(as_role("developer"), requires_dist=["base"])
    publish(as_role("developer"), "base")
    client = browser()
    sorts = [f"/dashboard/?sort={sign}{sort}" for sort in catalogue.SORTS for sign in ("", "-")]
    for path in (*sorts, *(f"{PROJECT}?tab={tab}" for tab in TABS)):
        statements = asked(monkeypatch, lambda path=path: client.get(path))
        assert [scans(*each) for each in statements if scans(*each)] == [], path


def test_more_projects_releases_and_files_are_no_more_queries(as_role, browser, monkeypatch):
    client, reader = as_role("developer"), browser("developer")
    paths = ("/dashboard/", *(f"{PROJECT}?tab={tab}" for tab in TABS))
    publish(client, "base-0")
    publish(client, requires_dist=["base-0"])
    publish(client, "user-0", requires_dist=["demo-pkg"])
    for path in paths:
        reader.get(path)  # renders the description
    few = [queries_of(reader, path, monkeypatch) for path in paths]
    for number in range(1, 6):
        publish(client, f"base-{number}")
        publish(client, f"user-{number}", requires_dist=["demo-pkg"])
        publish(client, version=f"0.{number}")
        publish(client, tag=f"cp31{number}-none-any", requires_dist=["base-1", "base-2", "x"])
    for path in paths:
        reader.get(path)
    assert [queries_of(reader, path, monkeypatch) for path in paths] == few


# ---- One project -------------------------------------------------------------------------------


def test_a_project_shows_its_latest_stable_release(as_role, browser):
    client = as_role("developer")
    for version in ("1.0", "2.0", "2.1rc1"):
        publish(client, version=version)
    assert '<h1>demo-pkg <span class="version">2.0</span></h1>' in browser().get(PROJECT)
    assert "banner" not in browser().get(PROJECT).text.partition("<main")[2]


def test_an_older_release_points_to_the_latest(as_role, browser):
    publish(as_role("developer"), version="1.0")
    publish(as_role("developer"), version="2.0")
    answer = browser().get(f"{PROJECT}1.0/")
    assert "This is an older release." in answer
    assert 'href="/dashboard/packages/demo-pkg/2.0/"' in answer


def test_a_pre_release_says_so(as_role, browser):
    publish(as_role("developer"), version="1.0")
    publish(as_role("developer"), version="2.0rc1")
    shown = words(browser().get(f"{PROJECT}2.0rc1/"))
    assert "This is a pre-release." in shown and "The best one now is 1.0" in shown


def test_a_yanked_release_says_why_and_what_is_better(as_role, browser):
    publish(as_role("developer"), version="1.0")
    publish(as_role("developer"), version="2.0")
    packages.yank(COMMAND_LINE, "demo-pkg", "2.0", f"Breaks {SCRIPT}")
    answer = browser().get(f"{PROJECT}2.0/")
    assert "Breaks &lt;script&gt;" in answer and SCRIPT not in answer
    assert "The best one now is 1.0" in words(answer)
    assert '<span class="version">1.0</span>' in browser().get(PROJECT)


def test_a_project_of_yanked_releases_only_has_nothing_better(as_role, browser):
    publish(as_role("developer"), version="1.0")
    publish(as_role("developer"), version="2.0")
    for version in ("1.0", "2.0"):
        packages.yank(COMMAND_LINE, "demo-pkg", version)
    shown = words(browser().get(PROJECT))
    assert "This release was yanked." in shown and "The best one" not in shown
    assert "demo-pkg==2.0" in shown  # installers take it by its version only


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("archived", "There will be no new releases"),
        ("deprecated", "Better not use it for anything new"),
        ("quarantined", "nothing of it can be downloaded"),
    ],
)
def test_the_status_of_a_project_stands_above_all(status, sentence, as_role, browser):
    filename = publish(as_role("developer"))
    packages.set_status(COMMAND_LINE, "demo-pkg", status, f"Because {SCRIPT}")
    answer = browser().get(f"{PROJECT}?tab=files")
    assert sentence in answer
    assert "Because &lt;script&gt;" in answer and SCRIPT not in answer
    assert answer.text.index(sentence) < answer.text.index("<h1>")
    is_offered = status != "quarantined"
    assert (f"/packages/demo-pkg/{filename}" in answer) == is_offered
    assert ("pip install" in answer) == is_offered


def test_the_install_lines_name_this_index(as_role, browser):
    filename = publish(as_role("developer"))
    answer = browser().get(PROJECT)
    url = "http://localhost:80/simple/"
    assert f"pip install --extra-index-url {url} demo-pkg<" in answer
    assert "explicit = true" in answer and 'demo-pkg = { index = "extrapypi" }' in answer
    assert f"poetry source add --priority=explicit extrapypi {url}" in answer
    assert 'include_packages = ["demo-pkg"]' in answer
    digest = File.named(filename).sha256
    assert f"demo-pkg==1.0 \\\n    --hash=sha256:{digest}<" in answer


def test_the_install_lines_of_a_release_pin_it(as_role, browser):
    publish(as_role("developer"))
    answer = browser().get(f"{PROJECT}1.0/")
    assert "simple/ demo-pkg==1.0<" in answer and "uv add demo-pkg==1.0<" in answer


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://pypi.example.org:8000", "pypi.example.org:8000"),
        ("http://pypi.example.org/index", "pypi.example.org"),
        ("https://pypi.example.org", ""),
        ("http://localhost:80", ""),
        ("http://127.0.0.1:8000", ""),
        ("http://[::1]:8000/index", ""),
        ("http://127.0.0.1.example.org", "127.0.0.1.example.org"),
        ("http://[broken", "[broken"),
    ],
)
def test_pip_trusts_no_host_without_tls(url, host):
    assert projects.untrusted(url) == host


def test_the_line_for_pip_names_a_host_that_it_would_not_trust(app, as_role):
    publish(as_role("developer"))
    client = webtest.TestApp(app, extra_environ={"HTTP_HOST": "pypi.example.org"})
    client.post("/dashboard/login", {"username": "admin", "password": USERS["admin"]})
    line = "http://pypi.example.org/simple/ --trusted-host pypi.example.org demo-pkg<"
    assert line in client.get(PROJECT)


def test_the_description_is_rendered(as_role, browser):
    extra = "Description-Content-Type: text/markdown\n"
    publish(as_role("developer"), metadata_extra=extra, description=f"*Emphasis* {SCRIPT}")
    answer = browser().get(PROJECT)
    assert "<em>Emphasis</em>" in answer and SCRIPT not in answer


def test_a_release_without_a_description_says_where_one_comes_from(as_role, browser):
    publish(as_role("developer"))
    assert "This release has no description." in browser().get(PROJECT)


def test_facts_stand_beside(as_role, browser):
    extra = (
        "Keywords: one,two\nLicense-Expression: MIT OR Apache-2.0\nAuthor: Anna\n"
        "Classifier: Typing :: Typed\nProject-URL: Bug Tracker, https://example.org/bugs\n"
    )
    metadata = {"metadata_version": "2.4", "requires_python": ">=3.9", "metadata_extra": extra}
    publish(as_role("developer"), **metadata)
    shown = words(browser().get(PROJECT))
    for fact in (
        "Maintainers developer",
        "Requires-Python >=3.9",
        "Licence MIT OR Apache-2.0",
        "Author Anna",
        "Keywords one, two",
        "Typing :: Typed",
        "Issue tracker",
    ):
        assert fact in shown


HOSTILE = (
    f"Summary: {SCRIPT}\nKeywords: {SCRIPT}\nAuthor: {SCRIPT}\nLicense: {SCRIPT}\n"
    f"Home-page: javascript:alert(1)\nDownload-URL: data:text/html,{SCRIPT}\n"
    f"Classifier: {SCRIPT}\nProject-URL: {SCRIPT}, JavaScript:alert(1)\n"
    'Project-URL: sly, java&#115;cript:alert(1)\nProject-URL: quoted, https://x/"onclick=alert(1)\n'
)


def test_hostile_metadata_are_only_text(as_role, browser):
    client = as_role("developer")
    publish(client, metadata_extra=HOSTILE.replace(SCRIPT, "<b>x</b>", 1))
    publish(client, version="2.0", metadata_extra=HOSTILE)
    for path in (*PAGES, f"{PROJECT}2.0/"):
        text = browser("admin").get(path).text.partition("<main")[2]
        assert SCRIPT not in text and "<b>x" not in text
        for link in re.findall(r'href="([^"]*)"', text):
            assert link.startswith(("/", "https://x/&#34;", "#"))


# ---- Its tabs ----------------------------------------------------------------------------------


def test_the_tab_that_is_shown_says_so(as_role, browser):
    publish(as_role("developer"))
    for tab in TABS:
        text = browser().get(f"{PROJECT}?tab={tab}").text
        current = re.findall(r'<a href="([^"]*)" aria-current="page">', text)
        assert current == [PROJECT if tab == "description" else f"{PROJECT}?tab={tab}"]


def test_files_are_told_with_all_that_is_known(as_role, browser):
    client = as_role("developer")
    headers = {"User-Agent": "twine/6.1.0 pkginfo/1.12"}
    filename, body = wheel_bytes(tag="cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64")
    upload(client, filename, body, headers=headers)
    publish(client, make=sdist_bytes)
    file = File.named(filename)
    answer = browser().get(f"{PROJECT}?tab=files")
    shown = words(answer)
    assert f'href="/packages/demo-pkg/{filename}"' in answer
    assert f'href="/packages/demo-pkg/{filename}.metadata"' in answer
    assert "Wheel for CPython 3.12 on Linux x86_64 (glibc 2.17)" in shown
    assert "Source" in shown and file.sha256 in shown
    assert "by developer with twine 6.1.0" in shown
    assert f'title="{file.size:,} bytes"' in answer
    assert f'<time datetime="{file.upload_time:%Y-%m-%dT%H:%M:%SZ}"' in answer


def test_a_file_outlives_its_uploader(as_role, browser):
    publish(as_role("developer"))
    accounts.delete_user(COMMAND_LINE, "developer")
    for tab in TABS:
        assert browser("admin").get(f"{PROJECT}?tab={tab}").status_int == 200


def test_wheels_stand_by_platform_and_python(as_role, browser):
    client = as_role("developer")
    for tag in ("cp311-cp311-win_amd64", "cp312-cp312-win_amd64", "cp312-cp312-macosx_11_0_arm64"):
        publish(client, tag=tag)
    shown = words(browser().get(f"{PROJECT}?tab=files"))
    assert "Platform CPython 3.11 CPython 3.12" in shown
    assert "Windows x86_64 yes yes" in shown
    assert "none macOS 11.0 Windows" in shown


def test_dependencies_stand_by_extra_and_condition(as_role, browser):
    client = as_role("developer")
    publish(client, "helper")
    requires = [
        "Helper>=1",
        'tomli; python_version < "3.11"',
        'pytest>=8; extra == "dev"',
        'ruff; extra == "dev" and python_version >= "3.10"',
        "direct @ https://example.org/direct.whl",
    ]
    publish(client, requires_dist=requires)
    answer = browser().get(f"{PROJECT}?tab=dependencies")
    shown = words(answer)
    assert 'href="/dashboard/packages/helper/"' in answer
    assert "/packages/tomli/" not in answer
    assert "Always direct @ https://example.org/direct.whl helper >=1" in shown
    assert 'Only under a condition if python_version < "3.11" tomli' in shown.replace("&lt;", "<")
    assert "With the extra dev pytest >=8" in shown
    assert 'With the extra dev and if python_version >= "3.10" ruff' in shown


def test_dependents_are_those_whose_latest_release_needs_it(as_role, browser):
    client = as_role("developer")
    publish(client)
    publish(client, "still", "1.0")
    publish(client, "still", "2.0", requires_dist=["Demo_Pkg>=1; python_version >= '3.8'"])
    publish(client, "no-more", "1.0", requires_dist=["demo-pkg"])
    publish(client, "no-more", "2.0")
    answer = browser().get(f"{PROJECT}?tab=dependents")
    assert "still</a>" in answer and "no-more" not in answer
    assert 'still 2.0 >=1 python_version >= "3.8"' in words(answer)
    packages.yank(COMMAND_LINE, "no-more", "2.0")  # so the one before is the latest again
    assert "no-more" in browser().get(f"{PROJECT}?tab=dependents")


def test_dependents_beyond_the_most_are_cut_and_it_says_so(as_role, browser, monkeypatch):
    monkeypatch.setattr("extrapypi.dependencies.MOST", 2)
    monkeypatch.setattr("extrapypi.views.projects.MOST", 2)
    client = as_role("developer")
    publish(client)
    for number in range(2):
        publish(client, f"user-{number}", requires_dist=["demo-pkg"])
    shown = words(browser().get(f"{PROJECT}?tab=dependents"))
    assert "Dependents 2 " in shown and "of more" not in shown
    publish(client, "user-2", requires_dist=["demo-pkg"])
    answer = browser().get(f"{PROJECT}?tab=dependents")
    assert "Dependents 2+" in words(answer) and "; 2 of more" in words(answer)
    assert len(set(listed(answer)) - {"demo-pkg"}) == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_dependents_are_looked_up_release_by_release(as_role, monkeypatch):
    client = as_role("developer")
    publish(client)
    for number in range(20):
        publish(client, f"user-{number}", requires_dist=["demo-pkg"])
    package = Package.get(Package.normalized_name == "demo-pkg")
    *_, last = asked(monkeypatch, lambda: dependencies.dependents(package))
    assert "normalized_name=? AND release_id=?" in plan(*last)


def test_history_tells_what_each_release_changed(as_role, browser):
    client = as_role("developer")
    publish(client, version="1.9", requires_dist=["six", "requests>=2"], requires_python=">=3.8")
    publish(client, version="1.10", requires_dist=["requests>=2.30", "attrs"])
    packages.yank(COMMAND_LINE, "demo-pkg", "1.9", "Too old.")
    text = words(browser().get(f"{PROJECT}?tab=history"))
    assert text.index("1.10 ") < text.index("1.9 yanked")
    assert "Dependency attrs added" in text
    assert "Dependency requests changed: >=2 to >=2.30" in text
    assert "Dependency six removed" in text
    assert "Requires-Python removed: >=3.8" in text
    assert "yanked: Too old." in text


def test_history_tells_who_did_what(as_role, browser):
    filename = publish(as_role("developer"))
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0", "It was wrong.")
    text = words(browser().get(f"{PROJECT}?tab=history"))
    assert f"developer uploaded {filename}" in text
    assert "It was wrong." in text


def test_history_compares_across_pages(as_role, browser, monkeypatch):
    monkeypatch.setattr("extrapypi.paging.PER_PAGE", 1)
    monkeypatch.setattr("extrapypi.browsing.PER_PAGE", 1)
    publish(as_role("developer"), version="1.0", requires_dist=["six"])
    publish(as_role("developer"), version="2.0")
    assert "Dependency six removed" in words(browser().get(f"{PROJECT}?tab=history"))
    second = browser().get(f"{PROJECT}?tab=history&page=2")
    assert "Page 2 of 2" in second and "removed" not in words(second).partition("Who did")[0]


def test_a_project_that_went_meanwhile_is_not_found(as_role, browser):
    publish(as_role("developer"))
    Package.update(latest_release_id=None).execute()  # as it is while the last release goes
    browser().get(PROJECT, status=404)


@pytest.mark.parametrize("path", [f"{PROJECT}?tab=files", "/pypi/demo-pkg/json"])
def test_while_the_latest_release_is_deleted_a_page_shows_what_there_is(
    as_role, browser, app, monkeypatch, path
):
    for version in ("1.0", "2.0"):
        publish(as_role("developer"), version=version)
    client, select = browser(), Release.select

    def delete(number: int) -> None:
        packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", "2.0")

    def deleted_before(*columns):
        monkeypatch.undo()
        at_once(1, delete)
        return select(*columns)

    monkeypatch.setattr(Release, "select", deleted_before)
    client.get(path)
    assert "1.0-py3" in client.get(path).text
