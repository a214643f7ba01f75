"""A command that is told to end tidies up as after Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.cli import applying, signals
from modelpack.cli.grammar import Format
from modelpack.config.settings import DeploySettings
from modelpack.deploy import rollout, survey
from modelpack.deploy.local import LocalTarget
from modelpack.store import Entry

ENDING = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {one: signal.signal(one, signal.SIG_DFL) for one in ENDING}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def end_by(one: signal.Signals) -> None:
    os.kill(os.getpid(), one)
    time.sleep(10)
    raise AssertionError("it went on")


@pytest.mark.parametrize("one", ENDING)
def test_an_apply_that_is_told_to_end_leaves_nothing(bundle: Entry, one: signal.Signals) -> None:
    reached = []

    def prepare(*_: object) -> None:
        reached.append(one)
        end_by(one)

    target = LocalTarget(prepare=prepare)  # type: ignore[arg-type]  it never returns
    plan = rollout.plan_deployment(target, rollout.spec_for(bundle, DeploySettings(port=0)))
    with pytest.raises(KeyboardInterrupt):
        applying.apply_now(target, plan, yes=True, form=Format.TEXT)

    assert reached
    assert survey.list_deployments().statuses == ()
    left = Path(os.environ["MODELPACK_HOME"]).glob("run/deployments/*")
    assert list(left) == []
    assert [signal.getsignal(each) for each in ENDING] == [signal.SIG_DFL] * 2


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals.as_interrupts():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
