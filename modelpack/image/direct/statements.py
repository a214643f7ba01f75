"""What is said about an image beside it: its bill of materials, and where it comes from.

    bundle's SBOM, base's Debian packages ──► CycloneDX 1.6 of the image ──┐
    bundle, base, lock, each by digest ──► in-toto statement (SLSA 1) ─────┴─► manifests with a subject

Both go to the registry or layout that the image goes to, as OCI referrers, and change nothing about its
digest.  Neither has a time in it: building the same again says the same again.

Facts: CycloneDX 1.6 (ECMA-424); in-toto Statement 1 and SLSA provenance 1; OCI image specification 1.1
(``subject``, ``artifactType``); package URLs of the type ``deb``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.sbom import SCHEMA, sbom_bytes
from modelpack.archive.wheelhouse import applying
from modelpack.image.direct.assembling import BASE_NAME, DirectImage
from modelpack.image.direct.source import Statement
from modelpack.image.plan import ImagePlan
from modelpack.manifest import SBOM_FILE, BundleManifest, canonical_json
from modelpack.provenance.attach import IN_TOTO_TYPE, PREDICATE_ANNOTATION, builder
from modelpack.provenance.statement import PREDICATE_TYPE, STATEMENT_TYPE
from modelpack.registry.base import Document
from modelpack.store import DOC_TYPE, Store
from modelpack.store.base import MANIFEST_TYPE, TOP
from modelpack.store.referrers import referrer_bytes
from modelpack.store.untar import read_tar

SBOM_TYPE = "application/vnd.cyclonedx+json"
"""Artifact type and media type of a bill of materials in CycloneDX's JSON (IANA)."""
BUILD_TYPE = "urn:modelpack:build:image:1"


def statements(image: DirectImage, store: Store, name: str) -> tuple[Statement, ...]:
    """Return what is said about an image; ``name`` is how it is called in the statement.

    Raises DigestMismatchError when the bundle is damaged.
    """
    manifest = store.bundle_manifest(image.plan.entry)
    return (
        _referring(image, sbom_of(image, store, manifest), SBOM_TYPE, {}),
        _referring(
            image,
            provenance_of(image, manifest, name),
            IN_TOTO_TYPE,
            {PREDICATE_ANNOTATION: PREDICATE_TYPE},
        ),
    )


def sbom_of(image: DirectImage, store: Store, manifest: BundleManifest) -> bytes:
    """Return the bill of materials: what the bundle's own has for this platform, and the base."""
    plan = image.plan
    lock = read_lock(store.lock_text(plan.entry))
    installed = [] if plan.program else [*applying(lock, plan.platform, plan.python)]
    service = str(manifest.service or manifest.model or plan.entry.tag.name)
    own = _bundle_sbom(plan, store) or sbom_bytes(service, plan.python, lock, ())
    value: dict[str, Any] = json.loads(own)
    refs = {_ref(package) for package in lock} - {_ref(package) for package in installed}
    components = [one for one in value.get("components", ()) if _key(one) not in refs]
    components += _base_components(image)
    components.sort(key=lambda one: str(one["bom-ref"]))
    names = [str(one["bom-ref"]) for one in components]
    # Its own digest stays out: a change of code alone leaves the bill as it is, and nothing to send.
    top = {**value["metadata"]["component"], "type": "container"}
    content = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": top},
        "components": components,
        "dependencies": [
            {"ref": top["bom-ref"], "dependsOn": names},
            *({"ref": name} for name in names),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, canonical_json(content).decode())
    return canonical_json({**content, "serialNumber": f"urn:uuid:{serial}"})


def provenance_of(image: DirectImage, manifest: BundleManifest, name: str) -> bytes:
    """Return the statement of where an image comes from."""
    plan = image.plan
    who = builder()
    versions = {"modelpack": who.modelpack, "python": who.python}
    parts = [
        {"name": f"bundle/{plan.entry.tag}", "digest": _sha256(plan.entry.digest)},
        {"name": _base_name(image), "digest": _sha256(image.base_digest)},
        {"name": "requirements.lock", "digest": {"sha256": manifest.lock_sha256}},
    ]
    asked = {"bundle": str(plan.entry.tag), "platform": plan.platform.name, "python": plan.python}
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": _sha256(image.digest)}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": asked,
                    "resolvedDependencies": parts,
                },
                "runDetails": {
                    "builder": {
                        "id": who.id,
                        "version": {key: one for key, one in versions.items() if one},
                    },
                    "metadata": {"modelpack_user": who.user} if who.user else {},
                },
            },
        }
    )


def _referring(
    image: DirectImage, data: bytes, kind: str, annotations: Mapping[str, str]
) -> Statement:
    blob = Document(data, kind).blob
    manifest = referrer_bytes(
        image.manifest.blob, blob, artifact_type=kind, media_type=kind, annotations=annotations
    )
    return Statement(Document(manifest, MANIFEST_TYPE), blob, data)


def _bundle_sbom(plan: ImagePlan, store: Store) -> bytes | None:
    """Return the bill of materials that the bundle holds."""
    for layer in plan.entry.layers:
        if layer.media_type == DOC_TYPE:
            with store.open_blob(layer.digest) as blob:
                for found, content in read_tar(blob, f"'{layer.path}' of '{plan.entry.tag}'"):
                    if found.path == f"{TOP}/doc/{SBOM_FILE}":
                        return b"".join(content.chunks())
    return None


def _base_components(image: DirectImage) -> list[dict[str, Any]]:
    """Return the base, and the Debian packages that it says it has."""
    name = _base_name(image)
    system = image.facts.system
    base = {
        "type": "container",
        "bom-ref": "base",
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": image.base_digest.removeprefix("sha256:")}],
    }
    found: list[dict[str, Any]] = [base]
    if "ID" in system:
        told = {"name": system["ID"], "version": system.get("VERSION_ID", "")}
        described = {"description": system["PRETTY_NAME"]} if "PRETTY_NAME" in system else {}
        found.append(
            {"type": "operating-system", "bom-ref": "operating-system", **told, **described}
        )
    vendor = quote(system.get("ID", "debian"), safe="")
    release = f"{system['ID']}-{system['VERSION_ID']}" if "VERSION_ID" in system else ""
    for package, version, arch in image.facts.packages:
        about = [f"arch={quote(arch, safe='')}"] if arch else []
        about += [f"distro={quote(release, safe='')}"] if release else []
        purl = f"pkg:deb/{vendor}/{quote(package, safe='')}@{quote(version, safe='')}"
        purl += f"?{'&'.join(about)}" if about else ""
        found.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": package,
                "version": version,
                "purl": purl,
            }
        )
    return found


def _base_name(image: DirectImage) -> str:
    return str(image.manifest.value.get("annotations", {}).get(BASE_NAME, "base"))


def _ref(package: LockedPackage) -> tuple[str, str, str]:
    return package.name, package.version, package.marker or ""


def _key(component: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what tells a package of the lock from others of its name."""
    marker = str(component.get("bom-ref", "")).partition("#")[2]
    return str(component.get("name")), str(component.get("version")), marker


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
