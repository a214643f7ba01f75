"""What a release is made of: variables by name, and what of them has to be sent."""

from __future__ import annotations

import pytest
from modelpack_heroku.body import MOST_BYTES, changed, check_size, replicas, variables

from modelpack.errors import UsageError

from .heroku_cases import spec


def test_variables_are_those_of_the_spec_and_say_whose_they_are() -> None:
    assert variables(spec("a", LEVEL="1", secrets={"T": "env:T"}), "heroku") == {
        "MODELPACK_DEPLOYMENT": "digits",
        "MODELPACK_TARGET": "heroku",
        "MODELPACK_TAG": "digits:a",
        "LEVEL": "1",
    }


def test_only_what_differs_is_sent_and_what_is_gone_goes() -> None:
    assert changed({"A": "1", "B": "1", "C": "1"}, {"A": "1", "B": "2", "D": ""}) == {
        "B": "2",
        "C": None,
        "D": "",
    }
    assert changed({"A": "1"}, {"A": "1"}) == {}


def test_bytes_are_counted_and_not_letters() -> None:
    check_size({"A": "x" * (MOST_BYTES - 1)})
    with pytest.raises(UsageError, match="room for 32768"):
        check_size({"A": "ä" * (MOST_BYTES // 2)})


def test_an_eco_dyno_that_may_sleep_is_one() -> None:
    assert [replicas(spec("a", min_replicas=n)) for n in (0, 1, 4)] == [1, 1, 4]
