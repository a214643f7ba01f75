"""The InferenceGraph on the page about Kubernetes is one that KServe's definition takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from modelpack_kubernetes.words import resource_name

from .validated import mistakes

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "deploy-to-kubernetes.md"


def graph() -> dict[str, Any]:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [found] = [one for one in map(yaml.safe_load, blocks) if one.get("kind") == "InferenceGraph"]
    return dict(found)


def test_kserve_takes_it() -> None:
    assert mistakes(graph(), "1.37.0") == []
    wrong = graph()
    wrong["spec"]["nodes"]["root"]["steps"][0]["service"] = "x"
    assert "service" in mistakes(wrong, "1.37.0")[0]


def test_every_step_leads_somewhere_and_shares_are_whole() -> None:
    nodes = graph()["spec"]["nodes"]
    for node in nodes.values():
        steps = node["steps"]
        assert all(step["nodeName"] in nodes for step in steps if "nodeName" in step)
        named = [step["serviceName"] for step in steps if "serviceName" in step]
        assert [resource_name(one) for one in named] == named, "as a deployment is called there"
        if node["routerType"] == "Splitter":
            assert sum(step["weight"] for step in steps) == 100
