"""What a release changed against the one before."""

from __future__ import annotations

from extrapypi import metadata_diff
from extrapypi.models import Release


def test_nothing_changed_is_no_change():
    release = Release(requires_dist=["a"], summary="s", project_urls={"a": "b"})
    assert metadata_diff.changes(release, release) == []


def test_changes_are_named():
    before = Release(requires_dist=["a>1", 'a>2; extra == "x"'], license="MIT", classifiers=["C1"])
    after = Release(requires_dist=["A >1"], license="", classifiers=["C2"], provides_extra=["x"])
    assert metadata_diff.changes(before, after) == [
        ("changed", "Dependency", "a", '>1 and also >2; extra == "x"', ">1"),
        ("removed", "Licence", "", "MIT", ""),
        ("added", "Extra", "x", "", ""),
        ("removed", "Classifier", "C1", "", ""),
        ("added", "Classifier", "C2", "", ""),
    ]
