"""What METADATA and PKG-INFO say is read in full; what breaks a rule is named, and only that."""

from __future__ import annotations

import logging
import random

import pytest
from archives_made import metadata_text

from extrapypi.core_metadata import MAX_FAULTS, CoreMetadata, parse
from extrapypi.errors import InvalidUpload

HEAD = "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\n"


def parsed(text: str, head: str = HEAD) -> CoreMetadata:
    return parse((head + text).encode())


def faults(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(InvalidUpload) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    return caught.value.faults


def test_every_field_is_read():
    text = (
        "Summary: A demo\nAuthor: É\nAuthor-email: e@example.org\nMaintainer: M\n"
        "Maintainer-email: m@example.org\nLicense: BSD\nLicense-Expression: mit or apache-2.0\n"
        "License-File: LICENSE\nKeywords: a, b\nClassifier: Private :: One\nClassifier: Two\n"
        "Requires-Python: >=3.8,\nRequires-Dist: a>=1; python_version<'3.12'\n"
        "Requires-Dist: b @ https://example.org/b.whl\nProvides-Extra: dev\nPlatform: any\n"
        "Project-URL: Source, https://example.org/a,b\nHome-page: https://example.org\n"
        "Download-URL: https://example.org/d\nDescription-Content-Type: text/markdown\n"
        "Dynamic: License-File\n\n# Größe\r\n\r\ntext\n"
    )
    assert parse(metadata_text(metadata_version="2.4").encode() + text.encode()) == CoreMetadata(
        metadata_version="2.4",
        name="demo-pkg",
        version="1.0",
        summary="A demo",
        description="# Größe\r\n\r\ntext\n",
        description_content_type="text/markdown",
        author="É",
        author_email="e@example.org",
        maintainer="M",
        maintainer_email="m@example.org",
        license="BSD",
        license_expression="MIT OR Apache-2.0",
        license_files=["LICENSE"],
        keywords="a,b",
        classifiers=["Private :: One", "Two"],
        requires_python=">=3.8,",
        requires_dist=["a>=1; python_version<'3.12'", "b @ https://example.org/b.whl"],
        provides_extra=["dev"],
        project_urls={"Source": "https://example.org/a,b"},
        home_page="https://example.org",
        download_url="https://example.org/d",
        platforms=["any"],
        dynamic=["License-File"],
    )


@pytest.mark.parametrize("version", "1.0 1.1 1.2 2.0 2.1 2.2 2.3 2.4 2.5 2.6".split())
def test_each_metadata_version_is_taken(version):
    assert parse(metadata_text(metadata_version=version).encode()).metadata_version == version


def test_an_unknown_2x_is_taken_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "extrapypi"):
        assert parse(metadata_text(metadata_version="2.9").encode()).metadata_version == "2.9"
    assert "2.9" in caplog.text


@pytest.mark.parametrize("version", ["0.9", "1.3", "2.06", "3.0", "x", "2.1.1", "\u0662.1"])
def test_other_metadata_versions_are_refused(version):
    (fault,) = faults(metadata_text(metadata_version=version))
    assert fault.startswith(f"Metadata field Metadata-Version is {version!r}; it must be one of")


@pytest.mark.parametrize("name", ["a", "A1", "a.b_c-d", "zope.interface", "Foo__bar"])
def test_valid_names_are_kept_as_written(name):
    assert parse(metadata_text(name).encode()).name == name


@pytest.mark.parametrize(
    "name",
    ["hello_", "-hello", "hel%lo", "hello#", "hello<", "föö", "a b", "a ", "\u212aelvin", "a\n b"],
)
def test_invalid_names_are_refused(name):
    assert any("Metadata field Name is " in fault for fault in faults(metadata_text(name)))


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        pytest.param("Requires-Python: foo", "Requires-Python is 'foo'", id="specifiers"),
        pytest.param("Requires-Dist: (", "Requires-Dist is '('", id="requirement"),
        pytest.param(f"Requires-Dist: a; {'(' * 3000}", "Requires-Dist is", id="deep brackets"),
        pytest.param(f"Requires-Dist: a{'>=1,' * 2000}<2", "Requires-Dist is", id="long"),
        pytest.param("Summary: a\n b", "one line", id="summary of two lines"),
        pytest.param(f"Summary: {'a' * 513}", "512", id="long summary"),
        pytest.param("Project-URL: Home", "a comma and a URL", id="no URL"),
        pytest.param("Project-URL: , https://x.org", "a label", id="no label"),
        pytest.param(f"Project-URL: {'a' * 33}, https://x.org", "32", id="long label"),
        pytest.param("Requires-Python: >=3\nRequires-Python: >=4", "2 times", id="twice"),
        pytest.param("Name: other", "Name is there 2 times", id="two names"),
        pytest.param("Version: 2", "Version is there 2 times", id="two versions"),
        pytest.param("Metadata-Version: 1.0", "there 2 times", id="two metadata versions"),
        pytest.param("Dynamic: Version", "other than name and version", id="dynamic version"),
        pytest.param("Dynamic: name", "other than name and version", id="dynamic name"),
        pytest.param("Provides-Extra: -x", "Provides-Extra is '-x'", id="extra"),
        pytest.param("Author: a\0b", "NUL", id="NUL"),
        pytest.param("Classifier: a\0b", "NUL", id="NUL in a list"),
        pytest.param("\nText\0", "Description has a NUL", id="NUL in the description"),
    ],
)
def test_a_fault_is_named_with_its_field(line, phrase):
    (fault,) = faults(HEAD + line + "\n")
    assert phrase in fault
    assert fault.startswith("Metadata field ")
    assert len(fault) < 300


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        pytest.param("License-Expression: Unknown-1.0", "License-Expression is", id="licence"),
        pytest.param(f"License-Expression: {'(' * 999}", "License-Expression is", id="brackets"),
        pytest.param("Import-Name: 1a", "Import-Name", id="import name"),
        pytest.param("Import-Name: a; public", "private", id="not private"),
        pytest.param("Import-Namespace: class", "Import-Namespace", id="keyword"),
        pytest.param("Import-Name: a\nImport-Namespace: a", "too", id="in both"),
    ],
)
def test_rules_of_newer_metadata_hold_from_their_version_on(line, phrase):
    (fault,) = faults(metadata_text(metadata_version="2.5", metadata_extra=line))
    assert phrase in fault
    parse(metadata_text(metadata_version="2.3", metadata_extra=line).encode())


def test_all_faults_are_told_at_once_the_three_main_fields_first():
    told = faults("Summary: a\n b\nRequires-Dist: (\nVersion: x\nName: -\nMetadata-Version: 3\n")
    fields = [fault.split(" is ")[0].removeprefix("Metadata field ") for fault in told]
    assert fields == ["Metadata-Version", "Name", "Version", "Requires-Dist", "Summary"]
    assert len(faults("x: y\n")) == 3  # all missing


def test_very_many_faults_are_counted_instead_of_told():
    told = faults(HEAD + "Requires-Dist: (\n" * 500)
    assert len(told) == MAX_FAULTS + 1
    assert told[-1].startswith("480 more")


@pytest.mark.parametrize("absent", ["", "UNKNOWN", "   "])
def test_an_empty_or_unknown_value_is_absent(absent):
    text = "".join(
        f"{field}: {absent}\n"
        for field in ("Summary", "Author", "Keywords", "Platform", "Requires-Python", "Project-URL")
    )
    assert parsed(text) == parsed("")


def test_the_name_unknown_is_a_missing_name():
    assert faults(metadata_text("UNKNOWN")) == ("Metadata field Name is missing.",)


def test_licence_files_of_before_the_standard_are_dropped():
    assert parsed("License-File: COPYING\n").license_files == []


def test_an_unknown_header_and_a_newer_field_are_no_fault():
    assert parsed("X-Foo: 1\nDefault-Extra: x\nLicense-Expression: mit\n").license_expression


def test_a_strange_content_type_is_kept_and_one_with_control_characters_is_not():
    assert parsed("Description-Content-Type: text/plain; x*\n").description_content_type
    assert parsed("Description-Content-Type: a\x01\n").description_content_type == ""


def test_bytes_that_are_no_utf8_are_replaced():
    metadata = parse(HEAD.encode() + b"Author: \xe9\n\n\xff text")
    assert (metadata.author, metadata.description) == ("\ufffd", "\ufffd text")


@pytest.mark.parametrize(
    "folded",
    ["a\n       |\n       |  b", "a\n        \n          b"],
    ids=["with bars", "with eight spaces"],
)
def test_a_description_in_the_header_is_unfolded(folded):
    assert parsed(f"Description: {folded}\nAuthor: x\n").description == "a\n\n  b"


def test_mime_headers_do_not_change_the_description():
    head = "Content-Type: multipart/mixed; boundary=x\nContent-Transfer-Encoding: base64\n"
    assert parsed(f"{head}\n--x\nYQ==\n--x--\n").description == "--x\nYQ==\n--x--\n"


def test_a_line_that_is_no_header_starts_the_description():
    assert parsed("Author: x\nno header here\n\nmore").description == "no header here\n\nmore"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"A: b\n" * 20_000, id="fields"),
        pytest.param(b"".join(b"A%d: b\n" % number for number in range(300)), id="names"),
        pytest.param(b"A: b\n" + b" x\n" * 400_000, id="bytes"),
    ],
)
def test_a_header_that_takes_long_to_read_is_refused(raw):
    assert "too many fields" in faults(raw)[0]


PIECES = (
    b"Metadata-Version: 2.5|Name: a|Version: 1.0|\n|\n\n|\r| |\t|       ~|Content-Type: multipart/x"
    b"|--x|From x|:|License-Expression: |MIT|LicenseRef-|(|)| and | with |Requires-Dist: |foo|[|]"
    b"|>=|==1.*|;|os_name|'|@ |https://|\0|\xff|\xc3\x89|=?utf-8?q?=C3?=|Import-Name: |Dynamic: "
    b"|Provides-Extra: |Requires-Python: |Description-Content-Type: text/plain; x*|Project-URL: |,"
    b"|Description: |\xed\xa0\x80|\xe2\x84\xaa|Summary: |License: "
).split(b"|")


def test_whatever_the_bytes_are_there_is_metadata_or_a_refusal():
    chance = random.Random(20261122)
    taken = 0
    for _ in range(3_000):
        pieces = [chance.choice(PIECES) for _ in range(chance.randrange(25))]
        raw = b"".join(piece + chance.choice((b"", b"\n")) for piece in pieces)
        try:
            parse(HEAD.encode() + raw if chance.random() < 0.7 else chance.randbytes(80) + raw)
            taken += 1
        except InvalidUpload as refusal:
            assert refusal.faults
    assert 100 < taken < 2_900


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Name", "n" * 201),
        ("Version", "1." + "0" * 119),
        ("Requires-Python", ">=3," * 64 + ">=3"),
    ],
)
def test_values_that_no_table_holds_are_refused(field, value):
    fields = {"Metadata-Version": "2.1", "Name": "demo", "Version": "1.0", field: value}
    with pytest.raises(InvalidUpload, match=f"{field} is .* characters at most"):
        parse("".join(f"{name}: {text}\n" for name, text in fields.items()).encode())
