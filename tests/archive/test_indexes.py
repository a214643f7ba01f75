from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelpack.archive.indexes import index_settings


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own and no other file of pip's."""
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "none")}


def write_config(home: dict[str, str], text: str) -> None:
    file = Path(home["HOME"]) / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_variables_become_arguments(home: dict[str, str]) -> None:
    found = index_settings(
        home
        | {
            "PIP_INDEX_URL": "http://a.example/simple",
            "PIP_EXTRA_INDEX_URL": "http://b.example http://c.example",
            "PIP_FIND_LINKS": "/wheels",
            "PIP_TRUSTED_HOST": "a.example",
            "PIP_NO_INDEX": "1",
        }
    )
    assert found.arguments == (
        "--index-url=http://a.example/simple",
        "--extra-index-url=http://b.example",
        "--extra-index-url=http://c.example",
        "--find-links=/wheels",
        "--allow-insecure-host=a.example",
        "--index-strategy=unsafe-first-match",
        "--no-index",
    )


def test_several_indexes_are_searched_in_turn(home: dict[str, str]) -> None:
    """uv alone would stop at the first index that has any version of a package."""
    environ = home | {"PIP_EXTRA_INDEX_URL": "http://b.example"}
    assert "--index-strategy=unsafe-first-match" in index_settings(environ).arguments

    chosen = index_settings(environ | {"UV_INDEX_STRATEGY": "first-index"})
    assert chosen.arguments == ("--extra-index-url=http://b.example",)


def test_files_are_read_and_variables_win(home: dict[str, str]) -> None:
    write_config(
        home,
        "[global]\nindex-url = http://file.example\nfind_links =\n    /one\n    /two\n"
        "[install]\nno-index = yes\n[freeze]\nfind-links = /never\n",
    )
    found = index_settings(home | {"PIP_INDEX_URL": "http://variable.example"})
    assert found.arguments == (
        "--index-url=http://variable.example",
        "--find-links=/one",
        "--find-links=/two",
        "--no-index",
    )


def test_a_file_that_is_named_counts_more_and_none_means_none(
    home: dict[str, str], tmp_path: Path
) -> None:
    write_config(home, "[global]\nindex-url = http://file.example\n")
    (tmp_path / "own.conf").write_text("[global]\nindex-url = http://own.example\n")
    named = index_settings(home | {"PIP_CONFIG_FILE": str(tmp_path / "own.conf")})
    assert named.arguments == ("--index-url=http://own.example",)
    assert index_settings(home | {"PIP_CONFIG_FILE": os.devnull}).arguments == ()


def test_who_set_up_uv_keeps_that(home: dict[str, str]) -> None:
    environ = home | {"PIP_INDEX_URL": "http://a.example", "UV_INDEX_URL": "http://b.example"}
    assert index_settings(environ).arguments == ()


def test_a_value_that_begins_with_a_dash_stays_a_value(home: dict[str, str]) -> None:
    found = index_settings(home | {"PIP_FIND_LINKS": "--offline"})
    assert found.arguments == ("--find-links=--offline",)


def test_certificates_and_timeouts_go_by_the_environment(home: dict[str, str]) -> None:
    environ = home | {"PIP_CERT": "/certs.crt", "PIP_DEFAULT_TIMEOUT": "99"}
    found = index_settings(environ)
    assert dict(found.environment) == {"SSL_CERT_FILE": "/certs.crt", "UV_HTTP_TIMEOUT": "99"}
    own = index_settings(environ | {"SSL_CERT_FILE": "/mine", "UV_HTTP_TIMEOUT": "1"})
    assert own.environment == ()


def test_a_broken_file_of_pips_is_left_to_pip(home: dict[str, str]) -> None:
    write_config(home, "not an ini file")
    assert index_settings(home).arguments == ()
