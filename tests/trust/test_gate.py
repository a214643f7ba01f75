"""What the policy asks for is asked before anything is done, and a key counts only where it may."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from modelpack.errors import CodeModelError, ConfigError, NotFoundError, UntrustedError
from modelpack.store import Entry, Store
from modelpack.trust import Action, check, code_models, sign, verify
from modelpack.trust.envelope import BUNDLE_TYPE, seal
from modelpack.trust.files import file_digests
from modelpack.trust.statement import Statement

MakeBundle = Callable[..., Entry]
Write = Callable[[str], Path]
ALL = "[serve, pull, deploy, containerize]"


def rules(pair: Any, more: str = "", required: str = ALL) -> str:
    return (
        f"keys:\n  release: {{file: {pair.public_file}{more}}}\n"
        f'rules:\n  - {{names: ["*"], require_signature: {required}}}\n'
    )


@pytest.mark.parametrize("action", get_args(Action))
def test_unsigned_bundle_is_refused_where_a_signature_is_required(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any, action: Action
) -> None:
    entry = make_bundle()
    check(store, entry, action)
    write_policy(rules(release, required=f"[{action}]"))
    with pytest.raises(UntrustedError, match="no signature of 'digits:1' counts: it has none"):
        check(store, entry, action)
    for other in set(get_args(Action)) - {action}:
        check(store, entry, other)
    sign(store, entry, release.private)
    check(store, entry, action)


def test_signature_by_another_key_does_not_count(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any, lab: Any
) -> None:
    entry = make_bundle()
    sign(store, entry, lab.private)
    write_policy(rules(release))
    with pytest.raises(UntrustedError, match="none is by a key of the policy"):
        check(store, entry, "serve")


def test_signature_that_does_not_say_by_which_key_is_tried_with_all(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any, lab: Any
) -> None:
    entry = make_bundle()
    write_policy(rules(release))
    for pair in (lab, release):
        value = json.loads(store.read_referrer(sign(store, entry, pair.private)))
        for referrer in store.referrers(entry):
            store.detach(referrer)
        del value["verificationMaterial"]["publicKey"]["hint"]
        data = json.dumps(value).encode()
        store.attach(entry, artifact_type=BUNDLE_TYPE, media_type=BUNDLE_TYPE, data=data)
        if pair is lab:
            with pytest.raises(UntrustedError, match="none is by a key of the policy"):
                check(store, entry, "serve")
    check(store, entry, "serve")


def test_key_counts_only_for_its_names(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    ours, theirs = make_bundle("fraud-eu"), make_bundle("digits")
    for entry in (ours, theirs):
        sign(store, entry, release.private)
    write_policy(rules(release, ', names: ["fraud-*"]'))
    check(store, ours, "serve")
    with pytest.raises(UntrustedError, match="the key 'release' is not for that name"):
        check(store, theirs, "serve")


def test_key_that_stands_twice_counts_for_the_names_of_both(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    entry = make_bundle("digits")
    sign(store, entry, release.private)
    file = release.public_file
    write_policy(
        f"keys:\n  a: {{file: {file}, names: [other]}}\n  b: {{file: {file}, names: [digits]}}\n"
        'rules:\n  - {names: ["*"], require_signature: [serve]}\n'
    )
    check(store, entry, "serve")


def test_key_counts_until_the_end_of_its_last_day(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    entry = make_bundle()
    sign(store, entry, release.private)
    write_policy(rules(release, ", until: 2030-05-06"))
    check(store, entry, "serve", now=datetime(2030, 5, 6, 23, 59, tzinfo=UTC))
    with pytest.raises(UntrustedError, match="the key 'release' counted until 2030-05-06"):
        check(store, entry, "serve", now=datetime(2030, 5, 7, tzinfo=UTC))


def test_expired_signature_does_not_count(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    entry = make_bundle()
    sign(store, entry, release.private, last_day=date(2030, 5, 6))
    write_policy(rules(release))
    check(store, entry, "serve", now=datetime(2030, 5, 6, tzinfo=UTC))
    with pytest.raises(UntrustedError, match="that by 'release' is expired"):
        check(store, entry, "serve", now=datetime(2030, 5, 7, tzinfo=UTC))


def test_files_alone_count_only_where_the_policy_says_so(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    entry = make_bundle()
    statement = Statement(name="bundle", files=file_digests(store, entry))
    data = seal(statement.to_json(), release.private)
    store.attach(entry, artifact_type=BUNDLE_TYPE, media_type=BUNDLE_TYPE, data=data)
    write_policy(rules(release))
    with pytest.raises(UntrustedError, match="covers the files alone, not name and version"):
        check(store, entry, "serve")
    write_policy(rules(release, ", files_only: true"))
    check(store, entry, "serve")


def test_key_that_is_missing_or_a_policy_with_a_mistake_lets_nothing_through(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    entry = make_bundle()
    sign(store, entry, release.private)
    file = write_policy(rules(release).replace("release.pub", "gone.pub"))
    with pytest.raises(NotFoundError, match=r"no key '.*gone.pub'"):
        check(store, entry, "serve")
    file.write_text("rules: [")
    with pytest.raises(ConfigError):
        check(store, entry, "serve")


@pytest.mark.parametrize("action", get_args(Action))
def test_models_that_run_code_are_refused_by_flag_and_by_policy(
    store: Store, make_bundle: MakeBundle, make_model: Any, write_policy: Write, action: Action
) -> None:
    words = make_model("words", "pickled", True)
    entry = make_bundle(models=(words,), framework="pickled", carries_code=True)
    check(store, entry, action)
    with pytest.raises(CodeModelError, match=r"'words' \(pickled\)") as caught:
        check(store, entry, action, refuses_code_models=True)
    assert "--no-code-models refuses them" in str(caught.value.hint)
    write_policy('rules:\n  - {names: ["digits"], code_models: refuse}\n')
    with pytest.raises(CodeModelError) as caught:
        check(store, entry, action)
    assert "trust.yaml' refuses them" in str(caught.value.hint)
    check(store, make_bundle("plain", models=(make_model("clf"),)), action)


def test_record_that_calls_a_pickle_harmless_is_not_believed(
    store: Store, make_bundle: MakeBundle, make_model: Any
) -> None:
    liar = make_model("words", "pickled", False)
    entry = make_bundle(models=(liar,), framework="onnx", carries_code=False)
    assert [str(model) for model in code_models(store, entry)] == ["'words' (pickled)"]
    assert [str(model) for model in code_models(store, liar)] == ["'words' (pickled)"]


def test_form_that_nobody_knows_counts_as_code(
    store: Store, make_bundle: MakeBundle, make_model: Any
) -> None:
    entry = make_bundle(models=(make_model("odd", "from-the-future"),))
    assert [str(model) for model in code_models(store, entry)] == ["'odd' (from-the-future)"]
    assert code_models(store, make_bundle("b", models=(make_model("clf", "onnx"),))) == ()


def test_verify_reports_what_it_read(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    entry = make_bundle()
    report = verify(store, entry)
    assert (report.problem, report.signatures, report.required_for) == (None, (), ())
    assert report.verified.files == len(file_digests(store, entry))
    sign(store, entry, release.private)
    write_policy(rules(release, required="[pull, serve]"))
    report = verify(store, entry)
    assert (report.problem, report.required_for) == (None, ("serve", "pull"))
    assert report.to_json()["signatures"][0]["key"] == "release"


def test_verify_with_a_key_asks_for_that_key(
    store: Store, make_bundle: MakeBundle, release: Any, lab: Any
) -> None:
    entry = make_bundle()
    assert "it has none" in str(verify(store, entry, [release.public]).problem)
    sign(store, entry, lab.private)
    assert "none is by 'release'" in str(verify(store, entry, [release.public]).problem)
    assert verify(store, entry, [release.public, lab.public]).problem is None


def test_verify_finds_fault_with_a_broken_signature_of_a_known_key(
    store: Store, make_bundle: MakeBundle, write_policy: Write, release: Any
) -> None:
    """Nothing is required, but what claims to be by the key of this machine must hold."""
    one, other = make_bundle("a"), make_bundle("b")
    data = store.read_referrer(sign(store, one, release.private))
    store.attach(other, artifact_type=BUNDLE_TYPE, media_type=BUNDLE_TYPE, data=data)
    write_policy(f"keys:\n  release: {{file: {release.public_file}}}\n")
    assert verify(store, one).problem is None
    assert "it is of another bundle, 'a:1'" in str(verify(store, other).problem)
