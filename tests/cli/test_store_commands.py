"""``list``, ``inspect``, ``tag``, ``delete``, ``export``, ``import`` and ``models``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelpack import models
from modelpack.store import Entry, Kind, Store

Cli = Callable[..., Any]


def test_list_shows_a_line_a_bundle(cli: Cli, bundle: Entry) -> None:
    lines = cli("list").out.splitlines()
    assert lines[0].split() == ["TAG", "DIGEST", "SIZE", "CREATED"]
    assert lines[1].split()[:2] == ["hello:1", bundle.digest[7:19]]
    assert len(lines) == 2


def test_list_as_json_has_the_facts_in_full(cli: Cli, bundle: Entry) -> None:
    (row,) = json.loads(cli("list", "-o", "json").out)
    assert row["tag"] == "hello:1"
    assert row["digest"] == bundle.digest
    assert row["size_bytes"] == bundle.size_bytes
    assert (row["kind"], row["is_alias"], row["damage"]) == ("bundle", False, None)


def test_list_can_be_of_one_name(cli: Cli, bundle: Entry) -> None:
    assert "hello:1" in cli("list", "hello").out
    assert cli("list", "other").out == ""
    cli("list", "Not A Name").failed_well(2, "bad-tag")


def test_empty_store_says_what_to_do_and_prints_nothing(cli: Cli) -> None:
    done = cli("list")
    assert (done.status, done.out) == (0, "")
    assert "modelpack build" in done.err
    assert json.loads(cli("list", "-o", "json").out) == []


def test_tag_gives_a_bundle_one_more_name(cli: Cli, bundle: Entry) -> None:
    assert cli("tag", "hello:1", "production").out == "hello:production\n"
    assert cli("tag", "hello", "hello:stable").out == "hello:stable\n"
    digests = {row["digest"] for row in json.loads(cli("list", "-o", "json").out)}
    assert digests == {bundle.digest}


def test_deleting_an_extra_tag_leaves_the_bundle(cli: Cli, bundle: Entry) -> None:
    cli("tag", "hello:1", "production")
    done = cli("delete", "hello:production")
    assert "the bundle stays" in done.err
    assert [entry.tag for entry in Store().list(Kind.BUNDLE)] == [bundle.tag]


def test_deleted_bundle_is_gone(cli: Cli, bundle: Entry) -> None:
    done = cli("delete", "hello:1")
    assert (done.status, done.out) == (0, "")
    assert "deleted 'hello:1', " in done.err
    assert "for 7 days 'modelpack undelete hello:1' brings it back" in done.err
    assert Store().list() == []


def test_undelete_brings_back_a_bundle_until_gc(cli: Cli, bundle: Entry) -> None:
    cli("delete", "hello")
    assert cli("undelete", "hello").out == "hello:1\n"
    assert Store().list() == [bundle]
    cli("undelete", "hello:1").failed_well(5, "conflict")

    cli("delete", "hello:1")
    cli("gc")
    cli("undelete", "hello:1").failed_well(3, "not-found")


def test_gc_says_what_goes_and_why_before_it_does(cli: Cli, bundle: Entry) -> None:
    assert "nothing to remove" in cli("gc", "--plan").err
    cli("delete", "hello")

    plan = cli("gc", "--plan")
    assert plan.out.splitlines()[0].split() == ["WHAT", "NAME", "FREES", "WHY"]
    assert "can be restored until" in plan.out
    value = json.loads(cli("gc", "--plan", "-o", "json").out)
    (item,) = value["items"]
    assert (item["what"], item["name"], value["is_removed"]) == ("bundle", "hello:1", False)

    blobs = Store().root / "blobs" / "sha256"
    before = sum(path.stat().st_size for path in blobs.iterdir())
    done = json.loads(cli("gc", "-o", "json").out)
    assert done == {**value, "is_removed": True}
    assert before == value["size_bytes"]
    assert list(blobs.iterdir()) == []


def test_archive_brings_the_same_bundle_to_another_store(
    cli: Cli, bundle: Entry, tmp_path: Path
) -> None:
    assert cli("export", "hello").out == "hello-1.modelpack\n"
    assert cli("export", "hello", "copy.modelpack").out == "copy.modelpack\n"
    elsewhere = {"MODELPACK_HOME": str(tmp_path / "elsewhere")}

    done = cli("import", "hello-1.modelpack", env=elsewhere)

    assert done.out == "hello:1\n"
    (row,) = json.loads(cli("list", "-o", "json", env=elsewhere).out)
    assert row["digest"] == bundle.digest


def test_archive_with_a_changed_byte_is_refused_and_nothing_stored(
    cli: Cli, bundle: Entry, tmp_path: Path
) -> None:
    cli("export", "hello", "bad.modelpack")
    data = bytearray((tmp_path / "bad.modelpack").read_bytes())
    data[data.index(b"def greet")] ^= 1
    (tmp_path / "bad.modelpack").write_bytes(data)
    elsewhere = {"MODELPACK_HOME": str(tmp_path / "elsewhere")}

    cli("import", "bad.modelpack", env=elsewhere).failed_well(4, "digest-mismatch")
    assert cli("list", env=elsewhere).out == ""


def test_damaged_bundle_is_listed_with_what_is_wrong(cli: Cli, bundle: Entry) -> None:
    manifest = Store().root / "blobs" / "sha256" / bundle.digest.removeprefix("sha256:")
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")

    done = cli("list")
    assert "damaged" in done.out
    assert "'hello:1' is damaged" in done.err
    cli("inspect", "hello").failed_well(4, "digest-mismatch")
    assert cli("delete", "hello:1").status == 0


def test_models_are_listed_inspected_and_deleted(cli: Cli) -> None:
    tag = models.save("words", {"a": 1}, version="1", labels={"size": "1"})
    assert cli("models", "list").out.splitlines()[1].split()[0] == str(tag)
    assert cli("list").out == ""

    shown = cli("models", "inspect", "words").out
    assert "framework     pickled" in shown
    assert "carries code  yes" in shown
    assert "labels        size=1" in shown
    value = json.loads(cli("models", "inspect", "words", "-o", "json").out)
    assert (value["kind"], value["record"]["framework"]) == ("model", "pickled")

    assert "deleted 'words:1'" in cli("models", "delete", "words").err
    assert json.loads(cli("models", "list", "-o", "json").out) == []
    assert cli("models", "undelete", "words").out == "words:1\n"
