"""File name, content and form of an upload have to tell of the same project and version."""

from __future__ import annotations

import base64
import hashlib
import io

import pytest
from archives_made import metadata_text, sdist_bytes, wheel_bytes, zip_bytes

from extrapypi.distributions import Distribution, check_form, parse_filename, read
from extrapypi.errors import InvalidUpload


def taken(filename: str, content: bytes) -> Distribution:
    return read(io.BytesIO(content), filename)


def refusal(call, *arguments) -> str:
    with pytest.raises(InvalidUpload) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_wheel_is_read_with_its_metadata_byte_for_byte():
    distribution = taken(*wheel_bytes("Demo.Pkg", "1.0.0", requires_python=">=3.9"))
    assert distribution.filename == "demo_pkg-1.0.0-py3-none-any.whl"
    assert (distribution.packagetype, distribution.python_version) == ("bdist_wheel", "py3")
    assert (distribution.normalized_name, distribution.canonical_version) == ("demo-pkg", "1")
    assert (distribution.metadata.name, distribution.metadata.version) == ("Demo.Pkg", "1.0.0")
    expected = metadata_text("Demo.Pkg", "1.0.0", requires_python=">=3.9")
    assert distribution.metadata_bytes == expected.encode()


@pytest.mark.parametrize("extension", [".tar.gz", ".zip"])
def test_an_sdist_is_read_with_its_metadata_byte_for_byte(extension):
    distribution = taken(*sdist_bytes(extension=extension, description="Größe\r\n"))
    assert (distribution.packagetype, distribution.python_version) == ("sdist", "source")
    assert distribution.metadata_bytes == metadata_text(description="Größe\r\n").encode()
    assert distribution.metadata.description == "Größe\r\n"


SDIST_NAMES = [  # file name, name and version in the metadata
    ("A100-200-XYZ-1.2.3.zip", "A100-200-XYZ", "1.2.3"),
    ("ABC12-34_V1X-1.2.3.zip", "ABC12", "34_V1X-1.2.3"),
    ("ABC12-34_V1X-1.2.3.tar.gz", "ABC12-34_V1X", "1.2.3"),
    ("flup-123-1.0.3.dev-20110405.tar.gz", "flup-123", "1.0.3.dev-20110405"),
    ("package-123-1.0.0-alpha.1.zip", "package-123", "1.0.0-alpha.1"),
    ("package-1.3.7+build.11.e0f985a.zip", "package", "1.3.7+build.11.e0f985a"),
    ("my-binary-package-name-1-4-3-yip-0.9+deadbeef.tar.gz", None, "0.9+deadbeef"),
    ("pytz-2012b.tar.gz", "pytz", "2012b"),
    ("pkg-3!1.0.tar.gz", "pkg", "3!1.0"),
    ("foo-1.0-1.tar.gz", "foo", "1.0.post1"),
    ("Foo_Bar-1.0.tar.gz", "foo-bar", "1.0"),
    ("foo-bar-1.0.tar.gz", "Foo.Bar", "1.0"),
    ("foo_bar-1.0.0.tar.gz", "foo-bar", "1.0"),
    ("foo_bar-1.0_gabc.tar.gz", "foo-bar", "1.0+gabc"),
]


@pytest.mark.parametrize(("filename", "name", "version"), SDIST_NAMES, ids=lambda text: text)
def test_an_sdist_name_is_read_as_the_metadata_reads_it(filename, name, version):
    name = name or "my-binary-package-name-1-4-3-yip"
    if (name, version) == ("ABC12", "34_V1X-1.2.3"):
        assert "Metadata field Version" in refusal(
            taken, *sdist_bytes(name, version, filename=filename)
        )
    else:
        assert taken(*sdist_bytes(name, version, filename=filename)).filename == filename


WHEEL_NAMES = [  # file name, name and version in the metadata, Python tag
    ("django_ipware-0.0.8-py3-none-any.whl", "django-ipware", "0.0.8", "py3"),
    ("Django.Ipware-0.0.8-py2.py3-none-any.whl", "django-ipware", "0.0.8", "py2.py3"),
    (
        "argon2_cffi-18.2.0.dev0.0-pp2510-pypy_41-macosx_10_13_x86_64.whl",
        "argon2-cffi",
        "18.2.0.dev0",
        None,
    ),
    ("pywin32-217-55-cp27-none-win32.whl", "pywin32", "217", "cp27"),
    ("pkg_hello-1.0_gaadc053-py3-none-any.whl", "pkg-hello", "1.0+gaadc053", "py3"),
    ("pkg_hello-1.0+gaadc053-py3-none-any.whl", "pkg_hello", "1.0+gaadc053", "py3"),
    ("pkg-1.0_post1-py3-none-any.whl", "pkg", "1.0.post1", "py3"),
    ("pkg-1.0_1-py3-none-any.whl", "pkg", "1.0+1", "py3"),
    ("pkg-1!2.0-py3-none-any.whl", "pkg", "1!2.0", "py3"),
    ("pkg-1.0-cp313-cp313-linux_x86_64.whl", "pkg", "1", "cp313"),
    ("pkg-1.0-cp314-abi3t-macosx_26_0_arm64.whl", "pkg", "1.0", "cp314"),
    ("pkg-1.0-1build-py3-none-any.whl", "pkg", "1.0", "py3"),
]


@pytest.mark.parametrize(
    ("filename", "name", "version", "tag"), WHEEL_NAMES, ids=[row[0] for row in WHEEL_NAMES]
)
def test_a_wheel_name_is_read_as_installers_read_it(filename, name, version, tag):
    if tag is None:
        # ".dev0.0" is no version, neither in the name nor in the metadata
        assert "none of a wheel" in refusal(taken, *wheel_bytes(name, version, filename=filename))
    else:
        assert taken(*wheel_bytes(name, version, filename=filename)).python_version == tag


@pytest.mark.parametrize(
    ("filename", "phrase"),
    [
        *((f"demo-1.0{end}", "wheels and sdists only") for end in (".egg", ".exe", ".msi", ".rpm")),
        *((f"demo-1.0{end}", "only") for end in (".tar.bz2", ".tgz", ".ZIP", ".tar.xz", ".qwe")),
        ("greenlet-0.3.4-py3.1-win-amd64.egg", "wheels and sdists only"),
        ("some_file", "wheels and sdists only"),
        ("package-name-0.0.1.dev0.linux-x86_64.tar.gz", "no project name and version"),
        ("package-name-0.0.1.dev0.macosx-10.10-intel.tar.gz", "no project name and version"),
        ("deferargs.tar.gz", "no project name and version"),
        ("package.zip", "no project name and version"),
        ("hello_-1.0.tar.gz", "no project name and version"),
        ("some_wheel.whl", "none of a wheel"),
        ("foo.whl", "none of a wheel"),
        ("invalid-wheel.whl", "none of a wheel"),
        ("demo-1.0-py3-none.whl", "none of a wheel"),
        ("demo-x-py3-none-any.whl", "none of a wheel"),
        ("foo-bar-1.0-py3-none-any.whl", "none of a wheel"),
        ("foo__bar-1.0-py3-none-any.whl", "none of a wheel"),
        ("demo-1.0-py3-none-any-x8664v3.whl", "variant wheel (PEP 825)"),
        ("demo-1.0-1-py3-none-any-x8664v3.whl", "variant wheel (PEP 825)"),
        (".hidden-1.0.zip", "must start with"),
        ("../x-1.0.zip", "must start with"),
        ("in/x-1.0.zip", "must start with"),
        ("a b-1.0.zip", "must start with"),
        ("a-1.0.zip\n", "must start with"),
        ("föö-1.0.zip", "must start with"),
        ("a\0-1.0.zip", "must start with"),
        ("", "must start with"),
        (f"{'a' * 230}-1.0.tar.gz", "240 characters"),
    ],
)
def test_other_file_names_are_refused_with_the_reason(filename, phrase):
    assert phrase in refusal(parse_filename, filename)


def test_the_longest_file_name_is_taken():
    filename = f"{'a' * 229}-1.0.tar.gz"
    assert len(filename) == 240
    assert parse_filename(filename).filename == filename


@pytest.mark.parametrize(
    ("filename", "metadata"),
    [
        ("foo-bar-1.0.tar.gz", ("foo", "1.0")),
        ("foo-1.0.tar.gz", ("foo", "1.1")),
        ("foo-1.0.tar.gz", ("bar", "1.0")),
        ("foo-1.0-py3-none-any.whl", ("foo", "1.1")),
        ("foo-1.0-py3-none-any.whl", ("bar", "1.0")),
    ],
)
def test_a_file_name_that_is_not_that_of_the_metadata_is_refused(filename, metadata):
    made = wheel_bytes if filename.endswith(".whl") else sdist_bytes
    told = refusal(taken, *made(*metadata, filename=filename))
    assert repr(filename) in told
    assert "{!r} {!r}".format(*metadata) in told


@pytest.mark.parametrize("directory", ["other-1.0", "demo_pkg-2.0", "demo_pkg"])
def test_a_dist_info_directory_that_is_not_that_of_the_metadata_is_refused(directory):
    members = {
        f"{directory}.dist-info/{name}": text
        for name, text in (
            ("METADATA", metadata_text()),
            ("WHEEL", "Wheel-Version: 1.0\n"),
            ("RECORD", ""),
        )
    }
    told = refusal(taken, "demo_pkg-1.0-py3-none-any.whl", zip_bytes(members))
    assert f"The directory '{directory}.dist-info' is not that of" in told


def test_faults_of_the_metadata_are_told_as_they_are():
    told = refusal(taken, *wheel_bytes(requires_dist=["("], metadata_extra="Summary: a\n b"))
    assert "Requires-Dist is '('" in told
    assert "Summary is" in told


FILENAME, CONTENT = wheel_bytes(metadata_version="2.4")
MD5 = hashlib.md5(CONTENT).digest()
DIGESTS = {
    "md5": MD5.hex(),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "blake2b_256": hashlib.blake2b(CONTENT, digest_size=32).hexdigest(),
}
FORM = {
    "name": ["demo-pkg"],
    "version": ["1.0"],
    "filetype": ["bdist_wheel"],
    "pyversion": ["whatever"],
    "metadata_version": ["2.3"],  # older than the file's: flit sends that
    "protocol_version": ["1"],
    "sha256_digest": [DIGESTS["sha256"]],
    "blake2_256_digest": [DIGESTS["blake2b_256"]],
}


def form_faults(**changes: list[str]) -> list[str]:
    return check_form(taken(FILENAME, CONTENT), FORM | changes, DIGESTS)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="twine"),
        pytest.param({"name": ["Demo_Pkg"], "version": ["1.0.0"]}, id="other spellings"),
        pytest.param({"protocol_version": []}, id="no protocol version"),
        pytest.param({"sha256_digest": [DIGESTS["sha256"].upper()]}, id="upper case"),
        pytest.param({"sha256_digest": ["UNKNOWN"], "blake2_256_digest": [""],
                      "md5_digest": [DIGESTS["md5"]]}, id="md5 only"),
        pytest.param({"md5_digest": [base64.urlsafe_b64encode(MD5).decode().rstrip("=")]},
                     id="md5 in base64"),
        pytest.param({"filetype": ["", "bdist_wheel"], "comment": ["x"]}, id="empty value first"),
    ],
)  # fmt: skip
def test_a_form_that_agrees_has_no_faults(changes):
    assert form_faults(**changes) == []


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        pytest.param({"name": []}, "name is missing", id="no name"),
        pytest.param({"name": ["UNKNOWN"]}, "name is missing", id="name UNKNOWN"),
        pytest.param({"version": [""]}, "version is missing", id="no version"),
        pytest.param({"metadata_version": []}, "metadata_version is missing", id="no metadata"),
        pytest.param({"filetype": []}, "filetype is missing", id="no filetype"),
        pytest.param({"name": ["other"]}, "name is 'other'; it must be 'demo-pkg'", id="name"),
        pytest.param({"name": ["demo pkg"]}, "name is 'demo pkg'", id="invalid name"),
        pytest.param({"version": ["1.1"]}, "version is '1.1'; it must be '1.0'", id="version"),
        pytest.param({"version": ["x"]}, "version is 'x'", id="invalid version"),
        pytest.param({"version": ["9" * 9999]}, "version is", id="long version"),
        pytest.param({"filetype": ["sdist"]}, "filetype is 'sdist'", id="other filetype"),
        pytest.param({"filetype": ["bdist_egg"]}, "filetype is 'bdist_egg'", id="egg"),
        pytest.param({"protocol_version": ["2"]}, "Unknown protocol version", id="protocol"),
        pytest.param({"sha256_digest": ["0" * 64]}, "sha256_digest is '000", id="sha256"),
        pytest.param({"blake2_256_digest": ["x"]}, "blake2_256_digest is 'x'", id="blake2"),
        pytest.param({"md5_digest": ["0" * 32]}, "md5_digest is '000", id="md5"),
        pytest.param({"sha256_digest": [], "blake2_256_digest": []}, "needs one", id="no digest"),
    ],
)
def test_a_form_that_disagrees_is_told_the_field(changes, phrase):
    (fault,) = form_faults(**changes)
    assert phrase in fault
    assert len(fault) < 300


def test_an_empty_form_is_told_all_that_is_missing_metadata_version_first():
    told = check_form(taken(FILENAME, CONTENT), {}, DIGESTS)
    fields = ("metadata_version", "name", "version", "filetype", "sha256_digest")
    assert len(told) == len(fields)
    for fault, field in zip(told, fields, strict=True):
        assert field in fault
