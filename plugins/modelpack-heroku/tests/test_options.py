"""A wrong option is said before anything is planned."""

from __future__ import annotations

import pytest
from modelpack_heroku.target import HerokuTarget

from modelpack.errors import UsageError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"app": "My_App"}, "cannot be the name of an app"),
        ({"app": "x" * 25}, "cannot be the name of an app"),
        ({"app": "9app"}, "cannot be the name of an app"),
        ({"endpoint": "api.heroku.com"}, "is no URL"),
        ({"endpoint": "http://api.heroku.com"}, "no URL that a key may go to"),
        ({"registry": "host/path"}, "without a slash"),
        ({"preboot": "maybe"}, "must be yes or no, got 'maybe'"),
        ({"team": ""}, "is no value for it"),
        ({"team": "a b\n"}, "is no value for it"),
        ({"token_file": "/nowhere/at/all"}, "cannot be read: no such file"),
        ({"tokenfile": "x"}, "has no option 'tokenfile'"),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HerokuTarget.from_options(options)


def test_options_that_can_be_come_back_and_say_where_it_is() -> None:
    given = {"app": "vision", "endpoint": "http://127.0.0.1:1", "preboot": "no", "team": "ours"}
    target = HerokuTarget.from_options(given)

    assert target.options == given
    assert target.whereabouts == {"app": "vision", "endpoint": "http://127.0.0.1:1"}
