"""PyPI's JSON API, as dependabot, renovate and bandersnatch read it."""

from __future__ import annotations

import hashlib

import pytest
from archives_made import sdist_bytes, wheel_bytes
from conftest import COMMAND_LINE, upload

from extrapypi import accounts, packages
from extrapypi.models import Package

EXTRA = """Summary: A demonstration
Author: Élodie
Classifier: Private :: Do Not Upload
Classifier: Programming Language :: Python
Keywords: one,two
Project-URL: Source, https://example.org/src
Provides-Extra: dev
Metadata-Version-Unknown: x"""


@pytest.fixture
def client(as_role):
    developer = as_role("developer")
    upload(developer, *wheel_bytes(metadata_extra=EXTRA, requires_dist=["other>=1"]))
    upload(developer, *sdist_bytes())
    upload(developer, *wheel_bytes(version="2.0rc1"))
    return as_role("installer")


def test_the_project_shows_its_latest_stable_release_and_all_files(client):
    page = client.get("/pypi/demo-pkg/json").json
    info = page["info"]
    assert (info["name"], info["version"], info["summary"]) == (
        "demo-pkg",
        "1.0",
        "A demonstration",
    )
    assert info["author"] == "Élodie"
    assert info["classifiers"] == ["Private :: Do Not Upload", "Programming Language :: Python"]
    assert info["project_urls"] == {"Source": "https://example.org/src"}
    assert info["requires_dist"] == ["other>=1"]
    assert info["keywords"] == "one,two"
    assert {version: len(files) for version, files in page["releases"].items()} == {
        "1.0": 2,
        "2.0rc1": 1,
    }
    assert [file["packagetype"] for file in page["urls"]] == ["bdist_wheel", "sdist"]
    assert page["vulnerabilities"] == []
    assert page["ownership"]["roles"] == [{"role": "Maintainer", "user": "developer"}]


def test_a_file_has_all_digests_and_an_absolute_url(client):
    file = client.get("/pypi/demo-pkg/json").json["urls"][0]
    assert file["url"].startswith("http://localhost:80/packages/demo-pkg/")  # bandersnatch
    body = client.get(file["url"]).body
    assert file["digests"] == {
        "md5": hashlib.md5(body).hexdigest(),
        "sha256": hashlib.sha256(body).hexdigest(),
        "blake2b_256": hashlib.blake2b(body, digest_size=32).hexdigest(),
    }
    assert file["size"] == len(body)
    assert file["upload_time_iso_8601"].startswith(file["upload_time"])


@pytest.mark.parametrize("version", ["1.0", "1", "1.0.0", "v1.0"])
def test_a_release_is_found_in_any_spelling_of_its_version(client, version):
    page = client.get(f"/pypi/demo-pkg/{version}/json").json
    assert page["info"]["version"] == "1.0"
    assert "releases" not in page


@pytest.mark.parametrize("path", ["/pypi/demo-pkg/json", "/pypi/demo-pkg/1.0/json"])
def test_it_is_revalidated_and_has_its_serial(client, path):
    answer = client.get(path)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-PyPI-Last-Serial"] == str(answer.json["last_serial"])
    client.get(path, headers={"If-None-Match": answer.headers["ETag"]}, status=304)
    client.get(path + "/")


def test_a_yanked_release_is_latest_only_when_all_are(client):
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0", "broken")
    assert client.get("/pypi/demo-pkg/json").json["info"]["version"] == "2.0rc1"
    packages.yank(COMMAND_LINE, "demo-pkg", "2.0rc1", "broken too")
    info = client.get("/pypi/demo-pkg/json").json["info"]
    assert (info["version"], info["yanked"], info["yanked_reason"]) == ("1.0", True, "broken")


def test_a_change_of_maintainers_is_seen_at_once(client):
    def maintainers() -> list[str]:
        roles = client.get("/pypi/demo-pkg/json").json["ownership"]["roles"]
        return sorted(role["user"] for role in roles)

    assert maintainers() == ["developer"]
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "maintainer")
    assert maintainers() == ["developer", "maintainer"]
    accounts.delete_user(COMMAND_LINE, "developer")
    assert maintainers() == ["maintainer"]


def test_a_project_that_is_left_without_releases_is_not_found(client):
    Package.create(name="Left-Over", normalized_name="left-over")
    answer = client.get("/pypi/left-over/json", status=404)
    assert "There is no release of Left-Over." in answer.text
