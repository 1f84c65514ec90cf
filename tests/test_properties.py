"""Whatever comes in is read as the standards read it and told again as it was, or refused.

The same examples each time; EXAMPLES=10000 in the environment lets there be more.
"""

from __future__ import annotations

import itertools
import os
import re
from io import BytesIO
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from archives_made import metadata_text, wheel_bytes
from conftest import COMMAND_LINE, upload
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from multipart import content_disposition_quote
from packaging.requirements import Requirement
from packaging.utils import canonicalize_version, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from extrapypi import models, packages
from extrapypi.app import create_app
from extrapypi.core_metadata import LONGEST, CoreMetadata, parse
from extrapypi.distributions import MAX_FILENAME, parse_filename
from extrapypi.errors import ExtraPyPIError, InvalidUpload
from extrapypi.forms import FilesReader, FormReader
from extrapypi.intake import EarlyForm
from extrapypi.listing import is_specifier
from extrapypi.pages import JSON
from extrapypi.storage import LocalStorage

most = int(os.environ.get("EXAMPLES", 200))
settings.register_profile(
    "the same each time", derandomize=True, deadline=None, database=None, max_examples=most
)
settings.load_profile("the same each time")


def joined(*pieces: str, most: int = 12) -> st.SearchStrategy[str]:
    """Texts of these pieces, and of any others now and then."""
    piece = st.sampled_from(pieces) | st.sampled_from(pieces) | st.text(max_size=2)
    return st.lists(piece, max_size=most).map("".join)


PROJECTS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", fullmatch=True)
SIGNS = ("!", ".", "-", "_", "+", "v", "a", "b", "rc", "post", "dev", "alpha", "r")
VERSIONS = joined("0", "1", "2", "10", *SIGNS, "\uff11", "\u017f", " ")
TAGS = joined("py3", "none", "any", "manylinux_2_17_x86_64", "-", ".", "_", "1", "/", most=8)
FILENAMES = st.one_of(
    st.text(max_size=300),
    joined("a", "A", "1.0", "-", ".", "_", "/", "..", "\0", "%2f", "\\", ".whl", ".zip", ".tar.gz"),
    st.builds("{}-{}{}".format, PROJECTS, VERSIONS, st.sampled_from((".tar.gz", ".zip", ".whl"))),
    st.builds("{}-{}-{}.whl".format, PROJECTS, VERSIONS, TAGS),
    st.builds("{}-1.0-py3-none-{}.whl".format, PROJECTS, TAGS),
)
LONG = st.builds("{:0>{}}{}".format, st.just("1"), st.integers(100, 130), VERSIONS)


@given(FILENAMES)
def test_a_file_name_is_read_as_packaging_reads_it_and_stays_in_its_folder(filename):
    try:
        parsed = parse_filename(filename)
    except InvalidUpload as refusal:
        assert 20 < len(str(refusal)) < 400
        assert str(refusal).isprintable()
        return
    read = parse_wheel_filename if filename.endswith(".whl") else parse_sdist_filename
    try:
        name, version, *_ = read(filename)
    except ValueError:  # of setuptools' own spelling of "+", or a version with a dash
        assert "_" in filename or parsed.packagetype == "sdist"
    else:
        assert (name, version) in parsed.readings
    assert len(filename) <= MAX_FILENAME
    for name, _ in parsed.readings:
        for part, flavour in itertools.product((name, filename), (PurePosixPath, PureWindowsPath)):
            assert flavour(part).parts == (part,)
            assert not part.startswith(".")


@given(VERSIONS | LONG | st.builds("{0:1>{1}}c-1dev".format, st.just(""), st.integers(110, 130)))
def test_a_version_is_taken_if_it_is_one_and_fits_with_its_canonical_form_into_the_tables(version):
    assume(not re.search(r"[\r\n\0]", version) and version.strip() not in ("", "UNKNOWN"))
    try:
        taken = parse(metadata_text(version=version).encode("utf-8", "replace")).version
    except InvalidUpload as refusal:
        assert "Metadata field Version is" in str(refusal)
        assert len(version.strip()) > LONGEST["version"] or not is_version(version)
        return
    assert Version(taken) == Version(version)
    canonical = canonicalize_version(taken)
    assert Version(canonical) == Version(version)
    assert len(canonical) <= models.Release.canonical_version.max_length
    assert models.VERSION.match(taken)


def is_version(text: str) -> bool:
    try:
        return bool(Version(text))
    except InvalidVersion:
        return False


QUOTED = joined("a", "'", '"', "\\x27", "\\x00", "\\ud800", "\\U0001f600", "\\", "\\'", most=3)
MARKERS = joined(
    *("os_name == ", "extra == ", "python_version < ", "'3.9'", "'a'", " and ", " or ", "(", ")"),
    most=6,
) | st.builds("os_name == {0}{1}{0}".format, st.sampled_from("'\""), QUOTED)
SPECIFIERS = joined(">=", "==", "~=", "===", "<", "!", "1", "1.0", ".*", ",", " ", "+a", most=6)
REQUIREMENTS = st.one_of(
    st.builds("a; os_name == '{}'".format, QUOTED),
    st.builds("{}{}; {}".format, PROJECTS, SPECIFIERS, MARKERS),
    st.builds("{} @ {} ; {}".format, PROJECTS, st.text(), MARKERS),
    st.builds("{}[{}]{}".format, PROJECTS, joined("a", ",", " ", "]"), SPECIFIERS),
)
REQUIRES = st.builds("Requires-Dist: {}".format, REQUIREMENTS)
FREE = (
    *("Author", "Author-email", "Maintainer", "Maintainer-email", "License", "License-File"),
    *("Keywords", "Classifier", "Home-page", "Download-URL", "Platform", "Description", "Summary"),
    *("Description-Content-Type", "Dynamic", "X-Y"),
)
VALUES = st.text(max_size=50) | joined(
    "a", "\n ", "\n        ", "\n       |", "=?utf-8?q?a?=", "UNKNOWN"
)
URLS = st.builds("Project-URL: {}, {}".format, st.text(min_size=1, max_size=9), st.text(min_size=1))
FREE_LINE = st.builds("{}: {}".format, st.sampled_from(FREE), VALUES) | URLS
FREE_LINES = st.lists(FREE_LINE, min_size=12, max_size=20, unique_by=lambda line: line[:12])
DESCRIBED = st.builds("{}\n\n{}".format, FREE_LINES.map("\n".join), st.text())
STRICT = ("Provides-Extra", "License-Expression", "Import-Name", "Name", "Metadata-Version")
LINES = st.one_of(
    REQUIRES,
    FREE_LINE,
    st.builds("\n{}".format, st.text()),
    st.builds("Requires-Python: {}".format, SPECIFIERS),
    st.builds("{}: {}".format, st.sampled_from(STRICT), joined("mit", " or ", "(", ")", "a", ".")),
)
TEXTS = st.lists(LINES, max_size=8).map("\n".join)


def texts(metadata: CoreMetadata) -> list[str]:
    """Every text that there is in it, and those that the table of dependencies gets."""
    found = []
    for value in vars(metadata).values():
        found += [*value, *value.values()] if isinstance(value, dict) else value
    for requirement in map(Requirement, metadata.requires_dist):
        found += [requirement.name, str(requirement.specifier), str(requirement.marker)]
    return found


@pytest.mark.parametrize("rests", [TEXTS, REQUIRES, st.binary()], ids=["lines", "one", "bytes"])
@given(st.sampled_from(("2.1", "2.4", "2.6")), st.data())
def test_metadata_is_read_or_refused_and_every_text_of_it_can_be_stored(rests, number, data):
    rest = data.draw(rests)
    rest = rest if isinstance(rest, bytes) else rest.encode("utf-8", "surrogatepass")
    raw = metadata_text(metadata_version=number).encode() + rest
    try:
        metadata = parse(raw)
    except InvalidUpload as refusal:
        assert all(fault.endswith((".", "follow.")) for fault in refusal.faults)
        return
    for text in texts(metadata):
        assert "\0" not in text
        assert text.encode().decode() == text
    assert parse(raw) == metadata


@pytest.fixture
def app(settings, tables):
    """The application without a dashboard, for which each description would be rendered."""
    made = create_app({**settings, "DASHBOARD": False})
    yield made
    made.close()


numbers = itertools.count(1)


@given(
    DESCRIBED,
    st.lists(st.sampled_from((">=3.9", "<4", "!=3.10.*", "~= 3.9", "===3&<")), max_size=3),
)
@settings(
    max_examples=most // 4,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.generate],  # to make a failure smaller takes minutes of uploads
)
def test_what_is_taken_is_told_again_as_it_was(app, as_role, text, specifiers):
    version = str(next(numbers))
    text = f"Requires-Python: {','.join(specifiers)}\n{text}"
    filename, body = wheel_bytes(version=version, metadata_version="2.4", metadata_extra=text)
    answer = upload(as_role("developer"), filename, body, status="*")
    raw = metadata_text(version=version, metadata_version="2.4", metadata_extra=text)
    try:
        metadata = parse(raw.encode())
    except InvalidUpload as refusal:
        assert (answer.status_int, answer.text) == (400, f"{refusal}\n")
        return
    assert answer.status == "200 OK", answer.text
    client = as_role("installer")
    info = client.get("/pypi/demo-pkg/json").json["info"]
    for field in vars(metadata).keys() & info.keys() - {"name", "description"}:
        assert (info[field] or None) == (getattr(metadata, field) or None)
    assert info["description"] == metadata.description
    page = client.get("/simple/demo-pkg/")
    (file,) = client.get("/simple/demo-pkg/", headers={"Accept": JSON}).json["files"]
    expected = metadata.requires_python if is_specifier(metadata.requires_python) else None
    assert file.get("requires-python") == expected
    assert page.html.find("a").get("data-requires-python") == expected
    assert client.get(f"{file['url']}.metadata").body == raw.encode()
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg")


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return LocalStorage(str(tmp_path_factory.mktemp("packages")))


PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%\\"), max_size=20)
CONTENTS = st.lists(st.sampled_from((b"\r", b"\n", b"-", b"b", b"\r\n--", b"\0")) | st.binary())
FORM = {"content_type": "multipart/form-data; boundary=b", "content_length": -1}


def form(fields: list[tuple[str, str]], filename: str, content: bytes) -> bytes:
    """A form of these fields and one file."""
    head = 'name="content"; filename=' + content_disposition_quote(filename)
    parts = [(f"name={content_disposition_quote(name)}", text.encode()) for name, text in fields]
    lines = (
        b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), body)
        for head, body in (*parts, (head, content))
    )
    return b"".join(lines) + b"--b--\r\n"


def taken(reader: FormReader) -> tuple:
    """What there is in a form that was read."""
    try:
        reader.incoming.finish()
        return reader.fields, reader.incoming.filename, reader.incoming.path.read_bytes()
    finally:
        reader.discard()


@given(
    st.lists(st.tuples(PLAIN, PLAIN), max_size=4),
    PLAIN,
    CONTENTS.map(b"".join),
    st.lists(st.integers(0, 600), max_size=12),
)
def test_a_form_is_the_same_in_whatever_pieces_it_comes(storage, fields, filename, content, cuts):
    assume(b"\r\n--b" not in b"".join([content, *(text.encode() for _, text in fields)]))
    sent = form(fields, filename, content)
    expected: dict[str, list[str]] = {}
    for name, text in fields:
        expected.setdefault(name, []).append(text)
    reader = FormReader(storage, 2**20, **FORM)
    for _ in reader.parts(BytesIO(sent)):
        pass
    assert taken(reader) == (expected, filename, content)
    early = EarlyForm(set(), storage, 2**20, **FORM)
    places = [0, *sorted(cuts), len(sent)]
    for start, stop in itertools.pairwise(places):
        if sent[start:stop]:
            early.append(sent[start:stop])
    assert taken(early.result()) == (expected, filename, content)


HEADS = st.sampled_from((
    *(b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b"--", b"\n", b"Content-Disposition: form-data; "),
    *(b'name="content"; filename="x"', b'name="files"; filename="x"', b'name="x"', b"; filename=a"),
    *(b'--b\r\nContent-Disposition: form-data; name="', b'"\r\n\r\n', b"Content-Length: 3", b": "),
))  # fmt: skip
KINDS = st.just("multipart/form-data; boundary=b") | st.builds(
    "multipart/form-data{}".format,
    joined("; ", "boundary", "=", '"', "b", "\\", "charset", "utf-8"),
)


@given(KINDS, st.lists(HEADS | st.binary(max_size=9)).map(b"".join), st.integers(-1, 99))
def test_any_body_is_a_form_or_a_refusal(storage, kind, body, length):
    options = {"content_type": kind, "content_length": length}
    for make in (FormReader, FilesReader):
        check = [lambda token: None] if make is FilesReader else []
        reader = None
        try:
            reader = make(storage, 5, *check, **options)
            for _ in reader.parts(BytesIO(body)):
                pass
        except ExtraPyPIError as refusal:
            assert 400 <= refusal.status < 500
            assert str(refusal).endswith(".")
        finally:
            if reader is not None:
                reader.discard()
    assert not list(storage.incoming.iterdir())
