"""Names that AWS takes, made of names that modelpack takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelpack_aws.wanted import Wanted, stack_name, tag_value

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,61}[a-z0-9_-]", fullmatch=True)

# CreateStack's StackName and CreateRepository's repositoryName, from their API references.
STACK = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")
REPOSITORY = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")


def wanted(name: str) -> Wanted:
    return Wanted(name=name, bundle="digits:1", revision="0" * 12)


@given(NAMES)
def test_every_name_gives_a_stack_and_a_repository(name: str) -> None:
    assert STACK.fullmatch(stack_name(name))
    assert REPOSITORY.fullmatch(wanted(name).repository)


@given(NAMES, NAMES)
def test_two_names_never_share_a_stack(one: str, other: str) -> None:
    assert (one == other) == (stack_name(one) == stack_name(other))
    assert (one == other) == (wanted(one).repository == wanted(other).repository)


@pytest.mark.parametrize("name", ["digits", "digits-2"])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert stack_name(name) == f"modelpack-{name}"
    assert wanted(name).repository == f"modelpack/{name}"


def test_tags_have_only_what_every_service_takes() -> None:
    assert tag_value("team=ml; cost#7\n" + "x" * 300) == ("team=ml- cost-7-" + "x" * 300)[:256]
