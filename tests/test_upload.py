"""Uploads: what is taken, what is refused and why, and that a refusal leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib

import pytest
from archives_made import sdist_bytes, wheel_bytes
from conftest import as_user, at_once, counts, form_of, stored, upload

from extrapypi.models import Dependency, File, Journal, Maintainer, Package, Release, Serial

NOTHING = {"Package": 0, "Release": 0, "File": 0, "UsedFilename": 0, "Dependency": 0}


def test_a_wheel_is_on_the_index_at_the_next_request(as_role):
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    page = as_role("installer").get("/simple/demo-pkg/")
    href = page.html.find("a")["href"]
    assert page.html.find("a").text == filename
    answer = as_role("installer").get(href.partition("#")[0])
    assert answer.body == body
    assert href.endswith("#sha256=" + hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("url", ["/legacy/", "/legacy", "/simple/", "/simple", "//legacy//"])
def test_uploads_go_to_either_url_with_and_without_final_slash(as_role, url):
    assert upload(as_role("developer"), url=url).status == "200 OK"


def test_the_same_bytes_again_change_nothing(as_role):
    upload(as_role("developer"))
    before = (File.get().upload_time, Serial.get().value, Journal.select().count())
    assert upload(as_role("developer")).status_int == 200
    assert (File.get().upload_time, Serial.get().value, Journal.select().count()) == before


def test_other_bytes_under_a_taken_name_are_refused_and_the_first_are_kept(as_role):
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    answer = upload(as_role("developer"), filename, wheel_bytes(description="x")[1], status=400)
    assert answer.status.startswith(
        "400 File already exists"
    )  # what twine, poetry and pdm look for
    assert "File already exists" in answer.text
    assert as_role("installer").get(f"/packages/demo-pkg/{filename}").body == body


def test_a_deleted_name_takes_only_the_same_bytes_back(app, as_role):
    from conftest import COMMAND_LINE

    from extrapypi import packages

    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg")
    answer = upload(as_role("developer"), filename, wheel_bytes(description="x")[1], status=400)
    assert "was used before" in answer.status
    assert "already exist" not in answer.text  # poetry and pdm would skip it silently
    assert upload(as_role("developer"), filename, body).status_int == 200


def test_the_first_file_of_a_project_needs_a_developer(as_role, app):
    answer = upload(as_role("maintainer"), status=403)
    assert "needs the role developer" in answer.status
    assert counts() == NOTHING
    assert stored(app) == []
    upload(as_role("developer"))
    filename, body = wheel_bytes(version="2.0")
    assert upload(as_role("maintainer"), filename, body).status_int == 200


def test_whoever_uploads_is_listed_as_maintainer(as_role):
    upload(as_role("developer"))
    upload(as_role("maintainer"), *wheel_bytes(version="2.0"))
    assert {each.user.username for each in Maintainer.select()} == {"developer", "maintainer"}


def test_an_installer_may_not_upload(as_role):
    answer = upload(as_role("installer"), status=403)
    assert "needs the role maintainer; installer is installer" in answer.status


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({":action": None}, "Missing :action", id="no action"),
        pytest.param({":action": "BAD"}, "'BAD'", id="unknown action"),
        pytest.param({"protocol_version": "2"}, "Unknown protocol version", id="protocol"),
        pytest.param({"name": None}, "name", id="no name"),
        pytest.param({"name": "other"}, "other", id="another name"),
        pytest.param({"name": "föö"}, "name", id="name not ASCII"),
        pytest.param({"version": None}, "version", id="no version"),
        pytest.param({"version": "2.0"}, "2.0", id="another version"),
        pytest.param({"metadata_version": None}, "metadata_version", id="no metadata version"),
        pytest.param({"filetype": "sdist"}, "filetype", id="another file type"),
        pytest.param({"filetype": "bdist_egg"}, "bdist_egg", id="an egg"),
        pytest.param({"sha256_digest": None}, "digest", id="no digest"),
        pytest.param({"sha256_digest": "0" * 64}, "sha256_digest", id="wrong sha256"),
        pytest.param({"md5_digest": "0" * 32}, "md5_digest", id="wrong md5"),
        pytest.param({"blake2_256_digest": "0" * 64}, "blake2_256_digest", id="wrong blake2"),
    ],
)
def test_a_form_that_does_not_fit_its_file_is_refused_without_a_trace(as_role, app, changes, words):
    answer = upload(as_role("developer"), status=400, **changes)
    assert words in answer.text
    assert counts() == NOTHING
    assert stored(app) == []


@pytest.mark.parametrize(
    "filename",
    [
        "demo_pkg-1.0-py3-none-any.qwe",
        "demo_pkg-1.0-py3-none-any.egg",
        "some_file",
        "foo.whl",
        "package.zip",
        ".hidden-1.0.zip",
        "../demo_pkg-1.0-py3-none-any.whl",
        "a/demo_pkg-1.0-py3-none-any.whl",
        "a b-1.0.zip",
        "demo_pkg-1.0\u0000-py3-none-any.whl",
        "demo_pkg-1.0-py3-none-any.whl ",
        "dèmo_pkg-1.0-py3-none-any.whl",
        "d" * 300 + "-1.0-py3-none-any.whl",
    ],
)
def test_a_bad_file_name_is_refused_without_a_trace(as_role, app, filename):
    body = wheel_bytes()[1]
    fields = {**form_of("demo_pkg-1.0-py3-none-any.whl", body)}
    as_role("developer").post(
        "/legacy/", fields, upload_files=[("content", filename, body)], status=400
    )
    assert counts() == NOTHING
    assert stored(app) == []


@pytest.mark.parametrize("action", ["submit", "submit_pkg_info", "doc_upload", "verify"])
def test_actions_of_old_tools_are_gone(as_role, action):
    answer = as_role("developer").post(
        "/legacy/", {":action": action}, upload_files=[("x", "x", b"x")], status=410
    )
    assert "was ever registered" not in answer.text  # poetry would then try to register


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"x=1", "application/x-www-form-urlencoded", id="not multipart"),
        pytest.param(b"", "multipart/form-data", id="no boundary"),
        pytest.param(b"--b\r\n", "multipart/form-data; boundary=b", id="cut off"),
        pytest.param(
            b"--b\r\nContent-Disposition: form-data; "
            b'name="content"; filename="a-1.0.tar.gz"\r\n\r\nxx',
            "multipart/form-data; boundary=b",
            id="cut off in the file",
        ),
        pytest.param(
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            id="not UTF-8",
        ),
    ],
)
def test_a_body_that_is_no_form_is_refused_without_a_trace(as_role, app, body, kind):
    answer = as_role("developer").post("/legacy/", body, {"Content-Type": kind}, status=400)
    assert len(answer.text) > 10
    assert stored(app) == []


def test_too_many_parts_are_refused(as_role):
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    as_role("developer").post("/legacy/", part * 1100 + b"--b--\r\n", kind, status=413)


def test_a_file_over_the_limit_is_refused_with_the_limit(settings, request):
    settings["MAX_UPLOAD_SIZE"] = 100
    answer = upload(request.getfixturevalue("as_role")("developer"), status=413)
    assert "100 bytes" in answer.status
    assert stored(request.getfixturevalue("app")) == []


def test_two_files_in_one_form_are_refused(as_role, app):
    filename, body = wheel_bytes()
    files = [("content", filename, body), ("content", filename, body)]
    as_role("developer").post("/legacy/", form_of(filename, body), upload_files=files, status=400)
    assert stored(app) == []


def test_a_long_description_beside_a_large_file_is_kept_whole(as_role):
    description = "Grüße, " * 30_000
    filename, body = wheel_bytes(
        description=description, files={"demo/big.bin": b"\x00" * 5_000_000}
    )
    upload(as_role("developer"), filename, body, description=description)
    assert Release.get().description.strip() == description.strip()


def test_two_hundred_requirements_are_taken(as_role):
    requires = [f"dep{i}>={i}" for i in range(200)]
    filename, body = wheel_bytes(requires_dist=requires)
    fields = [*form_of(filename, body).items(), *(("requires_dist", each) for each in requires)]
    as_role("developer").post("/legacy/", fields, upload_files=[("content", filename, body)])
    assert counts()["Dependency"] == 200


@pytest.mark.parametrize(
    "digests",
    [
        pytest.param(lambda b: {"md5_digest": hashlib.md5(b).hexdigest()}, id="md5"),
        pytest.param(
            lambda b: {
                "md5_digest": base64.urlsafe_b64encode(hashlib.md5(b).digest()).decode().rstrip("=")
            },
            id="md5 in base64",
        ),
        pytest.param(
            lambda b: {"sha256_digest": hashlib.sha256(b).hexdigest().upper()}, id="upper"
        ),
        pytest.param(
            lambda b: {"blake2_256_digest": hashlib.blake2b(b, digest_size=32).hexdigest()},
            id="blake2",
        ),
    ],
)
def test_any_digest_will_do_in_its_spellings(as_role, digests):
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body, **{"sha256_digest": None, **digests(body)})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"pyversion": None}, id="flit sends no pyversion"),
        pytest.param({"name": "Demo.Pkg"}, id="another spelling of the name"),
        pytest.param({"version": "1.0.0"}, id="another spelling of the version"),
        pytest.param({"protocol_version": None}, id="no protocol version"),
        pytest.param({"provides_extras": "x", "import_names": "y", "nonsense": "z"}, id="unknown"),
        pytest.param({"requires_python": "", "keywords": "UNKNOWN"}, id="empty"),
        pytest.param({"attestations": "[]", "gpg_signature": "x"}, id="attestations, signature"),
    ],
)
def test_what_clients_really_send_is_taken(as_role, changes):
    assert upload(as_role("developer"), **changes).status_int == 200


def test_the_file_may_come_first_in_the_form(as_role):
    filename, body = wheel_bytes()
    heads = {f'content"; filename="{filename}': body}
    heads |= {name: value.encode() for name, value in form_of(filename, body).items()}
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s' % (head.encode(), content)
        for head, content in heads.items()
    ]
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    as_role("developer").post("/legacy/", b"\r\n".join(parts) + b"\r\n--b--\r\n", kind, status=200)


def test_a_signature_beside_the_file_is_dropped(as_role, app):
    filename, body = wheel_bytes()
    files = [("content", filename, body), ("gpg_signature", filename + ".asc", b"-----BEGIN")]
    as_role("developer").post("/legacy/", form_of(filename, body), upload_files=files, status=200)
    assert not [name for name in stored(app) if name.endswith(".asc")]


def test_a_second_sdist_of_a_release_is_refused(as_role):
    upload(as_role("developer"), *sdist_bytes())
    filename, body = sdist_bytes()
    answer = upload(
        as_role("developer"), filename.replace("_", "-"), body, status=400, name="demo-pkg"
    )
    assert "has only one" in answer.text


def test_a_name_that_differs_only_by_case_is_taken(as_role):
    upload(as_role("developer"), *wheel_bytes())
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename.replace("demo", "Demo"), body, status=400)
    assert counts()["File"] == 1


def test_names_that_are_equal_when_normalized_are_one_project(as_role):
    upload(as_role("developer"), *wheel_bytes(name="Foo.Bar"))
    upload(as_role("developer"), *wheel_bytes(name="foo_bar", version="2.0"))
    package = Package.get()
    assert (package.name, package.normalized_name) == ("Foo.Bar", "foo-bar")
    assert counts()["Release"] == 2


@pytest.mark.parametrize(
    ("status", "code"), [("archived", 403), ("quarantined", 403), ("deprecated", 200)]
)
def test_closed_projects_take_no_files(as_role, status, code):
    from conftest import COMMAND_LINE

    from extrapypi import packages

    upload(as_role("developer"))
    packages.set_status(COMMAND_LINE, "demo-pkg", status)
    answer = upload(as_role("developer"), *wheel_bytes(version="2.0"), status=code)
    assert code == 200 or status in answer.status


def test_a_later_file_without_description_does_not_erase_it(as_role):
    upload(as_role("developer"), *wheel_bytes(description="Long text"))
    upload(as_role("developer"), *sdist_bytes())
    assert Release.get().description.strip() == "Long text"


def test_uv_gets_the_reason_as_json_and_others_as_text(as_role):
    accept = {"Accept": "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"}
    answer = upload(as_role("developer"), status=400, name="other", headers=accept)
    assert answer.headers["Content-Type"] == "application/json"  # with a charset uv shows it raw
    assert answer.json["code"].startswith("400 ")
    assert "other" in answer.json["message"]
    answer = upload(as_role("developer"), status=400, name="other")
    assert answer.content_type == "text/plain"


def test_of_twenty_uploads_of_one_name_exactly_one_wins(app):
    answers = []

    def send(number: int) -> None:
        client = as_user(app, "developer", "secret of developer")
        filename, body = wheel_bytes(description=f"number {number}")
        answers.append((upload(client, filename, body, status="*").status_int, body))

    at_once(20, send)
    won = [body for status, body in answers if status == 200]
    assert sorted(status for status, _ in answers) == [200] + [400] * 19
    assert File.get().sha256 == hashlib.sha256(won[0]).hexdigest()
    served = as_user(app, "installer", "secret of installer").get(
        "/packages/demo-pkg/" + File.get().filename
    )
    assert served.body == won[0]
    assert len(stored(app)) == 2  # the file and its metadata


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(["sdist a", "wheel"], [], id="a wheel without any replaces an sdist's"),
        pytest.param(["wheel", "sdist a"], [], id="an sdist's do not replace a wheel's"),
        pytest.param(["sdist a"], ["a"], id="an sdist alone counts"),
        pytest.param(["wheel a", "sdist b"], ["a"], id="a wheel's stay"),
    ],
)
def test_the_requirements_are_those_of_the_wheel(as_role, files, expected):
    for file in files:
        kind, *requires = file.split()
        maker = sdist_bytes if kind == "sdist" else wheel_bytes
        upload(as_role("developer"), *maker(requires_dist=requires))
    assert Release.get().requires_dist == expected
    assert [row.normalized_name for row in Dependency.select()] == expected
