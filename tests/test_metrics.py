"""/metrics: what was done is in its numbers, and who may not see them does not."""

from __future__ import annotations

import importlib.util
import re

import pytest
import webtest
from archives_made import wheel_bytes
from conftest import USERS, as_user, at_once, upload

from extrapypi.app import create_app

WHEEL, BODY = wheel_bytes()
FILE = f"/packages/demo-pkg/{WHEEL}"
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings):
    """Settings with metrics."""
    return {**settings, "METRICS": True}


def numbers(app) -> dict[str, float]:
    """Every line of /metrics: name and labels to value."""
    answer = as_user(app, "admin", USERS["admin"]).get("/metrics")
    assert answer.content_type == "text/plain"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def grown(app, work) -> dict[str, float]:
    """The numbers that the work changes, by how much."""
    before = numbers(app)
    work()
    after = numbers(app)
    changed = {name: value - before.get(name, 0) for name, value in after.items()}
    return {name: value for name, value in changed.items() if value}


def requests(kind: str, status: int) -> str:
    """The line with the number of such requests."""
    return f'extrapypi_requests_total{{kind="{kind}",status="{status}"}}'


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/simple/", "index", 200),
        ("/simple/demo-pkg/", "index", 200),
        ("/simple/demo-pkg", "index", 301),
        ("/simple/nowhere/", "index", 404),
        (FILE, "file", 200),
        (f"/simple/demo-pkg/{WHEEL}", "file", 200),
        (f"{FILE}.metadata", "metadata", 200),
        ("/pypi/demo-pkg/json", "json", 200),
        ("/dashboard/", "dashboard", 303),
        ("/user/", "dashboard", 303),
        ("/static/style.css", "static", 200),
        ("/ping", "health", 200),
        ("/legacy/", "legacy", 200),
        ("/favicon.ico", "other", 200),
        ("/%00/%ff", "other", 404),
    ],
)
def test_a_request_counts_once_by_its_kind_and_status(app, as_role, path, kind, status):
    upload(as_role("developer"), WHEEL, BODY)
    client = as_role("installer")
    for _ in range(2):  # by the routes, and by the shortcut where it can
        changed = grown(app, lambda: client.get(path, status=status))
        assert changed[requests(kind, status)] == 1
        assert changed[f'extrapypi_request_seconds_count{{kind="{kind}"}}'] == 1
        assert changed[f'extrapypi_request_seconds_bucket{{kind="{kind}",le="+Inf"}}'] == 1
        assert changed.get("extrapypi_downloads_total", 0) == (kind == "file")


def test_uploads_failures_time_and_kept_pages_count(app, as_role):
    developer = as_role("developer")
    changed = grown(app, lambda: upload(developer, WHEEL, BODY))
    assert changed["extrapypi_uploads_total"] == 1
    assert changed['extrapypi_storage_calls_total{operation="create_release"}'] == 1
    assert changed["extrapypi_database_statements_total"] > 3
    assert 0 < changed["extrapypi_database_seconds_total"] < 30
    changed = grown(app, lambda: developer.get("/simple/demo-pkg/"))
    assert changed["extrapypi_kept_pages"] == 1
    assert changed["extrapypi_kept_pages_bytes"] > 1024
    changed = grown(app, lambda: upload(as_role("installer"), WHEEL, BODY, status=403))
    assert changed[requests("upload", 403)] == 1
    assert "extrapypi_uploads_total" not in changed
    wrong = as_user(app, "installer", "wrong", REMOTE_ADDR="127.0.0.9")

    def guess() -> None:
        for _ in range(10):
            wrong.get("/simple/", status=401)
        wrong.get("/simple/", status=429)

    assert grown(app, guess)[requests("index", 429)] == 1


def test_buckets_hold_all_below_them(app, client):
    client.get("/ping")
    lines = numbers(app)
    buckets = [value for name, value in lines.items() if re.search('bucket.*"health"', name)]
    assert buckets == sorted(buckets)
    assert len(buckets) == 15
    assert lines['extrapypi_request_seconds_sum{kind="health"}'] > 0


def test_no_request_of_many_threads_is_lost(app):
    def work(number: int) -> None:
        client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        for _ in range(100):
            client.get("/ping")

    assert grown(app, lambda: at_once(8, work))[requests("health", 200)] == 800


def test_a_failing_storage_is_timed_too(app, as_role, monkeypatch):
    monkeypatch.setattr(app.site.storage, "incoming", app.site.storage.root / "gone")
    changed = grown(app, lambda: as_role("admin").get("/health", status=503))
    assert changed['extrapypi_storage_calls_total{operation="ping"}'] == 1


def test_without_the_setting_there_are_none(settings, tables):
    app = create_app({**settings, "METRICS": False})
    answer = as_user(app, "admin", USERS["admin"]).get("/metrics", status=404)
    assert "METRICS = True" in answer.text
    app.close()


def test_without_the_library_the_answer_names_the_extra(app, as_role, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "extrapypi[metrics]" in as_role("admin").get("/metrics", status=404).text
