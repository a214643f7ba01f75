"""What cfn-lint finds in a template: errors, warnings and notes."""

from __future__ import annotations

from cfnlint.api import lint
from cfnlint.config import ManualArgs
from modelpack_aws.template import Template


def findings(template: Template) -> list[str]:
    """Return every finding, as text."""
    found = lint(template.text(), config=ManualArgs(regions=["eu-west-1"], include_checks=["I"]))
    return [f"{one.rule.id} {one.message}" for one in found]
