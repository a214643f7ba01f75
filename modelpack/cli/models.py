"""``modelpack models``: the saved models of the store."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.delete import delete_tag
from modelpack.cli.grammar import Format, FormatOption, TagArgument
from modelpack.cli.list_ import entry_json, show_entries
from modelpack.cli.undelete import undelete_model


def group(context: typer.Context) -> None:
    """
    $ modelpack models list

    Look at and delete saved models.

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
    from modelpack.config.units import format_size
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store()
    entry = store.find(Tag.parse(tag), Kind.MODEL)
    record = store.model_record(entry)
    if form is Format.JSON:
        console.out_json({**entry_json(entry), "record": record.to_json()})
        return
    carries_code = "yes: loading it runs code, serve it only if you trust it"
    console.facts(
        {
            "tag": entry.tag,
            "digest": entry.digest,
            "size": format_size(entry.size_bytes),
            "framework": record.framework,
            "carries code": carries_code if record.carries_code else "no",
            "inputs": [_tensor(tensor) for tensor in record.inputs] or "not known",
            "outputs": [_tensor(tensor) for tensor in record.outputs] or "not known",
            "needs": list(record.requirements) or "nothing",
            "labels": [f"{k}={v}" for k, v in sorted(record.labels.items())] or "none",
            "files": [f"{file.path}  {format_size(file.size)}" for file in record.files],
        }
    )


def delete_model(tag: TagArgument) -> None:
    """
    $ modelpack models delete digits-clf:0a1b2c3d4e5f

    Delete a saved model.

    For a week 'modelpack models undelete' brings it back; 'modelpack gc' frees its space at once.
    Bundles that were built with it keep it: they hold what they need.
    """
    from modelpack.store import Kind

    delete_tag(tag, Kind.MODEL)


def _tensor(tensor: Any) -> str:
    shape = ", ".join("?" if size is None else str(size) for size in tensor.get("shape") or ())
    return f"{tensor.get('name')}  {tensor.get('dtype')}[{shape}]"


COMMANDS = {
    "list": list_models,
    "inspect": inspect_model,
    "delete": delete_model,
    "undelete": undelete_model,
}
