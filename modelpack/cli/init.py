"""``modelpack init``: a new project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli import console


def init(
    name: Annotated[
        Path, typer.Argument(metavar="NAME", help="folder to make; its name is the bundle's")
    ],
    template: Annotated[
        str,
        typer.Option(
            "-t", "--template", metavar="NAME", help="onnx (default), sklearn or function"
        ),
    ] = "onnx",
) -> None:
    """
    $ modelpack init digits --template onnx

    Make a project from a template.

    The templates are onnx (a model exported to ONNX), sklearn (a scikit-learn pipeline) and function
    (plain Python, without a model). A folder that has something in it is left alone.
    """
    from modelpack.cli.scaffold import make_project

    files = make_project(name, template)
    for file in files:
        console.note(f"  {name / file}")
    console.out(name)
    next_step = "python train.py" if "train.py" in files else "modelpack serve"
    console.note(f"next: cd {name} && {next_step}")
