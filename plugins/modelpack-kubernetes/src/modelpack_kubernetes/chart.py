"""A deployment as a Helm chart: the same objects, with what people change taken out into values.

    Wanted ──marks in place of values──► objects ──YAML──► marks become {{ .Values.… }} ──► templates/
                    └──► values.yaml: image, replicas, resources, scaling, env, the way in

With the values as they are, in the namespace that was asked for, the chart renders to the very
objects that ``manifests`` gives (a test compares), but for the annotation with the spec, since values
may be changed, and for the names of Knative's revisions, for the same reason.  Objects keep their names whatever the release is called.

Facts: Helm documentation, "Charts" (Chart.yaml, names of values), "Template Functions"; Helm sets
``app.kubernetes.io/managed-by`` of an object's own labels to itself.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelpack_kubernetes.manifests import checked, manifests
from modelpack_kubernetes.wanted import CONTAINER_PORT, Wanted
from modelpack_kubernetes.words import SPEC, Json
from modelpack_kubernetes.workload import given_variables
from modelpack_kubernetes.yaml_text import as_yaml

# Words that are nothing but letters, so that YAML has no quotes around them.
_MARK = "Qvalue{}Qend"
_BLOCK = "Qblock{}Qend"
_LIST = "QlistEnvQend"
_NAMESPACE, _HOSTNAME = "qnamespaceq", "qhostnameq"
_SCALE = "autoscaling.knative.dev/{}-scale"

_SCALARS: Mapping[str, str] = {
    "Image": "{{ .Values.image | quote }}",
    "Replicas": "{{ .Values.replicas }}",
    "Min": "{{ .Values.scaling.min }}",
    "Max": "{{ .Values.scaling.max }}",
    "MinText": "{{ .Values.scaling.min | quote }}",
    "MaxText": "{{ .Values.scaling.max | quote }}",
    "Target": "{{ .Values.scaling.inFlight | quote }}",
    "TargetNumber": "{{ .Values.scaling.inFlight }}",
    "Class": "{{ .Values.ingress.className | quote }}",
    "Tls": "{{ .Values.ingress.tlsSecret | quote }}",
}
"""What stands in place of a whole value."""

_ENV = """\
{{- range $name, $value := .Values.env }}
@- name: {{ $name }}
@  value: {{ $value | quote }}
{{- end }}
"""


def files(wanted: Wanted, head: str) -> dict[str, bytes]:
    """Return the chart's files by their path; ``head`` are comments before the values."""
    checked(wanted)
    values, objects = _marked(wanted)
    found = {"Chart.yaml": as_yaml(_chart(wanted)).encode()}
    found["values.yaml"] = (head + as_yaml(values)).encode()
    found["templates/NOTES.txt"] = _notes(wanted).encode()
    for one in objects:
        found[f"templates/{one['kind'].lower()}.yaml"] = _template(one).encode()
    return found


def _notes(wanted: Wanted) -> str:
    port = f":{CONTAINER_PORT}" if wanted.mode == "seldon" else ""
    words = {"name": wanted.name, "service": wanted.services[0], "port": port}
    return _NOTES.format(kind=_KINDS[wanted.mode], **words)


def _chart(wanted: Wanted) -> Json:
    oldest = ".".join(map(str, wanted.options.kubernetes))
    return {
        "apiVersion": "v2",
        "name": wanted.name,
        "description": f"{wanted.bundle}, served by modelpack",
        "type": "application",
        "version": "0.1.0",
        "appVersion": wanted.bundle.partition(":")[2],
        "kubeVersion": f">={oldest}.0-0",
    }


def _marked(wanted: Wanted) -> tuple[Json, list[Json]]:
    """Return the values, and the objects with marks where these go."""
    hostname = wanted.options.hostname
    options = replace(wanted.options, namespace=_NAMESPACE, hostname=hostname and _HOSTNAME)
    objects = copy.deepcopy(manifests(replace(wanted, options=options)))
    values: Json = {"image": wanted.image} | ({"hostname": hostname} if hostname else {})
    for one in objects:
        one["metadata"].get("annotations", {}).pop(SPEC, None)
        for container in _containers(one):
            _mark_container(container, wanted, values)
        _mark_numbers(one, values)
        _mark_way_in(one, values)
        _mark_revisions(one, values)
    return values, objects


def _containers(one: Json) -> list[Json]:
    """Return the containers of the service; those of a transformer are not asked about."""
    spec = one.get("spec", {})
    if one["kind"] == "InferenceService":
        return list(spec["predictor"].get("containers", ()))
    if one["kind"] == "SeldonDeployment":
        return list(_component(spec)["spec"]["containers"])
    pods = spec.get("template", {}).get("spec", spec)
    return list(pods.get("containers", ()))


def _component(spec: Json) -> Json:
    """Return what a SeldonDeployment of a chart has: one predictor of one component."""
    [predictor] = spec["predictors"]
    [component] = predictor["componentSpecs"]
    found: Json = component
    return found


def _mark_container(container: Json, wanted: Wanted, values: Json) -> None:
    values["resources"] = container["resources"]
    values["env"] = given_variables(wanted)
    container["image"] = _MARK.format("Image")
    container["resources"] = _BLOCK.format("Resources")
    ours = [one for one in container["env"] if one["name"] not in values["env"]]
    container["env"] = [_LIST, *ours]


def _mark_numbers(one: Json, values: Json) -> None:
    """Take out how many replicas there are, wherever the kind of object says it."""
    for place in _numbered(one):
        if "replicas" in place:
            values["replicas"] = _taken(place, "replicas", "Replicas")
        for least, most in (("minReplicas", "maxReplicas"), ("minReplicaCount", "maxReplicaCount")):
            if most in place:
                limits = {"min": _taken(place, least, "Min"), "max": _taken(place, most, "Max")}
                values["scaling"] = limits
        if "triggers" in place:
            threshold = _taken(place["triggers"][0]["metadata"], "threshold", "Target")
            values["scaling"]["inFlight"] = int(threshold)
        if place.get("scaleMetric") == "concurrency":
            values["scaling"]["inFlight"] = _taken(place, "scaleTarget", "TargetNumber")


def _numbered(one: Json) -> list[Json]:
    """Return the parts of an object that may say how many replicas there are."""
    spec = one.get("spec", {})
    if one["kind"] == "InferenceService":
        return [spec["predictor"]]
    if one["kind"] == "SeldonDeployment":
        part = _component(spec)
        return [part, part.get("hpaSpec", {}), part.get("kedaSpec", {})]
    return [spec]


def _mark_way_in(one: Json, values: Json) -> None:
    if one["kind"] != "Ingress":
        return
    spec = one["spec"]
    values["ingress"] = {"className": _taken(spec, "ingressClassName", "Class")}
    for entry in spec.get("tls", ()):
        values["ingress"]["tlsSecret"] = _taken(entry, "secretName", "Tls")


def _mark_revisions(one: Json, values: Json) -> None:
    """Let Knative name the revisions: what is in them is known only with the values."""
    if not one["apiVersion"].startswith("serving.knative.dev/"):
        return
    metadata = one["spec"]["template"]["metadata"]
    del metadata["name"]
    one["spec"]["traffic"] = [{"latestRevision": True, "percent": 100}]
    values["scaling"] = {
        key: int(_taken(metadata["annotations"], _SCALE.format(key), f"{key.capitalize()}Text"))
        for key in ("min", "max")
    }


def _taken(place: Json, key: str, mark: str) -> Any:
    """Return a value, and leave a mark where it was."""
    value = place[key]
    place[key] = _MARK.format(mark)
    return value


def _template(one: Json) -> str:
    """Return the template of an object with marks."""
    # What looks like a template in the values themselves is text, such as a rule's '{{ $labels.api }}'.
    text = as_yaml(one).replace("{{", '{{ "{{" }}')
    for word, expression in _SCALARS.items():
        text = text.replace(_MARK.format(word), expression)
    text = re.sub(
        rf"^( *)(- )?resources: {_BLOCK.format('Resources')}\n", _block, text, flags=re.MULTILINE
    )
    text = re.sub(rf"^( *)- {_LIST}\n", _listed, text, flags=re.MULTILINE)
    for word, place in ((_HOSTNAME, ".Values.hostname"), (_NAMESPACE, ".Release.Namespace")):
        text = re.sub(rf"(?<=: |- ){word}$", f"{{{{ {place} | quote }}}}", text, flags=re.MULTILINE)
        text = text.replace(word, f"{{{{ {place} }}}}")
    return text


def _block(match: re.Match[str]) -> str:
    space = match[1] + ("  " if match[2] else "")
    start = f"{match[1]}{match[2] or ''}resources:"
    return f"{start}\n{{{{- toYaml .Values.resources | nindent {len(space) + 2} }}}}\n"


def _listed(match: re.Match[str]) -> str:
    return _ENV.replace("@", match[1])


_NOTES = """\
{name} answers inside the cluster at http://{service}.{{{{ .Release.Namespace }}}}{port}
  kubectl --namespace {{{{ .Release.Namespace }}}} get {kind} {name}
"""

_KINDS = {
    "deployment": "deployment",
    "kserve": "inferenceservice",
    "knative": "services.serving.knative.dev",
    "seldon": "seldondeployment",
}
