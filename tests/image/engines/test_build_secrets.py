from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from modelpack.errors import UsageError
from modelpack.image import BuildSecret
from modelpack.image.engines.build_secrets import IDS, read_secrets
from modelpack.image.engines.redaction import hider

TOKEN = "s3cret-token-0123"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("id=netrc,src=/home/me/.netrc", BuildSecret("netrc", Path("/home/me/.netrc"))),
        ("src=/a=b,id=pip.conf", BuildSecret("pip.conf", Path("/a=b"))),
        ("id=netrc,source=x", BuildSecret("netrc", Path("x"))),
        ("id=PIP_INDEX_URL,env=ACME", BuildSecret("PIP_INDEX_URL", "ACME")),
        ("id=PIP_INDEX_URL", BuildSecret("PIP_INDEX_URL", "PIP_INDEX_URL")),
    ],
)
def test_a_secret_is_named_by_what_it_is_for_and_where_it_is(
    text: str, secret: BuildSecret
) -> None:
    assert BuildSecret.parse(text) == secret


def test_the_home_folder_may_be_written_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert BuildSecret.parse("id=netrc,src=~/.netrc").source == Path("/home/me/.netrc")


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"netrc={TOKEN}",
        f"id=netrc,{TOKEN}",
        f"id=netrc,value={TOKEN}",
        f"src={TOKEN}",
        f"id=netrc,src=a,env={TOKEN}",
        f"id=netrc,id={TOKEN}",
        "id=netrc,src=",
    ],
)
def test_what_is_no_secret_is_refused_without_showing_it(text: str) -> None:
    """Somebody may have written the secret itself there."""
    with pytest.raises(UsageError) as caught:
        BuildSecret.parse(text)

    assert TOKEN not in f"{caught.value.message}{caught.value.hint}"
    assert "id=NAME,src=FILE" in (caught.value.hint or "")


def test_a_variable_that_is_not_set_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """``env=$TOKEN`` instead of ``env=TOKEN``."""
    with pytest.raises(UsageError, match="is empty") as caught:
        BuildSecret.parse(f"id=netrc,env={TOKEN}").read({})

    assert TOKEN not in f"{caught.value.message}{caught.value.hint}"


def test_a_secret_that_no_command_reads_is_refused() -> None:
    with pytest.raises(UsageError, match="reads a secret 'netcr'") as caught:
        BuildSecret("netcr", Path("x"))

    assert caught.value.hint == "did you mean 'netrc'?"
    with pytest.raises(UsageError) as caught:
        BuildSecret("aws", Path("x"))
    assert all(one in (caught.value.hint or "") for one in IDS)


@pytest.mark.parametrize("content", [b"", b" \n", b"a\0b", b"x" * 100_001])
def test_a_file_that_holds_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)

    with pytest.raises(UsageError, match="the secret 'netrc' is"):
        read_secrets([BuildSecret("netrc", file)])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read from the file '.*nowhere'"):
        BuildSecret("netrc", tmp_path / "nowhere").read()


def test_files_are_lent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_bytes(b"machine a login b password c\n")
    (tmp_path / "pip.conf").write_bytes(b"[global]\n")

    lent = read_secrets([BuildSecret(name, tmp_path / name) for name in ("netrc", "pip.conf")])

    assert lent == {"netrc": b"machine a login b password c\n", "pip.conf": b"[global]\n"}


def test_addresses_become_a_file_that_pip_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN", "https://me:p%40ss@a.example/simple\n")
    monkeypatch.setenv("MORE", "https://t@b.example/s  http://c.example/s")

    lent = read_secrets(
        [BuildSecret("PIP_INDEX_URL", "MAIN"), BuildSecret("PIP_EXTRA_INDEX_URL", "MORE")]
    )

    parser = configparser.RawConfigParser()
    parser.read_string(lent.pop("pip.conf").decode())
    assert parser["global"]["index-url"].split() == ["https://me:p%40ss@a.example/simple"]
    assert parser["global"]["extra-index-url"].split() == [
        "https://t@b.example/s",
        "http://c.example/s",
    ]
    assert lent == {}


def test_addresses_without_a_login_go_beside_the_secret_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pip is told of nothing else then: a mirror of everything must not be forgotten."""
    monkeypatch.setenv("MORE", "https://t@b.example/s")
    known = {"PIP_INDEX_URL": "https://mirror.example/simple"}

    lent = read_secrets([BuildSecret("PIP_EXTRA_INDEX_URL", "MORE")], known)

    assert b"index-url =\n    https://mirror.example/simple\n" in lent["pip.conf"]


@pytest.mark.parametrize(
    "address", ["mirror.example/simple", "file:///x", "https://a\x1b[31m.example", "-i"]
)
def test_what_is_no_address_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("MAIN", address)

    with pytest.raises(UsageError, match="no address of an index") as caught:
        read_secrets([BuildSecret("PIP_INDEX_URL", "MAIN")])

    assert address not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("netrc", "netrc"), "given twice"),
        (("pip.conf", "PIP_INDEX_URL"), "both given"),
    ],
)
def test_secrets_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, ids: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("X", "https://a.example")

    with pytest.raises(UsageError, match=message):
        read_secrets([BuildSecret(one, "X") for one in ids])


def test_a_log_shows_neither_the_secret_nor_its_password() -> None:
    hide = hider({"pip.conf": b"[global]\nindex-url = https://me:hunter%402x@a.example/s\n"})

    assert hide("looking at https://me:hunter%402x@a.example/s") == (
        "looking at https://me:****@a.example/s"
    )
    assert hide("the password hunter@2x") == "the password ****"
