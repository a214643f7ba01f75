"""How deployments are, in the text that Prometheus reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelpack.deploy import Replicas, State, Status, exposition

COUNTS = {"decisions": 9, "changes": 4, "wakes": 2, "sleeps": 1, "held": 21}
ASLEEP = Status(
    name="words",
    target="docker",
    state=State.RUNNING,
    restarts=3,
    replicas=Replicas(awake=0, wanted=0, most=4, in_flight=0.0, counts=COUNTS),
)
FIXED = Status(name='a"b\\c', target="local", state=State.FAILED)


def samples(*statuses: Status) -> dict[tuple[str, str], float]:
    text = exposition.text_of(statuses)
    return {
        (one.name.removeprefix("modelpack_deployment_"), one.labels["deployment"]): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_a_service_that_sleeps_is_up_and_what_was_counted_is_told() -> None:
    found = samples(ASLEEP)
    assert found["up", "words"] == 1
    assert [found[f"replicas_{one}", "words"] for one in ("awake", "wanted", "most")] == [0, 0, 4]
    assert {key: found[f"{key}_total", "words"] for key in COUNTS} == COUNTS
    assert found["restarts", "words"] == 3


def test_where_the_number_is_fixed_only_its_state_is_told() -> None:
    assert samples(FIXED) == {("up", FIXED.name): 0, ("restarts", FIXED.name): 0}


def test_each_metric_has_one_head_whatever_the_order_of_deployments() -> None:
    text = exposition.text_of([ASLEEP, FIXED])
    assert text == exposition.text_of([FIXED, ASLEEP])
    heads = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads)) == 11
    assert exposition.text_of([]) == ""


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "modelpack.prom"
    file.write_text("before")
    exposition.write(file, "after\n")
    assert (file.read_text(), oct(file.stat().st_mode)[-3:]) == ("after\n", "644")
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        exposition.write(tmp_path / "none" / "modelpack.prom", "x")
    assert list(tmp_path.iterdir()) == []
