"""``modelpack completion``: words that a shell offers.

    shell ──modelpack __complete WORDS…──► candidates, one a line

The scripts hold no words themselves, so they never go stale: the program is asked each time.  Tags
and deployments come from the files of this machine; nothing is imported for them that is slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console

if TYPE_CHECKING:
    from typer._click import Command as AnyCommand

_BASH = """\
_modelpack() {
    local line=${COMP_LINE:0:COMP_POINT} words last IFS=$' \\t\\n'
    read -r -a words <<< "$line"    # cut at blanks, not at the colons of tags
    [[ $line == *[[:space:]] ]] && words+=("")
    last=${words[${#words[@]}-1]}
    IFS=$'\\n'
    COMPREPLY=($(modelpack __complete -- "${words[@]:1}" 2>/dev/null))
    # Bash only replaces what stands behind the colon.
    if [[ $last == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${last%:*}:"}")
    fi
}
complete -o default -F _modelpack modelpack
"""
_ZSH = """\
#compdef modelpack
_modelpack() {
    local -a found
    found=("${(@f)$(modelpack __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
# As a file in $fpath this text is the function's own body; sourced, it has to be announced.
if [[ $funcstack[1] == _modelpack ]]; then _modelpack "$@"; else compdef _modelpack modelpack; fi
"""
_FISH = """\
function __modelpack_complete
    set -l words (commandline -opc) (commandline -ct)
    modelpack __complete -- $words[2..-1] 2>/dev/null
end
complete -c modelpack -a '(__modelpack_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_BUNDLES = {
    "serve",
    "batch",
    "inspect",
    "tag",
    "delete",
    "export",
    "containerize",
    "deploy",
    "list",
    "sign",
    "verify",
    "push",
    "diff",
}


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish")],
) -> None:
    """
    $ source <(modelpack completion bash)

    Print the completion script of a shell.

    For every new shell: in bash add the line above to ~/.bashrc; in zsh write the script to a file
    '_modelpack' in a folder of $fpath; in fish write it to ~/.config/fish/completions/modelpack.fish.
    """
    from modelpack.errors import UsageError

    if shell not in SCRIPTS:
        raise UsageError(f"no completion for the shell '{shell}'", hint="give bash, zsh or fish")
    console.out(SCRIPTS[shell].rstrip())


def complete(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD")] = None,
) -> None:
    """Print what may stand in place of the last word."""
    from modelpack.errors import ModelpackError

    typed = words or [""]
    try:
        found = candidates(context.find_root().command, typed)
    except (ModelpackError, OSError):
        return  # somebody is typing: no error may come in between
    for word in found:
        console.out(word)


def candidates(root: AnyCommand, words: list[str]) -> list[str]:
    """Return the words that may stand in place of the last of ``words``, sorted."""
    command = root
    path: list[str] = []
    for word in words[:-1]:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            if not hasattr(command, "commands"):
                break
            continue
        command, path = inner, [*path, word]
    before, last = (words[-2] if len(words) > 1 else ""), words[-1]
    if hasattr(command, "commands") and not last.startswith("-"):
        found = [name for name, one in command.commands.items() if not one.hidden]
    elif last.startswith("-"):
        found = [name for p in command.params for name in p.opts if name.startswith("--")]
        found += ["--help", "--verbose"]
    else:
        found = _values(path, before)
    return sorted(word for word in set(found) if word.startswith(last))


def _values(path: list[str], before: str) -> list[str]:
    """Return values for an argument or for the option ``before``."""
    if before in ("-o", "--format"):
        return ["json", "text"]
    if before in ("-t", "--template") and path == ["init"]:
        from modelpack.cli.scaffold import template_names

        return template_names()
    if before in ("-t", "--target"):
        from modelpack.deploy.catalog import installed

        return installed().names
    if path == ["completion"]:
        return list(SCRIPTS)
    if path[:1] == ["deployments"]:
        from modelpack.deploy.records import all_records

        return [record.name for record in all_records()]
    if before.startswith("-") or not path:
        return []
    if path[-1] == "undelete":
        from modelpack.store import Kind, Store

        kind = Kind.MODEL if path[0] == "models" else Kind.BUNDLE
        return [str(one.tag) for one in Store().deleted(kind)]
    if path[0] == "models" or path[0] in _BUNDLES:
        from modelpack.store import Kind, Store

        kind = Kind.MODEL if path[0] == "models" else Kind.BUNDLE
        entries = Store().list(kind)
        return [str(entry.tag) for entry in entries] + [entry.tag.name for entry in entries]
    return []
