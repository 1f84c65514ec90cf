"""The services: rights, yanking, deleting, statuses, order of versions, the journal."""

from __future__ import annotations

import pytest
from archives_made import sdist_bytes, wheel_bytes
from conftest import COMMAND_LINE, counts, stored, upload
from queries import asked, scans

from extrapypi import packages
from extrapypi.auth import Actor
from extrapypi.catalogue import totals
from extrapypi.errors import Forbidden, InvalidInput, NotFound
from extrapypi.models import Dependency, File, Journal, Package, Release, Serial, User, writing


def actor_of(role: str) -> Actor:
    """The role's user as an actor."""
    user = User.named(role)
    return Actor(username=user.username, role=user.role, user_id=user.id)


@pytest.fixture
def demo(as_role):
    """A project with two releases, uploaded by the developer."""
    upload(as_role("developer"), *wheel_bytes())
    upload(as_role("developer"), *sdist_bytes())
    upload(as_role("developer"), *wheel_bytes(version="2.0"))


def test_only_listed_maintainers_and_admins_yank(demo):
    with pytest.raises(Forbidden, match="not listed as a maintainer"):
        packages.yank(actor_of("maintainer"), "demo-pkg", "1.0")
    packages.set_maintainer(actor_of("developer"), "demo-pkg", "maintainer")
    names = packages.yank(actor_of("maintainer"), "demo-pkg", "1.0", "bad\nbuild")
    assert sorted(names) == ["demo_pkg-1.0-py3-none-any.whl", "demo_pkg-1.0.tar.gz"]
    assert {file.yanked_reason for file in File.select().where(File.yanked)} == {"bad build"}
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "maintainer", listed=False)
    with pytest.raises(Forbidden):
        packages.yank(actor_of("maintainer"), "demo-pkg", "1.0", undo=True)
    packages.yank(actor_of("admin"), "demo-pkg", "1.0", undo=True)
    assert not File.select().where(File.yanked).exists()


def test_one_file_can_be_yanked_alone(demo):
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0", filename="demo_pkg-1.0.tar.gz")
    assert [f.filename for f in File.select().where(File.yanked)] == ["demo_pkg-1.0.tar.gz"]


def test_a_listed_maintainer_who_is_no_developer_deletes_nothing(demo, app):
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "maintainer")
    with pytest.raises(Forbidden, match="role developer"):
        packages.delete(app.site.storage, actor_of("maintainer"), "demo-pkg", "1.0")
    with pytest.raises(Forbidden, match="role admin"):
        packages.delete(app.site.storage, actor_of("developer"), "demo-pkg")
    with pytest.raises(Forbidden, match="role admin"):
        packages.set_status(actor_of("developer"), "demo-pkg", "archived")
    assert counts()["File"] == 3


def kept() -> tuple[list[tuple], tuple]:
    """The numbers that are kept of each project, by name, and the sums of them all."""
    columns = (Package.release_count, Package.file_count, Package.offered_count, Package.total_size)
    rows = Package.select(Package.name, *columns).order_by(Package.name).tuples()
    return list(rows), tuple(totals())


def test_what_there_is_is_counted_with_each_change(demo, app, as_role):
    upload(as_role("developer"), *wheel_bytes(name="other"))
    sizes = {file.filename: file.size for file in File.select()}
    other, new = sizes["other-1.0-py3-none-any.whl"], sizes["demo_pkg-2.0-py3-none-any.whl"]
    demo_size, size = sum(sizes.values()) - other, sum(sizes.values())
    one = ("other", 1, 1, 1, other)
    assert kept() == ([("demo-pkg", 2, 3, 3, demo_size), one], (2, 3, 4, size))
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0")
    assert kept() == ([("demo-pkg", 2, 3, 1, demo_size), one], (2, 3, 4, size))
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", "1.0")
    assert kept() == ([("demo-pkg", 1, 1, 1, new), one], (2, 2, 2, new + other))
    packages.set_status(COMMAND_LINE, "demo-pkg", "archived")
    assert kept() == ([("demo-pkg", 1, 1, 1, new), one], (2, 2, 2, new + other))
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", "2.0")
    assert kept() == ([one], (1, 1, 1, other))
    packages.delete(app.site.storage, COMMAND_LINE, "other")
    assert kept() == ([], (0, 0, 0, 0))


def test_two_copies_of_a_project_are_not_counted_twice(demo):
    with writing() as serial:
        one, two = Package.named("demo-pkg"), Package.named("demo-pkg")
        File.delete().where(File.filename.endswith(".tar.gz")).execute()
        one.touch(serial)
        two.touch(serial)
    assert totals()[:3] == (1, 2, 2)


def test_touching_a_project_takes_few_statements(demo, monkeypatch):
    package = Package.named("demo-pkg")
    with writing() as serial:
        assert len(asked(monkeypatch, lambda: package.touch(serial))) == 4


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_upload_and_no_index_page_goes_through_all_projects(demo, as_role, monkeypatch):
    developer = as_role("developer")
    for work in (
        lambda: upload(developer, *wheel_bytes(name="other")),
        lambda: upload(developer, *wheel_bytes(name="other", version="2.0")),
        lambda: developer.get("/simple/other/"),
    ):
        assert [each for each in asked(monkeypatch, work) if scans(*each)] == []


def test_a_deleted_release_takes_its_files_and_nothing_else(demo, app, as_role):
    upload(as_role("developer"), *wheel_bytes(name="other", version="2.0"))
    packages.delete(app.site.storage, actor_of("developer"), "Demo.Pkg", "2")
    assert [release.version for release in Release.select()] == ["1.0", "2.0"]
    assert counts()["File"] == 3
    assert not any("demo_pkg-2.0" in name for name in stored(app))


def test_deleting_the_last_files_one_by_one_removes_release_and_project(demo, app):
    for file in list(File.select()):
        packages.delete(
            app.site.storage, COMMAND_LINE, "demo-pkg", file.release.version, file.filename
        )
    assert counts() | {"UsedFilename": 0} == dict.fromkeys(counts(), 0)
    assert stored(app) == []


def test_deleting_works_when_the_file_is_gone_from_the_disk(demo, app):
    (app.site.storage.root / "demo-pkg" / "demo_pkg-1.0.tar.gz").unlink()
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg")
    assert counts()["Package"] == 0


@pytest.mark.parametrize(
    ("version", "filename"), [("9", None), ("1.0", "nothing.whl"), ("2.0", "demo_pkg-1.0.tar.gz")]
)
def test_what_is_not_there_cannot_be_deleted_or_yanked(demo, app, version, filename):
    with pytest.raises(NotFound):
        packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", version, filename)
    with pytest.raises(NotFound):
        packages.yank(COMMAND_LINE, "demo-pkg", version, filename=filename)
    with pytest.raises(NotFound):
        packages.delete(app.site.storage, COMMAND_LINE, "unknown")
    assert counts()["File"] == 3


def test_an_unknown_status_is_refused(demo):
    with pytest.raises(InvalidInput, match="'gone' is none of active"):
        packages.set_status(COMMAND_LINE, "demo-pkg", "gone")


def test_every_change_has_its_line_and_its_serial(demo, app):
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0", "why")
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0", undo=True)
    packages.set_status(COMMAND_LINE, "demo-pkg", "deprecated", "old")
    packages.set_maintainer(COMMAND_LINE, "demo-pkg", "admin")
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", "2.0")
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", reason="all over")
    lines = list(Journal.select().where(Journal.package == "demo-pkg").order_by(Journal.id))
    assert [line.action for line in lines] == [
        "create project",
        *["upload"] * 3,
        "yank",
        "un-yank",
        "set status",
        "add maintainer",
        "delete release",
        "delete project",
    ]
    serials = [line.serial for line in lines]
    assert serials == sorted(serials)
    assert serials[-1] <= Serial.get().value
    assert (lines[1].who, lines[1].address) == ("developer", "127.0.0.1")


@pytest.mark.parametrize(
    ("versions", "latest"),
    [
        (["1.0", "2.0a0"], "1.0"),
        (["1.0rc1"], "1.0rc1"),
        (["1.0", "1.0.1.dev0"], "1.0"),
        (["1.0", "1.10", "1.9"], "1.10"),
        (["1.0", "1!0.5", "2.0"], "1!0.5"),
    ],
)
def test_the_latest_release_is_stable_and_highest(as_role, versions, latest):
    for version in versions:
        upload(as_role("developer"), *wheel_bytes(version=version))
    assert Package.get().latest_release.version == latest


def test_a_yanked_release_comes_last(demo):
    packages.yank(COMMAND_LINE, "demo-pkg", "2.0")
    assert [r.version for r in Package.get().sorted_releases] == ["1.0", "2.0"]


def test_dependencies_are_kept_one_by_one(as_role):
    requires = [
        "Other_Pkg>=2",
        'tests ; extra == "Dev_Tools"',
        "direct @ https://example.org/x.whl",
        'win ; sys_platform == "win32"',
    ]
    upload(as_role("developer"), *wheel_bytes(requires_dist=requires))
    rows = Dependency.select().order_by(Dependency.id)
    assert [(r.normalized_name, r.specifier, r.extra) for r in rows] == [
        ("other-pkg", ">=2", ""),
        ("tests", "", "dev-tools"),
        ("direct", "@ https://example.org/x.whl", ""),
        ("win", "", ""),
    ]
    assert rows[3].marker == 'sys_platform == "win32"'


def test_the_summary_of_the_project_is_that_of_its_latest_release(as_role):
    for version, summary in (("1.0", "first"), ("2.0", "second"), ("1.5", "between")):
        extra = f"Summary: {summary}"
        upload(as_role("developer"), *wheel_bytes(version=version, metadata_extra=extra))
    assert Package.get().summary == "second"
