"""The bill of materials inside a bundle, in the CycloneDX form (ECMA-424), version 1.6.

    lock   ──► a library component for each package: version, purl, hashes of its files
    models ──► a machine-learning-model component each: its files, what goes in and comes out
                   └─► bundle/doc/sbom.cdx.json, canonical JSON

It is a part of the bundle, so it must be the same for the same input: there is no time, no tool and
no host in it, and its serial number is made of its content.  For the same reason it is written here
and not by a library, whose next version could write it otherwise; tests hold it against the schema.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from modelpack.archive.bundled import tensor_text
from modelpack.archive.lockfile import LockedPackage
from modelpack.manifest import FileRecord, ModelRecord, canonical_json
from modelpack.store import Entry

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
SERVICE_REF = "service"


def sbom_bytes(
    service: str,
    python: str,
    packages: Sequence[LockedPackage],
    models: Sequence[tuple[Entry, ModelRecord]],
    programs: Sequence[FileRecord] = (),
) -> bytes:
    """Return the bill of materials of a bundle.

    service   what it serves, such as ``service:Digits``, or the name of a model; not the name of
              the bundle, which is no part of its content
    python    ``X.Y``
    programs  executables that are served as they are
    """
    components = [
        *(_model(entry, record) for entry, record in models),
        *(_package(package) for package in packages),
        *(_program(file) for file in programs),
    ]
    components.sort(key=lambda one: str(one["bom-ref"]))
    refs = [str(one["bom-ref"]) for one in components]
    content = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": SERVICE_REF,
                "name": service,
                "properties": [{"name": "modelpack:python", "value": python}],
            },
        },
        "components": components,
        "dependencies": [{"ref": SERVICE_REF, "dependsOn": refs}, *({"ref": ref} for ref in refs)],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, canonical_json(content).decode())
    return canonical_json({**content, "serialNumber": f"urn:uuid:{serial}"})


def _package(package: LockedPackage) -> dict[str, Any]:
    purl = f"pkg:pypi/{_quoted(package.name)}@{_quoted(package.version)}"
    marker = [{"name": "modelpack:marker", "value": package.marker}] if package.marker else []
    return _known(
        {
            "type": "library",
            # A lock may hold two versions of a package, each under a marker of its own.
            "bom-ref": f"{purl}#{package.marker}" if package.marker else purl,
            "name": package.name,
            "version": package.version,
            "purl": purl,
            "hashes": [_sha256(digest) for digest in sorted(package.hashes)],
            "properties": marker,
        }
    )


def _program(file: FileRecord) -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": f"file:{file.path}",
        "name": file.path.rpartition("/")[2],
        "hashes": [_sha256(file.sha256)],
    }


def _model(entry: Entry, record: ModelRecord) -> dict[str, Any]:
    files = sorted(record.files, key=lambda file: file.path)
    return _known(
        {
            "type": "machine-learning-model",
            "bom-ref": f"model:{record.name}",
            "name": record.name,
            "version": entry.tag.version,
            "purl": f"pkg:oci/{_quoted(record.name)}@{_quoted(entry.digest)}",
            "hashes": [_sha256(entry.digest)],
            "modelCard": _model_card(record),
            "properties": [
                {"name": "modelpack:carries_code", "value": str(record.carries_code).lower()},
                {"name": "modelpack:framework", "value": record.framework},
            ],
            "components": [
                {
                    "type": "file",
                    "bom-ref": f"model:{record.name}/{file.path}",
                    "name": file.path,
                    "hashes": [_sha256(file.sha256)],
                }
                for file in files
            ],
        }
    )


def _model_card(record: ModelRecord) -> dict[str, Any]:
    sides = {"inputs": record.inputs, "outputs": record.outputs}
    parameters = {
        side: [{"format": tensor_text(tensor)} for tensor in tensors]
        for side, tensors in sides.items()
        if tensors
    }
    return {"modelParameters": parameters} if parameters else {}


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _known(component: dict[str, Any]) -> dict[str, Any]:
    """Return the component without the keys that have nothing to say."""
    return {key: value for key, value in component.items() if value}
