"""Records are private, whole, and never more than a hint."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from modelpack import paths
from modelpack.deploy import records
from modelpack.deploy.records import Record
from modelpack.errors import ConflictError, TagError


def test_what_is_written_is_read() -> None:
    record = Record(name="digits", target="docker", options={"a": "b"}, details={"x": [1]})
    records.write(record)

    assert records.read("digits") == record
    assert records.all_records() == [record]


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_files_are_private_under_any_umask(umask: int) -> None:
    before = os.umask(umask)
    try:
        records.write(Record(name="digits", target="docker"))
    finally:
        os.umask(before)

    file = paths.deployments_dir() / "digits.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["digits.json"]


def test_a_link_in_place_of_a_record_is_replaced_not_followed(tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    records.make_private(paths.deployments_dir()).joinpath("digits.json").symlink_to(victim)

    records.write(Record(name="digits", target="docker"))

    assert victim.read_text() == "mine"
    assert records.read("digits") is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"target":"x","options":3,"details":{}}'])
def test_a_damaged_record_is_none(text: str) -> None:
    records.make_private(paths.deployments_dir()).joinpath("digits.json").write_text(text)

    assert records.read("digits") is None
    assert records.all_records() == []


def test_files_that_are_no_deployments_are_passed_over() -> None:
    records.make_private(paths.deployments_dir()).joinpath("Not A Name.json").write_text("{}")

    assert records.all_records() == []


@pytest.mark.parametrize("name", ["../x", "", "a/b", "."])
def test_a_name_is_checked_before_a_path_is_made(name: str) -> None:
    for act in (records.read, records.forget, lambda name: records.lock(name).__enter__()):
        with pytest.raises(TagError):
            act(name)


def test_details_stay_while_the_target_does() -> None:
    records.write(Record(name="digits", target="local", details={"pid": 1}))

    records.remember("digits", "local", {})
    assert records.read("digits").details == {"pid": 1}

    records.remember("digits", "docker", {})
    assert records.read("digits").details == {}


def test_one_at_a_time_changes_a_deployment() -> None:
    with (
        records.lock("digits"),
        records.lock("other"),
        pytest.raises(ConflictError, match="'digits' is being changed"),
        records.lock("digits"),
    ):
        pass
    with records.lock("digits"):
        pass


def test_a_lock_leaves_no_file() -> None:
    with records.lock("digits"):
        pass
    assert list(paths.deployments_dir().iterdir()) == []


def test_who_changes_what_is_shared_is_waited_for() -> None:
    """Other things are not; the file is private, and stays for who comes next."""
    order: list[str] = []

    def second() -> None:
        with records.alone("cluster"):
            order.append("second")

    other = threading.Thread(target=second)
    with records.alone("cluster"):
        other.start()
        with records.alone("another cluster"):
            order.append("first")
    other.join(60)

    assert order == ["first", "second"]
    (file, _) = sorted(paths.run_dir().glob("*.lock"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
