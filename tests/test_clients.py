"""Real pip, uv, twine, poetry, pdm, hatch and flit, against the server as a process of its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from archives_made import sdist_bytes, wheel_bytes
from clients import (
    ADMIN,
    DEVELOPER,
    INSTALLER,
    MAINTAINER,
    PASSWORDS,
    Index,
    Machine,
    Request,
    access_lines,
    environment,
    with_credentials,
)

needs_distutils = pytest.mark.skipif(sys.version_info >= (3, 12), reason="pip 21 needs distutils")
INSTALLERS = ("pip", pytest.param("pip21", marks=needs_distutils), "uv")
LOCKERS = ("poetry", "pdm")
BACKENDS = {  # what a project says of its build
    "setuptools": 'requires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"',
    "hatchling": 'requires = ["hatchling"]\nbuild-backend = "hatchling.build"',
    "poetry-core": 'requires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"',
    "pdm-backend": 'requires = ["pdm-backend"]\nbuild-backend = "pdm.backend"',
    "flit-core": 'requires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"',
    "uv-build": 'requires = ["uv_build"]\nbuild-backend = "uv_build"\n'
    '[tool.uv.build-backend]\nmodule-root = ""',
}
EXISTS = "has other content and is never replaced; raise the version."
OTHER = {"metadata_extra": "Summary: other bytes"}


def running(folder: Path, settings: str = "") -> Iterator[Index]:
    """A server for a fixture; at its end it has stopped in good order and without a fault."""
    index = Index(folder, settings)
    try:
        yield index
    finally:
        status = index.stop()
    log = index.log.read_text()
    assert status == 0
    assert "Traceback" not in log
    assert [request for request in access_lines(log) if request.status >= 500] == []


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """An index with accounts of every role, and three projects that need the next one each."""
    for index in running(tmp_path_factory.mktemp("server")):
        index.add("chain-top", requires_dist=["chain-middle>=1"])
        index.add("chain-middle", requires_dist=["chain-base>=1"])
        index.add("chain-base")
        yield index


@pytest.fixture(scope="session")
def open_server(tmp_path_factory):
    """An index that needs no credentials for reading."""
    yield from running(tmp_path_factory.mktemp("open"), "ANONYMOUS_READ = True")


@pytest.fixture(scope="session")
def mounted(tmp_path_factory):
    """An index below a path."""
    yield from running(tmp_path_factory.mktemp("mounted"), "URL_PREFIX = '/pypi-mount'")


@pytest.fixture
def machine(tmp_path):
    """A user's machine with a fresh home directory."""
    return Machine(tmp_path)


def both(name: str, version: str = "1.0", **metadata) -> list[tuple[str, bytes]]:
    """Wheel and sdist of a release."""
    return [maker(name, version, **metadata) for maker in (wheel_bytes, sdist_bytes)]


def to(index: Index, username: str = DEVELOPER) -> tuple[str, ...]:
    """The options with which twine uploads to the index."""
    options = ("upload", "--disable-progress-bar", "--repository-url", index.legacy)
    return (*options, "-u", username, "-p", PASSWORDS[username])


def upload_times(index: Index, project: str) -> dict[str, str]:
    """File name to upload time, of all releases."""
    releases = index.about(project)["releases"].values()
    return {f["filename"]: f["upload_time_iso_8601"] for files in releases for f in files}


def statuses(requests: list[Request]) -> list[int]:
    """The status of each answer."""
    return [request.status for request in requests]


# Publishing


def test_twine_uploads_a_wheel_and_an_sdist_and_a_second_time_changes_nothing(server, machine):
    dist = machine.dist(*both("by-twine"))
    machine.run("twine", *to(server), *dist)
    first = upload_times(server, "by-twine")
    assert sorted(first) == ["by_twine-1.0-py3-none-any.whl", "by_twine-1.0.tar.gz"]
    with server.requests() as seen:
        machine.run("twine", *to(server), *dist)
    assert statuses(seen) == [200, 200]
    assert upload_times(server, "by-twine") == first


@pytest.mark.parametrize("path", ["legacy", "simple/", "simple"])
def test_twine_uploads_by_a_pypirc_with_each_upload_url(path, server, machine):
    name = f"by-pypirc-{path.strip('/')}-{len(path)}"
    lines = ["[distutils]", "index-servers = extrapypi", "[extrapypi]"]
    lines += [f"repository = {server.url}/{path}", f"username = {DEVELOPER}"]
    lines += [f"password = {PASSWORDS[DEVELOPER]}"]
    (machine.home / ".pypirc").write_text("\n".join(lines))
    machine.run("twine", "upload", "-r", "extrapypi", *machine.dist(*both(name)))
    assert len(server.filenames(name)) == 2


@pytest.mark.parametrize(
    ("user", "password", "made", "sentence"),
    [
        pytest.param(
            ADMIN, "wrong", {}, "401 Unauthorized .* User name or password is wrong.", id="password"
        ),
        pytest.param(
            INSTALLER,
            PASSWORDS[INSTALLER],
            {},
            "403 Forbidden .* This needs the role maintainer; pip is installer.",
            id="role",
        ),
        pytest.param(
            ADMIN,
            PASSWORDS[ADMIN],
            OTHER,
            f"400 Bad Request .* File already exists: chain_base-1.0-py3-none-any.whl {EXISTS}",
            id="other bytes",
        ),
        pytest.param(
            ADMIN,
            PASSWORDS[ADMIN],
            {"filename": "other-1.0-py3-none-any.whl"},
            "400 Bad Request .* The file name 'other-1.0-py3-none-any.whl' is not that of "
            "'chain-base' '1.0', which the metadata in the file names.",
            id="metadata",
        ),
    ],
)
def test_twine_shows_why_a_file_is_refused(user, password, made, sentence, server, machine):
    before = server.about("chain-base")
    command = ("upload", "--repository-url", server.legacy, "-u", user, "-p", password)
    shown = machine.run(
        "twine", *command, *machine.dist(wheel_bytes("chain-base", **made)), status=1
    )
    assert re.search(sentence, " ".join(shown.split()))
    assert server.about("chain-base") == before


def test_twine_shows_why_50_mb_with_a_bad_token_are_refused(server, machine):
    large = wheel_bytes("large", files={"large.bin": os.urandom(50 * 1024**2)})
    command = ("upload", "--repository-url", server.legacy, "-u", "__token__", "-p", "xpypi_bad")
    shown = machine.run("twine", *command, *machine.dist(large), status=1)
    assert "401 Unauthorized" in shown
    assert "The token is unknown, revoked or expired." in shown
    assert "reset" not in shown.lower()


def test_twine_as_a_maintainer_adds_files_but_no_projects(server, machine):
    first, second = wheel_bytes("by-roles"), wheel_bytes("by-roles", "1.1")
    shown = machine.run("twine", *to(server, MAINTAINER), *machine.dist(first), status=1)
    assert "403 Forbidden" in shown
    assert "role developer" in shown
    machine.run("twine", *to(server, DEVELOPER), *machine.dist(first))
    machine.run("twine", *to(server, MAINTAINER), *machine.dist(second))
    assert server.filenames("by-roles") == [second[0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_build_backends_make_is_taken(backend, server, machine):
    name = f"made-by-{backend}"
    machine.write("README.md", "# Grüße\n")
    machine.write("LICENSE", "MIT\n")
    machine.write(f"{name.replace('-', '_')}/__init__.py", 'VERSION = "1.0"\n')
    machine.write(
        "pyproject.toml",
        f'[project]\nname = "{name}"\nversion = "1.0"\nrequires-python = ">=3.10"\n'
        'description = "Ein Paket"\nreadme = "README.md"\nlicense = "MIT"\n'
        'license-files = ["LICENSE"]\nauthors = [{name = "Élise", email = "e@example.org"}]\n'
        'keywords = ["one", "two"]\ndependencies = ["chain-base>=1"]\n'
        '[project.urls]\n"Bug Tracker" = "https://example.org/bugs"\n'
        f"[build-system]\n{BACKENDS[backend]}\n",
    )
    scripts = environment("build") / "bin"  # uv-build looks for its program there
    machine.run("build", "--no-isolation", PATH=f"{scripts}:{os.environ['PATH']}")
    machine.run("twine", *to(server), *sorted((machine.work / "dist").iterdir()))
    info = server.about(name)["info"]
    assert info["license_expression"] == "MIT"
    assert f"{info['author']}{info['author_email']}".startswith("Élise")
    assert info["description"].strip() == "# Grüße"
    assert info["project_urls"] == {"Bug Tracker": "https://example.org/bugs"}
    assert len(server.filenames(name)) == 2
    machine.install("uv", server.simple_for(), name)
    assert machine.installed(name.replace("-", "_")) == "1.0"


def test_uv_publishes_with_a_token_and_with_a_password(server, machine):
    publish = ("publish", "--publish-url", server.legacy)
    machine.run("uv", *publish, "--token", server.token, *machine.dist(*both("by-uv")))
    password = ("-u", DEVELOPER, "-p", PASSWORDS[DEVELOPER])
    newer = machine.dist(*both("by-uv", "1.1"))
    machine.write("dist/by_uv-1.1-py3-none-any.whl.publish.attestation", "{}")
    machine.run("uv", *publish, *password, *newer)
    assert len(upload_times(server, "by-uv")) == 4


def test_uv_publish_with_a_check_url_sends_nothing_twice(server, machine):
    dist = machine.dist(*both("by-uv-checked"))
    check = ("--check-url", server.simple_for())
    publish = ("publish", "--publish-url", server.legacy, "--token", server.token, *check)
    machine.run("uv", *publish, *dist)
    with server.requests() as seen:
        shown = machine.run("uv", *publish, *dist)
    assert shown.count("already exists, skipping") == 2
    assert {request.method for request in seen} == {"GET"}
    other = machine.dist(wheel_bytes("by-uv-checked", **OTHER))
    assert "do not match" in machine.run("uv", *publish, *other, status=2).lower()


@pytest.mark.parametrize(
    ("credentials", "made", "sentence"),
    [
        pytest.param(("--token", "xpypi_bad"), {}, "401 The token is unknown", id="token"),
        pytest.param(
            ("-u", INSTALLER, "-p", PASSWORDS[INSTALLER]),
            {},
            "403 This needs the role maintainer; pip is installer.",
            id="role",
        ),
        pytest.param(
            ("-u", ADMIN, "-p", PASSWORDS[ADMIN]),
            OTHER,
            f"400 File already exists: chain_base-1.0-py3-none-any.whl {EXISTS}",
            id="other bytes",
        ),
    ],
)
def test_uv_publish_shows_why_a_file_is_refused(credentials, made, sentence, server, machine):
    dist = machine.dist(wheel_bytes("chain-base", **made))
    publish = ("publish", "--publish-url", server.legacy, *credentials)
    shown = machine.run("uv", *publish, *dist, status=2)
    assert f"Server says: {sentence}" in shown


def test_poetry_publishes_and_skips_what_exists(server, machine):
    machine.write("pyproject.toml", '[project]\nname = "by-poetry"\nversion = "1.0"\n')
    machine.dist(*both("by-poetry"))
    credentials = {
        "POETRY_REPOSITORIES_OURS_URL": server.legacy,
        "POETRY_HTTP_BASIC_OURS_USERNAME": DEVELOPER,
        "POETRY_HTTP_BASIC_OURS_PASSWORD": PASSWORDS[DEVELOPER],
    }
    publish = ("publish", "-r", "ours")
    machine.run("poetry", *publish, **credentials)
    before = upload_times(server, "by-poetry")
    assert len(before) == 2
    machine.dist(*both("by-poetry", **OTHER))
    assert EXISTS in machine.run("poetry", *publish, status=1, **credentials)
    shown = machine.run("poetry", *publish, "--skip-existing", **credentials)
    assert shown.count("File exists. Skipping") == 2
    assert upload_times(server, "by-poetry") == before


def test_pdm_publishes_and_skips_what_exists(server, machine):
    machine.write("pyproject.toml", '[project]\nname = "by-pdm"\nversion = "1.0"\n')
    machine.dist(*both("by-pdm"))
    credentials = ("--username", DEVELOPER, "--password", PASSWORDS[DEVELOPER])
    publish = ("publish", "--no-build", "--repository", server.legacy, *credentials)
    machine.run("pdm", *publish)
    before = upload_times(server, "by-pdm")
    assert len(before) == 2
    machine.dist(*both("by-pdm", **OTHER))
    assert EXISTS in machine.run("pdm", *publish, status=1)
    shown = machine.run("pdm", *publish, "--skip-existing")
    assert shown.count("because it appears to already exist") == 2
    assert upload_times(server, "by-pdm") == before


def test_hatch_publishes_once_and_its_link_leads_to_the_projects_page(server, machine):
    machine.write("pyproject.toml", '[project]\nname = "by-hatch"\nversion = "1.0"\n')
    dist = machine.dist(*both("by-hatch"))
    credentials = {"HATCH_INDEX_USER": DEVELOPER, "HATCH_INDEX_AUTH": PASSWORDS[DEVELOPER]}
    publish = ("publish", "--repo", server.legacy, "--no-prompt")
    shown = machine.run("hatch", *publish, *dist, **credentials)
    link = re.search(r"http://\S+", shown)[0].removeprefix(server.url)
    assert b"next=/dashboard/packages/by-hatch/1.0/" in server.get(link)  # to log in first
    with server.requests() as seen:
        shown = machine.run("hatch", *publish, *dist, **credentials)
    assert shown.count("already exists") == 2
    assert [request[1:] for request in seen] == [("GET", "/legacy/+simple/by-hatch/", 200)]
    wrong = machine.dist(wheel_bytes("by-hatch", filename="other-1.0-py3-none-any.whl"))
    shown = machine.run("hatch", *publish, *wrong, status=1, **credentials)
    assert "'400 The file name 'other-1.0-py3-none-any.whl' is not that of" in shown


def test_flit_publishes_a_project_whose_form_has_no_license_expression(server, machine):
    machine.write("by_flit.py", '"""Published by flit."""\n__version__ = VERSION = "1.0"\n')
    machine.write("LICENSE", "MIT\n")
    machine.write(
        "pyproject.toml",
        '[project]\nname = "by-flit"\ndynamic = ["version", "description"]\n'
        'license = "MIT"\nlicense-files = ["LICENSE"]\n[build-system]\n' + BACKENDS["flit-core"],
    )
    credentials = {"FLIT_USERNAME": DEVELOPER, "FLIT_PASSWORD": PASSWORDS[DEVELOPER]}
    credentials["FLIT_INDEX_URL"] = server.legacy
    machine.run("flit", "publish", **credentials)
    info = server.about("by-flit")["info"]
    assert (info["license_expression"], info["license_files"]) == ("MIT", ["LICENSE"])
    assert info["summary"] == "Published by flit."
    assert len(server.filenames("by-flit")) == 2
    machine.write("by_flit.py", '"""Changed."""\n__version__ = VERSION = "1.0"\n')
    assert EXISTS in machine.run("flit", "publish", status=1, **credentials)


# Installing


@pytest.mark.parametrize("tool", INSTALLERS)
def test_a_chain_of_dependencies_is_installed(tool, server, machine):
    machine.install(tool, server.simple_for(), "chain-top")
    assert machine.installed("chain_base") == "1.0"


def test_pip_downloads_a_chain_of_dependencies(server, machine):
    machine.run("pip", "download", "--index-url", server.simple_for(), "chain-top", "-d", "got")
    assert len(list((machine.work / "got").glob("chain_*-1.0-py3-none-any.whl"))) == 3


@pytest.mark.parametrize("tool", INSTALLERS)
def test_an_sdist_is_built_and_installed(tool, server, machine):
    server.add("source-only", maker=sdist_bytes)
    machine.install(tool, server.simple_for(), "source-only")
    assert machine.installed("source_only") == "1.0"


@pytest.mark.parametrize("tool", INSTALLERS)
def test_a_local_version_is_installed(tool, server, machine):
    server.add("local", "1.0")
    server.add("local", "1.0+cu1")
    machine.install(tool, server.simple_for(), "local==1.0+cu1")
    assert machine.installed("local") == "1.0+cu1"


@pytest.mark.parametrize("tool", INSTALLERS)
def test_a_yanked_release_is_installed_only_when_it_is_pinned(tool, server, machine):
    server.add("yanked", "1.0")
    server.add("yanked", "2.0")
    server.command("yank", "yanked", "2.0", "--reason", "it <breaks>")
    machine.install(tool, server.simple_for(), "yanked")
    assert machine.installed("yanked") == "1.0"
    assert "it <breaks>" in machine.install(tool, server.simple_for(), "yanked==2.0")
    assert machine.installed("yanked") == "2.0"


@pytest.mark.parametrize("tool", INSTALLERS)
def test_a_release_for_a_later_python_is_passed_over(tool, server, machine):
    server.add("later", "1.0", requires_python=">=3.8,<99")
    server.add("later", "2.0", requires_python=">=99")
    machine.install(tool, server.simple_for(), "later")
    assert machine.installed("later") == "1.0"


@pytest.mark.parametrize("tool", INSTALLERS)
def test_hashes_may_be_required(tool, server, machine):
    digest = server.add("hashed")
    requirements = machine.write("requirements.txt", f"hashed==1.0 --hash=sha256:{digest}\n")
    machine.install(tool, server.simple_for(), "--require-hashes", "-r", requirements)
    assert machine.installed("hashed") == "1.0"


@pytest.mark.parametrize("tool", INSTALLERS)
def test_a_second_install_only_asks_whether_pages_have_changed(tool, server, machine):
    machine.install(tool, server.simple_for(), "chain-top")
    with server.requests() as seen:
        machine.install(tool, server.simple_for(), "chain-top")
    asked = sorted((request.path, request.status) for request in seen)
    assert asked == [(f"/simple/chain-{name}/", 304) for name in ("base", "middle", "top")]


@pytest.mark.parametrize("tool", INSTALLERS)
def test_a_new_file_and_a_quarantine_are_seen_at_once(tool, server, machine):
    name, url = f"fresh-{tool}", server.simple_for()
    server.add(name, "1.0")
    machine.install(tool, url, name)
    server.add(name, "2.0")
    machine.install(tool, url, name)
    assert machine.installed(name.replace("-", "_")) == "2.0"
    server.command("status", name, "quarantined", "--reason", "looks bad")
    shown = machine.install(tool, url, name, status=1)
    assert re.search(f"No matching distribution found|no versions of {name}", shown)
    server.command("status", name, "active")
    machine.install(tool, url, name)


@pytest.mark.parametrize(
    ("tool", "option"), [("pip", "--uploaded-prior-to"), ("uv", "--exclude-newer")]
)
def test_files_after_a_moment_are_passed_over(tool, option, server, machine):
    name = f"timed-{tool}"
    server.add(name, "1.0")
    server.add(name, "2.0")
    texts = upload_times(server, name).values()
    times = [datetime.fromisoformat(text.replace("Z", "+00:00")) for text in texts]
    between = min(times) + abs(times[0] - times[1]) / 2
    moment = between.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    machine.install(tool, server.simple_for(), option, moment, name)
    assert machine.installed(name.replace("-", "_")) == "1.0"
    machine.install(tool, server.simple_for(), option, "2000-01-01T00:00:00Z", name, status=1)


def test_uv_with_a_netrc_asks_without_credentials_first(server, machine):
    machine.netrc(INSTALLER)
    with server.requests() as seen:
        machine.install("uv", server.simple, "chain-top")
    assert machine.installed("chain_base") == "1.0"
    refused = {request.path for request in seen if (request.user, request.status) == ("-", 401)}
    given = {request.path for request in seen if (request.user, request.status) == ("pip", 200)}
    assert refused == given
    assert len(seen) == 18  # three pages, metadata and wheels, each asked for twice


def test_pip_with_a_netrc_needs_no_second_question(server, machine):
    machine.netrc(INSTALLER)
    with server.requests() as seen:
        machine.install("pip", server.simple, "chain-top")
    assert statuses(seen) == [200] * 9


def test_uv_installs_many_projects_at_once(server, machine):
    names = [f"many-{number}" for number in range(60)]
    for name in names:
        server.add(name)
    machine.install("uv", server.simple_for(), *names)
    assert machine.installed("many_59") == "1.0"


def test_uv_locks_size_and_time_and_no_credentials(server, machine):
    machine.write(
        "pyproject.toml",
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.10"\n'
        'dependencies = ["chain-top"]\n',
    )
    machine.run("uv", "lock", "--default-index", server.simple_for())
    locked = (machine.work / "uv.lock").read_text()
    file = server.about("chain-base")["urls"][0]
    digest, size = file["digests"]["sha256"], file["size"]
    assert f'hash = "sha256:{digest}", size = {size}, upload-time = "' in locked
    assert PASSWORDS[INSTALLER] not in locked


@pytest.mark.parametrize("tool", LOCKERS)
def test_a_project_is_locked_and_installed_with_credentials_from_the_config(tool, server, machine):
    server.add("local-too", "1.0+cu1")
    machine.project(tool, server.simple, "chain-top", "local-too==1.0+cu1", username=INSTALLER)
    machine.lock_and_install(tool)
    assert machine.installed("chain_base") == "1.0"
    assert machine.installed("local_too") == "1.0+cu1"
    locked = (machine.work / f"{tool}.lock").read_text()
    assert server.about("chain-base")["urls"][0]["digests"]["sha256"] in locked
    with server.requests() as seen:
        machine.lock_and_install(tool)
    asked = {(request.path.split("/")[1], request.status) for request in seen}
    # pdm's cache is a shared one, which keeps no files that came with credentials
    assert asked - ({("packages", 200)} if tool == "pdm" else set()) == {("simple", 304)}


@pytest.mark.parametrize("tool", LOCKERS)
def test_a_project_is_locked_anew_from_an_open_index(tool, open_server, machine):
    name = f"fresh-{tool}"
    open_server.add(name, "1.0")
    machine.project(tool, open_server.simple, name)
    machine.lock_and_install(tool)
    with open_server.requests() as seen:
        machine.lock_and_install(tool)
    assert {*seen} == {("-", "GET", f"/simple/{name}/", 304)}
    open_server.add(name, "2.0")
    machine.lock_and_install(tool)
    assert machine.installed(name.replace("-", "_")) == "2.0"


# Below a prefix


def test_twine_uv_and_pip_work_below_a_prefix(mounted, machine):
    assert mounted.legacy.endswith("/pypi-mount/legacy/")
    machine.run("twine", *to(mounted), *machine.dist(*both("mounted")))
    newer = machine.dist(wheel_bytes("mounted", "2.0+cu1"))
    publish = ("publish", "--publish-url", mounted.legacy, "--token", mounted.token)
    machine.run("uv", *publish, "--check-url", mounted.simple_for(), *newer)
    for tool in ("pip", "uv"):
        with mounted.requests() as seen:
            machine.install(tool, mounted.simple_for(), "mounted")
        assert machine.installed("mounted") == "2.0+cu1"
        assert all(request.path.startswith("/pypi-mount/") for request in seen)
    url = with_credentials(f"{mounted.url}//simple/", INSTALLER, PASSWORDS[INSTALLER])
    machine.install("pip", url, "Mounted==1.0")
    assert machine.installed("mounted") == "1.0"
