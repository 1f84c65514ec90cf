"""How templates print sizes and tools."""

from __future__ import annotations

import pytest

from extrapypi.views import filters


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "100 kB"),
        (999_999, "1.0 MB"),
        (5_300_000_000, "5.3 GB"),
        (10**20, "100,000 PB"),
    ],
)
def test_sizes_are_rounded(size, words):
    assert filters.rounded(size) == words


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("twine/6.1.0 pkginfo/1.12", "twine 6.1.0"),
        ('uv/0.8.3 {"installer":{"name":"uv"}}', "uv 0.8.3"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "a browser"),
        ("<script>/1", ""),
        ("", ""),
    ],
)
def test_a_tool_is_named_with_its_version(agent, words):
    assert filters.tool(agent) == words
