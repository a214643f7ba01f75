"""Templates are values: the same calls give the same bytes."""

from __future__ import annotations

import json

import pytest
from modelpack_aws.template import MOST_BYTES, Template, arn, without_none

from modelpack.errors import DeployError


def made(names: list[str]) -> Template:
    template = Template(description="a test")
    for name in names:
        template.add(name, "AWS::SNS::Topic", {"TopicName": name, "KmsMasterKeyId": None})
    return template


def test_the_order_of_the_calls_does_not_show() -> None:
    assert made(["A", "B"]).text() == made(["B", "A"]).text()
    assert made(["A", "B"]).body() == made(["B", "A"]).body()


def test_what_is_none_is_left_out_at_any_depth() -> None:
    assert without_none({"a": None, "b": [{"c": None, "d": 0}]}) == {"b": [{"d": 0}]}
    assert made(["A"]).resources["A"]["Properties"] == {"TopicName": "A"}


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="'A' is there already"):
        made(["A", "A"])


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a" * 256])
def test_a_logical_id_has_letters_and_digits(name: str) -> None:
    with pytest.raises(ValueError, match="no logical id"):
        made([name])


def test_a_template_that_no_request_can_carry_is_refused() -> None:
    template = made(["A"])
    template.metadata["long"] = "x" * MOST_BYTES
    with pytest.raises(DeployError, match="bytes, CloudFormation takes 51200"):
        template.body()


def test_both_forms_say_the_same() -> None:
    template = made(["A"])
    template.parameter("Image", "what runs", Default="x")
    template.output("Url", "where", arn("sns", "a"))
    assert json.loads(template.text()) == json.loads(template.body()) == template.to_json()
