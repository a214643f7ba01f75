"""What a deployment remembers in its config vars, and what of them is its own."""

from __future__ import annotations

from dataclasses import replace

from modelpack_heroku.kept import MOST, MOST_BYTES, Kept, Trial, foreign

from modelpack.deploy import Entry

from .heroku_cases import spec


def entry(unit: str, **env: str) -> Entry:
    return Entry(spec=spec("a", **env), image="sha256:1", unit=unit)


def test_what_was_healthy_comes_back_from_its_text() -> None:
    kept = Kept().healthy(entry("1")).healthy(entry("2"))

    assert Kept.read(kept.text()) == kept
    assert kept.settled is not None
    assert kept.settled.since is not None


def test_the_same_apply_is_kept_once_and_the_oldest_go() -> None:
    kept = Kept()
    for number in range(MOST + 3):
        kept = kept.healthy(entry(str(number))).healthy(entry(str(number)))
    assert [one.unit for one in kept.entries] == [str(n) for n in range(3, MOST + 3)]


def test_older_ones_give_way_until_the_text_fits() -> None:
    kept = Kept()
    for number in range(5):
        kept = kept.healthy(entry(str(number), BIG="x" * 3000))

    text = kept.text()
    assert len(text) <= MOST_BYTES
    assert [one.unit for one in Kept.read(text).entries] == ["2", "3", "4"]


def test_a_trial_comes_back_from_its_text() -> None:
    trial = Trial(entry=entry("1"), former="release", dynos=3)
    assert Trial.read(trial.text()) == trial
    scaled = replace(trial, is_scaling=True)
    assert Trial.read(scaled.text()) == scaled


def test_what_cannot_be_read_is_nothing() -> None:
    for text in (None, "", "{}", "[]", "7", '{"entries": 1}', '{"entry": {}, "former": 1}'):
        assert Kept.read(text) == Kept()
        assert Trial.read(text) is None


def test_variables_that_nobody_of_ours_has_set_are_foreign() -> None:
    config = {"MODELPACK_KEPT": "1", "MODELPACK_TAG": "1", "MINE": "1", "DATABASE_URL": "1"}

    assert foreign(config, entry("1", MINE="1")) == {"DATABASE_URL": "1"}
    assert foreign(config, None) == {"MINE": "1", "DATABASE_URL": "1"}
