"""Files that people read in review: as they are written, in the three forms.

What they should be stands in ``rendered/``; after a change on purpose ``write_rendered`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from modelpack_kubernetes.manifests import manifests
from modelpack_kubernetes.output import files

from modelpack.deploy import Rendered

from .wanted_specs import CASES, KEDA, wanted

FOLDER = Path(__file__).parent / "rendered"

READ: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "yaml": (
        {"cpu": 1, "memory_bytes": 2**30, "max_replicas": 4, "secrets": {"TOKEN": "env:TOKEN"}},
        {"monitoring": "monitoring"},
    ),
    "kustomize": ({"mode": "kserve", "in_flight": 4, "max_replicas": 3}, {}),
    "helm": (
        {"public": True, "max_replicas": 4, "env": {"GREETING": "hello"}},
        {"ingress": "nginx", "hostname": "digits.example.com", **KEDA},
    ),
}


def rendered(form: str) -> dict[str, bytes]:
    settings, options = READ[form]
    return files(wanted({**options, "format": form}, **settings))


def write_rendered() -> None:
    """Write the files that people read; for whoever has changed them on purpose."""
    for form in READ:
        Rendered(files=rendered(form)).write(FOLDER / form)


@pytest.mark.parametrize("form", READ)
def test_files_are_as_they_were_reviewed(form: str) -> None:
    reviewed = {
        str(file.relative_to(FOLDER / form)): file.read_text()
        for file in sorted((FOLDER / form).rglob("*"))
        if file.is_file()
    }
    assert {path: data.decode() for path, data in rendered(form).items()} == reviewed


@pytest.mark.parametrize("case", CASES)
def test_one_file_holds_all_objects(case: str) -> None:
    settings, options = CASES[case]
    asked = wanted(options, **settings)
    (name, data), *others = files(asked).items()
    assert (name, others) == ("manifests.yaml", [])
    assert list(yaml.safe_load_all(data)) == manifests(asked)


@pytest.mark.parametrize("form", ["yaml", "kustomize", "helm"])
@pytest.mark.parametrize("case", CASES)
def test_files_stay_below_one_folder_and_come_out_the_same(case: str, form: str) -> None:
    settings, options = CASES[case]
    asked = wanted({**options, "format": form}, **settings)
    assert Rendered(files=files(asked)).files == files(asked)


@pytest.mark.parametrize("form", ["yaml", "kustomize", "helm"])
def test_the_head_says_which_secrets_have_to_be_there(form: str) -> None:
    asked = wanted({"format": form}, secrets={"TOKEN": "env:TOKEN", "KEY": "k8s:keys/api.key"})
    text = b"\n".join(files(asked).values()).decode()
    assert "# The Secret 'keys' has to be there, with api.key (for KEY)." in text
    own = asked.secrets["TOKEN"].secret
    assert f"# The Secret '{own}' has to be there, with TOKEN (for TOKEN)." in text


def test_the_head_says_what_a_plan_would_warn_of() -> None:
    from modelpack_kubernetes.wanted import wanted_from

    from modelpack.deploy import DeploymentSpec, DeploySettings

    settings = DeploySettings(min_replicas=0)
    spec = DeploymentSpec(
        name="digits",
        bundle="digits:1",
        digest="sha256:" + "0" * 64,
        image="digits:1",
        settings=settings,
    )
    text = files(wanted_from(spec))["manifests.yaml"].decode()
    assert "# warning: nodes have to know the image 'digits:1'" in text
    assert "# warning: scaling.min: " in text


def test_a_chart_has_the_values_that_people_change() -> None:
    values = yaml.safe_load(rendered("helm")["values.yaml"])
    assert values == {
        "image": "registry.example/team/digits:1",
        "hostname": "digits.example.com",
        "resources": {},
        "env": {"GREETING": "hello"},
        "scaling": {"min": 1, "max": 4, "inFlight": 16},
        "ingress": {"className": "nginx"},
    }


def test_no_mark_is_left_in_a_chart() -> None:
    for settings, options in CASES.values():
        text = b"".join(files(wanted({**options, "format": "helm"}, **settings)).values()).decode()
        assert not any(
            mark in text for mark in ("Qvalue", "Qblock", "Qlist", "qnamespaceq", "qhost")
        )
