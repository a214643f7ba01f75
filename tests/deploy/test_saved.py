"""A plan in a file is the same plan, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.deploy import Change, DeploymentSpec, Plan, saved
from modelpack.errors import DigestMismatchError, UsageError


def plan_of(spec: DeploymentSpec) -> Plan:
    change = Change(action="create", resource=f"thing/{spec.name}", after=spec.facts())
    return Plan(target="place", spec=spec, changes=(change,))


def test_a_kept_plan_is_the_same_plan(make_spec, tmp_path: Path) -> None:
    plan = plan_of(make_spec(A="b", secrets={"TOKEN": "env:TOKEN"}))
    file = tmp_path / "x.plan"
    saved.save(file, saved.SavedPlan(plan=plan, options={"where": "here"}, base="python:3.11"))
    found = saved.load(file)
    assert found.plan == plan
    assert (found.options, found.base) == ({"where": "here"}, "python:3.11")


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_plan_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.plan").write_bytes(data)
    with pytest.raises(UsageError, match="is not a kept plan"):
        saved.load(tmp_path / "x.plan")


def test_a_kept_plan_that_was_changed_is_refused(make_spec, tmp_path: Path) -> None:
    file = tmp_path / "x.plan"
    plan = plan_of(make_spec(A="b"))
    saved.save(file, saved.SavedPlan(plan=plan))
    file.write_text(file.read_text().replace('"A":"b"', '"A":"c"'))
    with pytest.raises(DigestMismatchError):
        saved.load(file)
