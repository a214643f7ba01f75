"""``modelpack verify``: every byte of what is stored, then who signed it.

TAG, or --all ──Store.verify──► bytes ──► signatures, by --key or by the policy ──► 0, or 4
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption
from modelpack.errors import ModelpackError, RefusedError, UsageError

if TYPE_CHECKING:
    from modelpack.store import Entry, Store
    from modelpack.trust import PublicKey, Report

MODEL_PREFIX = "models/"


def verify(
    tag: Annotated[
        str | None,
        typer.Argument(metavar="TAG", help="NAME or NAME:VERSION; models/NAME for a saved model"),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="every bundle and every saved model of the store")
    ] = False,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="FILE", help="public key that must have signed; repeatable"),
    ] = None,
    unpack: Annotated[
        Path | None,
        typer.Option("--unpack", metavar="DIR", help="write files and signatures there, if valid"),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack verify digits:latest --key release.pub

    Read every byte of a bundle again, then check who signed it.

    Without --key the keys of the policy file are asked, and a signature is needed where the policy
    requires one. Nothing of the bundle is run. The status is 4 when a byte or a signature is not
    what it must be. With --unpack other tools can check the same: files go to DIR/bundle, signatures
    beside it.
    """
    from modelpack.store import Store
    from modelpack.trust import load_public_key

    if (tag is None) != everything:
        raise UsageError("TAG or --all is needed, and not both")
    if everything and unpack is not None:
        raise UsageError("--unpack is for one TAG")
    keys = [load_public_key(file) for file in key or ()]
    store = Store()
    if everything:
        _verify_all(store, keys, form)
        return
    _verify_one(store, entry_named(str(tag), store), keys, unpack, form)


def entry_named(text: str, store: Store) -> Entry:
    """Return the bundle of a tag, or the saved model of ``models/TAG``."""
    from modelpack.store import Kind
    from modelpack.tag import Tag

    if text.startswith(MODEL_PREFIX):
        return store.find(Tag.parse(text.removeprefix(MODEL_PREFIX)), Kind.MODEL)
    return store.find(Tag.parse(text), Kind.BUNDLE)


def _verify_one(
    store: Store, entry: Entry, keys: list[PublicKey], unpack: Path | None, form: Format
) -> None:
    from modelpack import trust

    report = trust.verify(store, entry, keys, progress=console.Steps())
    if form is Format.JSON:
        console.out_json(report.to_json())
    else:
        console.facts(_facts(report))
    if report.problem is not None:
        raise report.problem
    if unpack is not None:
        _unpack(store, report, unpack)


def _facts(report: Report) -> dict[str, object]:
    from modelpack.config.units import format_size

    done = report.verified
    required = ", ".join(report.required_for)
    return {
        "tag": report.entry.tag,
        "digest": report.entry.digest,
        "bytes": f"{done.files} files, {format_size(done.size)}: all as they were stored",
        "signatures": [one.describe() for one in report.signatures] or "none",
        "required": f"to {required}" if required else "no",
    }


def _unpack(store: Store, report: Report, folder: Path) -> None:
    bundle = store.unpack(report.entry, folder)
    for number, one in enumerate(report.signatures, 1):
        (folder / f"signature-{number}.json").write_bytes(store.read_referrer(one.referrer))
    console.note(f"files in '{bundle}', {len(report.signatures)} signatures beside it")


def _verify_all(store: Store, keys: list[PublicKey], form: Format) -> None:
    """Check every entry, whatever is wrong with those before it."""
    from modelpack import trust

    policy = trust.load_policy()
    policy.load_keys()  # what is wrong with those is no matter of the entries
    rows: list[tuple[str, str, str]] = []
    values: list[dict[str, Any]] = []
    failed: list[str] = []
    for entry in store.list():
        if entry.is_alias:
            continue
        name = f"{MODEL_PREFIX if entry.kind == 'model' else ''}{entry.tag}"
        problem: ModelpackError | None
        try:
            report = trust.verify(store, entry, keys, policy=policy, progress=console.Steps())
        except ModelpackError as error:
            problem = error
            rows.append((name, "damaged", "-"))
            values.append(_damaged(entry, error))
        else:
            problem = report.problem
            rows.append((name, "whole", _signed(report)))
            values.append(report.to_json())
        if problem is not None:
            failed.append(name)
            console.note(f"{name}: {problem.message}")
    if form is Format.JSON:
        console.out_json(values)
    elif rows:
        console.table(("tag", "bytes", "signatures"), rows)
    else:
        console.note("nothing is stored yet")
    if failed:
        raise RefusedError(
            f"{len(failed)} of {len(rows)} are not what they must be: {', '.join(failed[:5])}"
            f"{' and more' if len(failed) > 5 else ''}",
            hint="build, import or pull what is damaged again; 'modelpack verify TAG' says more",
        )


def _damaged(entry: Entry, error: ModelpackError) -> dict[str, Any]:
    facts = {"kind": str(entry.kind), "tag": str(entry.tag), "digest": entry.digest}
    return {**facts, "signatures": [], "required_for": [], "problem": error.message}


def _signed(report: Report) -> str:
    names = [one.key or "?" for one in report.signatures if one.is_valid]
    others = Counter(str(one.state) for one in report.signatures if not one.is_valid)
    said = [f"valid: {', '.join(names)}"] if names else []
    said += [f"{count} {state.replace('-', ' ')}" for state, count in others.items()]
    return "; ".join(said) or "none"
