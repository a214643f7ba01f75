"""The policy file is read strictly, and silence never means more than the file says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import ConfigError
from modelpack.store import Entry
from modelpack.trust import load_policy, policy_file
from modelpack.trust.policy import Rule

Write = Callable[[str], Path]

WHOLE = """
keys:
  release:
    file: keys/release.pub
    names: [digits, "fraud-*"]
    until: 2030-12-31
  lab:
    file: /etc/lab.pub
    files_only: true
rules:
  - names: ["lab-*"]
    require_signature: [deploy]
  - names: ["*"]
    require_signature: [serve, pull]
    code_models: refuse
"""


def test_no_file_asks_for_nothing(make_bundle: Any) -> None:
    policy = load_policy()
    assert (policy.source, policy.keys, policy.rules) == (None, (), ())
    assert policy.rule_for(make_bundle()) == Rule(names=("*",))


def test_file_says_which_keys_and_which_rules(write_policy: Write) -> None:
    file = write_policy(WHOLE)
    policy = load_policy()
    assert policy.source == file == policy_file()
    release, lab = policy.keys
    assert (release.name, release.file) == ("release", file.parent / "keys" / "release.pub")
    assert (release.names, release.until) == (("digits", "fraud-*"), date(2030, 12, 31))
    assert (lab.file, lab.names, lab.files_only) == (Path("/etc/lab.pub"), ("*",), True)
    assert [rule.require_signature for rule in policy.rules] == [{"deploy"}, {"serve", "pull"}]
    assert [rule.refuses_code_models for rule in policy.rules] == [False, True]


def test_first_rule_that_fits_counts(
    write_policy: Write, make_bundle: Any, make_model: Any
) -> None:
    write_policy(WHOLE)
    policy = load_policy()
    assert policy.rule_for(make_bundle("lab-1")) is policy.rules[0]
    assert policy.rule_for(make_bundle("digits")) is policy.rules[1]
    assert policy.rule_for(make_model("lab-1")) is policy.rules[1], "a model is 'models/lab-1'"


def test_key_is_for_the_names_that_it_is_given(
    write_policy: Write, make_bundle: Any, make_model: Any
) -> None:
    write_policy(WHOLE)
    release, lab = load_policy().keys
    entries: list[Entry] = [make_bundle("digits"), make_bundle("fraud-eu"), make_bundle("digits2")]
    assert [release.is_for(entry) for entry in entries] == [True, True, False]
    assert not release.is_for(make_model("digits"))
    assert lab.is_for(make_model("digits"))


def test_variable_names_another_file(
    write_policy: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_policy("rules: nonsense")
    other = tmp_path / "other.yaml"
    other.write_text("rules: []\n")
    monkeypatch.setenv("MODELPACK_TRUST", str(other))
    assert load_policy().source == other
    other.unlink()
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_policy()
    assert "nothing is trusted" in str(caught.value.hint)


def test_folder_or_link_to_nothing_is_no_policy_and_no_silence(write_policy: Write) -> None:
    file = write_policy("")
    assert load_policy().rules == ()
    file.unlink()
    file.symlink_to(file.parent / "gone")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy()
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kays: {}", ":1:1: kays: unknown key, did you mean 'keys'?"),
        ("keys: [a]", ":1:1: keys: must hold keys and values"),
        ("keys:\n  a: a.pub", ":2:3: keys.a: must hold keys and values"),
        ("keys:\n  a: {names: [x]}", ":2:3: keys.a.file: must name the file of a public key"),
        ("keys:\n  a: {file: x, nams: [x]}", ":2:16: keys.a.nams: unknown key, did you mean"),
        ("keys:\n  a: {file: x, names: x}", ":2:16: keys.a.names: must be a list of names"),
        ("keys:\n  a: {file: x, names: []}", ":2:16: keys.a.names: must be a list of names"),
        ("keys:\n  a: {file: x, until: 2030-02-30}", ":2:16: keys.a.until: must be a day"),
        ("keys:\n  a: {file: x, until: soon}", ":2:16: keys.a.until: must be a day"),
        ("keys:\n  a: {file: x, files_only: 1}", ":2:16: keys.a.files_only: must be true or"),
        ("rules: {}\nkeys:", ":1:1: rules: must be a list of rules"),
        ("rules:\n  - {code_models: refuse}", ":2:5: rules[0]: a rule needs 'names'"),
        ("rules:\n  - {names: [a], code_models: no}", ":2:18: rules[0].code_models: must be"),
        ("rules:\n  - {names: [a], require_signature: serve}", "must be a list of serve, pull"),
        ("rules:\n  - {names: [a], require_signature: [server]}", "did you mean 'serve'?"),
        ("rules: &a []", "anchors"),
        ("rules: [\x00]", "not valid YAML"),
    ],
)
def test_mistake_is_told_with_its_place(write_policy: Write, text: str, said: str) -> None:
    file = write_policy(text)
    with pytest.raises(ConfigError) as caught:
        load_policy()
    assert said in str(caught.value).replace(str(file), "")


def test_all_mistakes_are_told_at_once(write_policy: Write) -> None:
    write_policy("keys:\n  a: {}\nrules:\n  - {names: [a], more: 1}\n  - {}\n")
    with pytest.raises(ConfigError) as caught:
        load_policy()
    assert [mistake.line for mistake in caught.value.mistakes] == [2, 4, 5]


def test_long_file_and_bytes_that_are_no_text_are_refused(write_policy: Write) -> None:
    file = write_policy("# " + "x" * 1024 * 1024)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_policy()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_policy()
