"""``modelpack models``: the saved models of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.delete import delete_tag
from modelpack.cli.grammar import Format, FormatOption, TagArgument
from modelpack.cli.inspect import training_lines
from modelpack.cli.list_ import entry_json, show_entries
from modelpack.cli.undelete import undelete_model
from modelpack.errors import UsageError


def group(context: typer.Context) -> None:
    """
    $ modelpack models list

    Look at, convert and delete saved models.

    A model is saved in Python, by 'modelpack.models.save(NAME, model)', as train.py of the
    templates does.
    """
    if context.invoked_subcommand is None:
        console.out(context.get_help())


def list_models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="only models of this name")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack models list

    List the saved models, the newest last.
    """
    from modelpack.store import Kind, Store
    from modelpack.tag import check_name

    entries = Store().list(Kind.MODEL, check_name(name) if name else None)
    nothing = "no models yet: modelpack.models.save(NAME, model) saves one, in Python"
    show_entries(entries, form, nothing=nothing)


def inspect_model(tag: TagArgument, form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack models inspect digits-clf

    Show what a saved model is, without loading it.
    """
    from modelpack.archive.bundled import tensor_text
    from modelpack.config.units import format_size
    from modelpack.convert import read_conversion
    from modelpack.provenance.attach import training_of
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag
    from modelpack.trust import code_models, signature_state

    store = Store()
    entry = store.find(Tag.parse(tag), Kind.MODEL)
    record = store.model_record(entry)
    runs_code = bool(code_models(store, entry))  # whatever its record says of itself
    signatures = signature_state(store, entry)
    training = training_of(store, entry)
    conversion = read_conversion(store, entry)
    if form is Format.JSON:
        console.out_json(
            {
                **entry_json(entry),
                "record": record.to_json(),
                "runs_code": runs_code,
                "metrics": dict(training.metrics),
                "data": [one.to_json() for one in training.data],
                "conversion": conversion,
                "signatures": [one.to_json() for one in signatures],
            }
        )
        return
    carries_code = "yes: loading it runs code, serve it only if you trust it"
    facts = {
        "tag": entry.tag,
        "digest": entry.digest,
        "size": format_size(entry.size_bytes),
        "framework": record.framework,
        "carries code": carries_code if runs_code else "no",
        "inputs": [tensor_text(tensor) for tensor in record.inputs] or "not known",
        "outputs": [tensor_text(tensor) for tensor in record.outputs] or "not known",
        "needs": list(record.requirements) or "nothing",
        "labels": [f"{k}={v}" for k, v in sorted(record.labels.items())] or "none",
        "training": list(training_lines(training)) or "not known",
        "converted": _conversion(conversion) if conversion else "no",
        "signatures": [one.describe() for one in signatures] or "none",
        "files": [f"{file.path}  {format_size(file.size)}" for file in record.files],
    }
    console.facts({key: _harmless(value) for key, value in facts.items()})


def convert_model(
    tag: TagArgument,
    *,
    to: Annotated[str, typer.Option("--to", metavar="onnx", help="the form that is wanted")],
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=".npy, .npz or .jsonl with rows that both must answer alike; default: random ones",
        ),
    ] = None,
    rows: Annotated[int, typer.Option(metavar="COUNT", help="how many random rows")] = 256,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="NUMBER",
            help="largest difference of an answer that passes; relative where answers are above 1",
        ),
    ] = 1e-4,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="of the new model; default: with -onnx behind"),
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="default: made of the content")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="load the model though its files carry code")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack models convert digits-clf --to onnx

    Turn a saved model into ONNX and prove that it answers the same.

    Takes models of scikit-learn, XGBoost, LightGBM and PyTorch; what comes of them carries no code
    and is served without any. Both are asked the same rows, and the new one is refused when its
    answers differ too much. The original stays. scikit-learn's files carry code: '--allow-code' says
    that you trust where they came from.
    """
    from modelpack.convert import convert
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag
    from modelpack.trust import check

    if to != "onnx":
        raise UsageError(f"models cannot be converted to '{to}'", hint="--to onnx is what there is")
    if allow_code:  # it runs then, as if it were served
        store = Store()
        check(store, store.find(Tag.parse(tag), Kind.MODEL), "serve")
    made = convert(
        Tag.parse(tag),
        name=name,
        version=version,
        samples=samples,
        rows=rows,
        tolerance=tolerance,
        allow_code=allow_code,
    )
    if form is Format.JSON:
        console.out_json(made.to_json())
        return
    kind = "random rows" if made.samples == "random" else f"rows of {samples}"
    console.note(f"checked on {made.rows} {kind}: largest difference {made.difference}")
    console.out(str(made.tag))


def delete_model(tag: TagArgument) -> None:
    """
    $ modelpack models delete digits-clf:0a1b2c3d4e5f

    Delete a saved model.

    For a week 'modelpack models undelete' brings it back; 'modelpack gc' frees its space at once.
    Bundles that were built with it keep it: they hold what they need.
    """
    from modelpack.store import Kind

    delete_tag(tag, Kind.MODEL)


def _harmless(value: object) -> object:
    if isinstance(value, list):
        return [console.harmless(str(one)) for one in value]
    return console.harmless(str(value))


def _conversion(said: dict[str, Any]) -> list[str]:
    """Return what the statement about a conversion says, a line each."""
    check, tools = said["check"], said["tools"]
    difference = f"{check['largest_difference']:.2g}" if check["where"] else "none"
    return [
        f"from {said['source']['tag']}, {said['source']['digest']}",
        f"by {', '.join(f'{tool} {version}' for tool, version in sorted(tools.items()))}",
        f"checked on {check['rows']} rows: {check['samples']}",
        f"largest difference {difference}, {check['tolerance']:g} allowed",
    ]


COMMANDS = {
    "list": list_models,
    "inspect": inspect_model,
    "convert": convert_model,
    "delete": delete_model,
    "undelete": undelete_model,
}
