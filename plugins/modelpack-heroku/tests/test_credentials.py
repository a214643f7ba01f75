"""Whose key asks, out of the places that Heroku's own command line has."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelpack_heroku.credentials import check_file, key_of

from modelpack.errors import CredentialsError, UsageError


def test_a_file_stands_above_the_variable_and_that_above_netrc(tmp_path: Path) -> None:
    netrc, file = tmp_path / "netrc", tmp_path / "key"
    netrc.write_text("machine api.heroku.com login me@example.org password of-netrc\n")
    file.write_text("of-a-file\n")
    environ = {"NETRC": str(netrc)}

    assert key_of(None, environ) == "of-netrc"
    assert key_of(None, {**environ, "HEROKU_API_KEY": "of-a-variable"}) == "of-a-variable"
    assert key_of(str(file), {**environ, "HEROKU_API_KEY": "of-a-variable"}) == "of-a-file"


def test_no_key_is_said_with_where_it_would_be(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine git.heroku.com login me password other\n")
    for place in ("nowhere", "netrc"):
        with pytest.raises(CredentialsError) as caught:
            key_of(None, {"NETRC": str(tmp_path / place)})
        assert "HEROKU_API_KEY" in str(caught.value.hint)


def test_a_damaged_netrc_is_named(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine\nlogin of password\n}{")
    with pytest.raises(CredentialsError, match="netrc' cannot be read"):
        key_of(None, {"NETRC": str(tmp_path / "netrc")})


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_what_is_no_key_is_never_sent_nor_shown(key: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        key_of(None, {"HEROKU_API_KEY": key})
    assert key not in caught.value.message


def test_a_file_without_a_key_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, said in (("empty", "is empty"), ("none", "no such file"), ("bytes", "is not text")):
        with pytest.raises(UsageError, match=said):
            check_file(str(tmp_path / name))
