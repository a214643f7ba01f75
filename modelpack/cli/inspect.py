"""``modelpack inspect``: what a bundle is, without running any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption, TagArgument
from modelpack.cli.list_ import entry_json

if TYPE_CHECKING:
    from modelpack.archive import LockedPackage
    from modelpack.manifest import BundleManifest
    from modelpack.store import Entry


def inspect_bundle(tag: TagArgument, form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack inspect digits

    Show what a bundle is made of.

    It is read and checked, and nothing of it is run.
    """
    from modelpack.archive.lock import read_lock
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store()
    entry = store.find(Tag.parse(tag), Kind.BUNDLE)
    manifest = store.bundle_manifest(entry)
    packages = read_lock(store.lock_text(entry))
    if form is Format.JSON:
        console.out_json(_as_json(entry, manifest, packages))
    else:
        console.facts(_as_facts(entry, manifest, packages))


def _as_json(
    entry: Entry, manifest: BundleManifest, packages: tuple[LockedPackage, ...]
) -> dict[str, Any]:
    return {
        **entry_json(entry),
        "layers": [
            {
                "path": layer.path,
                "media_type": layer.media_type,
                "digest": layer.digest,
                "size_bytes": layer.size,
            }
            for layer in entry.layers
        ],
        "carries_code": manifest.carries_code,
        "packages": [{"name": p.name, "version": p.version} for p in packages],
        "manifest": manifest.to_json(),
    }


def _as_facts(
    entry: Entry, manifest: BundleManifest, packages: tuple[LockedPackage, ...]
) -> dict[str, object]:
    from modelpack.config.units import format_size

    carries_code = "yes: loading its models runs code, serve it only if you trust it"
    files = sum(file.size for file in manifest.files)
    return {
        "tag": entry.tag,
        "digest": entry.digest,
        "size": format_size(entry.size_bytes),
        "created": (entry.created or "not known").replace("T", " "),
        "service": manifest.service or f"the model '{manifest.model}', as it is",
        "apis": [_api(api) for api in manifest.apis],
        "models": [_model(model) for model in manifest.models] or "none",
        "carries code": carries_code if manifest.carries_code else "no",
        "python": manifest.python,
        "packages": f"{len(packages)}: {_some(sorted(p.name for p in packages))}",
        "files": f"{len(manifest.files)}, {format_size(files)}: "
        f"{_some([file.path for file in manifest.files])}"
        if manifest.files
        else "none",
        "layers": [f"{layer.path}  {format_size(layer.size)}" for layer in entry.layers],
    }


def _api(api: Any) -> str:
    keys = ", ".join(api["input"].get("properties", {})) or "nothing"
    batch = api.get("batch")
    notes = [f"batches of up to {batch['max_batch_size']}"] if batch else []
    notes += ["streams"] if api.get("stream") else []
    return f"POST {api['route']}  {{{keys}}}" + (f"  ({', '.join(notes)})" if notes else "")


def _model(model: Any) -> str:
    return f"{model['name']}:{model['version']}  {model['framework']}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
