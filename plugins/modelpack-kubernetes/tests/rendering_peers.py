"""Renders folders with Helm and with kubectl, in their own environment: a program, not a test.

    python rendering_peers.py '{"FOLDER": {"namespace": "default", "values": {}}}'
        ──► {"FOLDER": {"objects": [...], "said": [...]}} on standard output

A folder with ``Chart.yaml`` is linted and rendered by Helm, any other is built by ``kubectl kustomize``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_WARNING = 2


def rendered(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the objects of a folder, and what the checker said."""
    if (folder / "Chart.yaml").is_file():
        return _by_helm(folder, asked["namespace"], asked["values"])
    kubectl = str(Path(sys.executable).parent / "kubectl")
    words = [kubectl, "kustomize", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return {"objects": _loaded([done.stdout]), "said": done.stderr.splitlines()}


def _by_helm(folder: Path, namespace: str, values: dict[str, Any]) -> dict[str, Any]:
    """Lint and render a chart as Helm would for a release in the namespace."""
    from helm_python import Chart, lint

    report = lint(folder, values, namespace=namespace, kube_version="v1.36.0")
    said = [one for one in report["messages"] if one["severity"] >= _WARNING]
    with Chart.load(folder) as chart:
        made = chart.render(values, name="any-name", namespace=namespace)
    texts = [text for path, text in sorted(made.items()) if path.endswith(".yaml")]
    return {"objects": _loaded(texts), "said": [*map(str, said), *report["errors"]]}


def _loaded(texts: list[str]) -> list[Any]:
    import yaml

    return [one for text in texts for one in yaml.safe_load_all(text) if one]


if __name__ == "__main__":
    print(
        json.dumps({one: rendered(Path(one), how) for one, how in json.loads(sys.argv[1]).items()})
    )
