"""Asks a new deployment of an endpoint before anybody else does.

    standing ──ask──► POST /score with ``azureml-model-deployment`` ──► notes, or DeployError

The endpoint's key is fetched for it and shown to nobody.

Facts: Azure Machine Learning, "Authenticate clients for online endpoints" (``listKeys``) and "Safe rollout
for online endpoints" (the header that chooses a deployment).
"""

from __future__ import annotations

import json

from modelpack.deploy import apis_of
from modelpack.deploy.samples import default_api, sample
from modelpack.errors import DeployError, UnreachableError
from modelpack_azure.ml_body import API, deployment_name
from modelpack_azure.ml_seen import Site, properties_of
from modelpack_azure.modes import Place, Standing

_KEY = "with a key ('az ml online-endpoint get-credentials')"


def ask(place: Place, site: Site, standing: Standing) -> tuple[str, ...]:
    """Send an example to the new deployment alone; raises DeployError when it fails."""
    entry, endpoint = standing.entry, standing.found[0]
    uri = properties_of(endpoint).get("scoringUri")
    if entry is None or not uri:
        return ("no request was made: the endpoint has no address yet",)
    api = default_api(apis_of(entry.spec.bundle))
    if api is None:
        return ("no request was made: the bundle is not in the store of this machine",)
    key = place.calls.post(f"{site.endpoint}/listKeys", API).get("primaryKey")
    headers = {
        "Content-Type": "application/json",
        "azureml-model-deployment": deployment_name(entry),
    }
    body = json.dumps(sample(api["input"])).encode()
    try:
        status, _ = place.calls.fetch(str(uri), token=str(key), body=body, headers=headers)
    except UnreachableError:
        return (f"no request was made: '{uri}' cannot be reached from here",)
    if status >= 500:
        raise DeployError(f"'{standing.name}' answers an example with HTTP {status}")
    said = f"the endpoint answers at {uri}, {_KEY}"
    if status >= 400:
        return (f"it refuses an example made from its schema with HTTP {status}", said)
    return (said,)
