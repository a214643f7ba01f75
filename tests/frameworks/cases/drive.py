"""Runs in an environment of a framework's own: saves a model there, loads it in a clean one.

python drive.py save CASE FOLDER      trains and saves; FOLDER: model/, samples.npz, answers.npz
python drive.py convert CASE FOLDER   saves and converts to ONNX
python drive.py load FOLDER           loads FOLDER/model, asks it the samples, says the difference

Each prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from modelpack.frameworks.base import Predicts
from modelpack.frameworks.catalog import framework, framework_of, load_model, read_record
from modelpack.frameworks.compare import difference


def save(case: str, folder: Path) -> dict[str, object]:
    os.environ["MODELPACK_HOME"] = str(folder / "home")
    os.environ["MODELPACK_CACHE"] = str(folder / "cache")
    from modelpack import models

    made = import_module(f"case_{case}").make(folder)
    adapter = framework_of(made["model"])
    assert isinstance(adapter, Predicts)
    tags = [
        models.save("model", made["model"], options=made.get("options"), sample=made["sample"])
        for _ in range(2)
    ]
    shutil.copytree(models.folder(tags[0]), folder / "model")
    record = read_record(folder / "model")
    # What the user has in hand, before anything was saved.
    answers = made.get("answers") or adapter.predict(made["model"], made["sample"])
    np.savez(folder / "samples.npz", **made["sample"])
    np.savez(folder / "answers.npz", **answers)
    return {
        "framework": record.framework,
        "carries_code": record.carries_code,
        "requirements": record.requirements,
        "inputs": record.inputs,
        "outputs": record.outputs,
        "is_same_twice": tags[0] == tags[1],
    }


def convert(case: str, folder: Path) -> dict[str, object]:
    os.environ["MODELPACK_HOME"] = str(folder / "home")
    os.environ["MODELPACK_CACHE"] = str(folder / "cache")
    from modelpack import models
    from modelpack.convert import convert as to_onnx

    made = import_module(f"case_{case}").make(folder)
    tag = models.save("model", made["model"], options=made.get("options"), sample=made["sample"])
    first, second = (to_onnx(tag, allow_code=True) for _ in range(2))
    return first.to_json() | {"is_same_twice": first.tag == second.tag}


def load(folder: Path) -> dict[str, object]:
    record = read_record(folder / "model")
    adapter = framework(record.framework)
    assert isinstance(adapter, Predicts)
    model = load_model(folder / "model")
    with np.load(folder / "samples.npz") as samples, np.load(folder / "answers.npz") as answers:
        found = difference(dict(answers), adapter.predict(model, dict(samples)))
    return {"largest": found.largest, "where": found.where}


def main() -> None:
    if sys.argv[1] in ("save", "convert"):
        work = save if sys.argv[1] == "save" else convert
        said = work(sys.argv[2], Path(sys.argv[3]))
    else:
        said = load(Path(sys.argv[2]))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
