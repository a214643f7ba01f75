"""``modelpack inspect``: what a bundle is, without running any of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption, TagArgument
from modelpack.cli.list_ import entry_json

if TYPE_CHECKING:
    from modelpack.archive.described import Described, DescribedModel
    from modelpack.manifest import BundleManifest, FileRecord
    from modelpack.provenance import Provenance, Training

_MAX_DEPTH = 4
"""How far lists in lists are spelled out."""


def inspect_bundle(tag: TagArgument, form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack inspect digits

    Show what a bundle is made of, who built it and who signed it.

    It is read and checked, and nothing of it is run.
    """
    from modelpack.archive.described import describe
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store()
    found = describe(store, store.find(Tag.parse(tag), Kind.BUNDLE))
    if form is Format.JSON:
        console.out_json({**entry_json(found.entry), **found.to_json()})
    else:
        _show(found)


def _show(found: Described) -> None:
    """Print the facts, and a section for each list."""
    console.facts(_facts(found))
    files = found.files
    sections = {
        "apis": [line for api in found.manifest.apis for line in _api(api)],
        "models": [line for model in found.models for line in _model(model)],
        f"packages ({len(found.packages)})": [
            f"{one.name} {one.version}" + (f"  where {one.marker}" if one.marker else "")
            for one in found.packages
        ],
        f"files ({len(files)})": list(_columns([_file(file) for file in files])),
        "provenance": _provenance(found.provenance),
        "signatures": [one.describe() for one in found.signatures] or ["none"],
        "layers": list(_columns([_layer(layer) for layer in found.entry.layers])),
    }
    for title, lines in sections.items():
        if lines:
            console.section(title, lines)


def _facts(found: Described) -> dict[str, object]:
    from modelpack.config.units import format_size

    entry, manifest = found.entry, found.manifest
    running = [model.record.name for model in found.models if model.runs_code]
    code = f"yes, {', '.join(running)}: loading it runs code, serve it only if you trust it"
    where = f" on {', '.join(found.platforms)}" if found.platforms else ""
    facts: dict[str, object] = {
        "tag": entry.tag,
        "also": list(found.tags),
        "digest": entry.digest,
        "content": entry.content or "not known",
        "size": format_size(entry.size_bytes),
        "created": (entry.created or "not known").replace("T", " "),
        "service": _service(manifest),
        "carries code": code if running else "no",
        "python": manifest.python + where,
        "lock": f"{len(found.packages)} packages, sha256:{manifest.lock_sha256}",
        "sbom": f"{found.sbom.form}, {found.sbom.components} components" if found.sbom else "none",
        "settings": [
            f"{part}.{key}: {value}"
            for part, values in manifest.settings.items()
            for key, value in values.items()
        ],
    }
    return {key: _harmless(value) for key, value in facts.items() if value != []}


def _harmless(value: object) -> object:
    if isinstance(value, list):
        return [console.harmless(str(one)) for one in value]
    return console.harmless(str(value))


def _api(api: Any) -> Iterator[str]:
    batch = api.get("batch")
    notes = [f"batches of up to {batch['max_batch_size']}"] if batch else []
    notes += ["streams"] if api.get("stream") else []
    fields = api["input"].get("properties") or {}
    keys = f"{{{', '.join(fields)}}}"
    yield f"POST {api['route']}  {keys}" + (f"  ({', '.join(notes)})" if notes else "")
    required = api["input"].get("required")
    required = required if isinstance(required, list) else ()
    for name, schema in fields.items():
        yield f"  {name}: {_type(schema)}" + ("" if name in required else ", optional")
    yield f"  → {_type(api['output'])}"


def _service(manifest: BundleManifest) -> str:
    """Return what is served."""
    if (program := manifest.program) is not None:
        words = " ".join((program.path, *program.arguments))
        made_for = f", compiled for {program.platform}" if program.platform else ""
        return f"the program '{words}' on port {program.port}{made_for}"
    return manifest.service or f"the model '{manifest.model}', as it is"


def _type(schema: Any, depth: int = 0) -> str:
    """Return a JSON schema as a word or two; ``-o json`` has all of it."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return "…" if schema else "anything"
    if "x-dtype" in schema:
        return str(schema.get("description") or schema["x-dtype"])
    if isinstance(schema.get("enum"), list):
        return "one of " + ", ".join(map(repr, schema["enum"]))
    if isinstance(schema.get("anyOf"), list):
        return " or ".join(_type(one, depth + 1) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or {}, depth + 1)}"
    if isinstance(fields := schema.get("properties"), dict) and fields:
        return f"object {{{', '.join(fields)}}}"
    if "contentMediaType" in schema:
        return f"file, {schema['contentMediaType']}"
    return str(schema.get("type") or schema.get("title") or "anything")


def _model(model: DescribedModel) -> Iterator[str]:
    from modelpack.archive.bundled import tensor_text

    record = model.record
    code = ", runs code as it is loaded" if model.runs_code else ""
    yield f"{record.name}:{model.version}  {record.framework}{code}"
    yield f"  {model.digest}"
    yield from (f"  {tensor_text(tensor)}" for tensor in record.inputs)
    yield from (f"  → {tensor_text(tensor)}" for tensor in record.outputs)
    yield from (f"  {key}={value}" for key, value in sorted(record.labels.items()))
    yield from (f"  {line}" for line in training_lines(model.training))


def training_lines(training: Training) -> Iterator[str]:
    """Give metrics and training data, a line each."""
    from modelpack.archive.diff import short
    from modelpack.config.units import format_size

    if training.metrics:
        yield ", ".join(f"{name} {short(one)}" for name, one in training.metrics.items())
    for one in training.data:
        size = "" if one.size is None else f", {format_size(one.size)}"
        yield f"trained on {one.name}, sha256:{one.sha256}{size}"


def _provenance(found: Provenance | None) -> list[str]:
    if found is None:
        return ["not known"]
    by = found.builder
    tools = [f"modelpack {by.modelpack}"] * bool(by.modelpack)
    tools += [f"Python {by.python}"] * bool(by.python)
    lines = [f"built by {by.id}" + (f" as {by.user}" if by.user else "")]
    lines += [f"with {', '.join(tools)}"] * bool(tools)
    lines += [f"at {found.finished.replace('T', ' ')}"] if found.finished else []
    source = found.source
    if source is None:
        return [*lines, "of no known revision"]
    place = source.repository or "a repository without a public remote"
    branch = f", {source.branch.removeprefix('refs/heads/')}" if source.branch else ""
    lines.append(f"of commit {source.commit}{branch} of {place}")
    lines += [f"  not as committed: {path}" for path in source.changes]
    return lines


def _file(file: FileRecord) -> tuple[str, ...]:
    from modelpack.config.units import format_size

    kind = "program" if file.mode & 0o100 else ""
    return (file.path, format_size(file.size), f"sha256:{file.sha256}", kind)


def _layer(layer: Any) -> tuple[str, ...]:
    from modelpack.config.units import format_size

    return (layer.path, format_size(layer.size), layer.digest)


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Give rows as lines whose cells stand below each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
