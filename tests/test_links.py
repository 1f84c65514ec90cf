"""A project's links and its licence."""

from __future__ import annotations

import pytest

from extrapypi import links
from extrapypi.models import Release


@pytest.mark.parametrize(
    ("url", "is_live"),
    [
        ("https://example.org/a?b#c", True),
        ("HTTP://example.org", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\tscript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.org", False),
        ("https:///path", False),
        ("http://[broken", False),
        ("mailto:a@example.org", False),
        ("example.org", False),
    ],
)
def test_only_web_addresses_are_links(url, is_live):
    assert links.is_web_address(url) is is_live


def test_links_have_well_known_labels_and_come_once():
    release = Release(
        project_urls={"x": "https://e/x", "Source Code": "https://e/s", "home_page": "https://e/h"},
        home_page="https://e/h",
        download_url="https://e/d",
    )
    assert [link[:2] for link in links.links(release)] == [
        ("Homepage", "https://e/h"),
        ("Source", "https://e/s"),
        ("Download", "https://e/d"),
        ("x", "https://e/x"),
    ]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"license_expression": "MIT", "license": "other"}, "MIT"),
        ({"license": "BSD"}, "BSD"),
        ({"classifiers": ["License :: OSI Approved :: MIT License"]}, "MIT License"),
        ({"license": "First line\nSecond line"}, "First line"),
        ({"license": "A\nB", "classifiers": ["License :: OSI Approved :: Zlib"]}, "Zlib"),
        ({}, ""),
    ],
)
def test_the_licence_is_told_in_a_few_words(fields, licence):
    assert links.licence(Release(**fields)) == licence
