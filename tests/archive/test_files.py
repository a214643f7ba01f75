from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.files import collect_files
from modelpack.config.settings import Project
from modelpack.errors import BuildError, RefusedError, SecretFoundError

LayOut = Callable[..., Path]
KEY = "-----BEGIN " + "PRIVATE KEY-----\nMIIE\n"


def packed(root: Path, **settings: Any) -> list[str]:
    return [file.path for file in collect_files(Project(root=root, **settings)).files]


def test_what_tools_make_again_and_what_is_secret_is_left_out_and_said(lay_out: LayOut) -> None:
    left_out = {
        ".git/config": ".git/ (named like a secret, '.git')",
        ".env": ".env (named like a secret, '.env*')",
        ".aws/credentials": ".aws/ (named like a secret, '.aws')",
        "certs/server.key": "certs/server.key (named like a secret, '*.key')",
        "venv/pyvenv.cfg": "venv/ (a virtual environment)",
        "deep/er/my-env/pyvenv.cfg": "deep/er/my-env/ (a virtual environment)",
        "__pycache__/service.pyc": "__pycache__/ (ignored)",
        "pkg/old.pyc": "pkg/old.pyc (ignored)",
        "node_modules/x/index.js": "node_modules/ (ignored)",
        "dist/x.whl": "dist/ (ignored)",
        "build/lib/x.py": "build/ (ignored)",
        "hello.egg-info/PKG-INFO": "hello.egg-info/ (ignored)",
        ".ipynb_checkpoints/a.ipynb": ".ipynb_checkpoints/ (ignored)",
        ".DS_Store": ".DS_Store (ignored)",
        "hello-1.modelpack": "hello-1.modelpack (ignored)",
        "requirements.lock": "requirements.lock (ignored)",
        "modelpack.yaml": "modelpack.yaml (ignored)",
        ".modelpackignore": ".modelpackignore (ignored)",
    }
    kept = ["data/labels.txt", "pkg/__init__.py", "pkg/build/x.py", "service.py", "tests/test_a.py"]
    root = lay_out(dict.fromkeys([*left_out, *kept], ""))
    found = collect_files(Project(root=root, source=root / "modelpack.yaml"))
    assert [file.path for file in found.files] == kept
    assert set(found.skipped) == set(left_out.values())


def test_include_and_exclude_are_gitignore_patterns(lay_out: LayOut) -> None:
    root = lay_out(dict.fromkeys(["a.py", "src/b.py", "src/c.txt", "src/data/d.csv", "e.txt"], ""))
    assert packed(root, include=("*.py", "src/data")) == ["a.py", "src/b.py", "src/data/d.csv"]
    assert packed(root, exclude=("src/", "*.txt")) == ["a.py"]
    assert packed(root, exclude=("*.txt", "!e.txt")) == ["a.py", "e.txt", "src/b.py",
                                                         "src/data/d.csv"]  # fmt: skip


def test_the_ignore_file_takes_out_and_brings_back(lay_out: LayOut) -> None:
    root = lay_out(
        {"a.py": "", "b.py": "", "dist/c.py": "", ".modelpackignore": "# x\nb.py\n!dist/"}
    )
    assert packed(root) == ["a.py", "dist/c.py"]
    assert packed(root, exclude=("dist/",)) == ["a.py"]


def test_no_pattern_brings_a_secret_back_only_its_very_path(lay_out: LayOut) -> None:
    root = lay_out(
        {".env": "A=1", "certs/ca.pem": "x", ".aws/config": "y", ".aws/credentials": "z"}
    )
    assert packed(root, exclude=("!.env",)) == []
    assert packed(root, allow_secrets=("certs/ca.pem", ".aws/config")) == [
        ".aws/config",
        "certs/ca.pem",
    ]
    with pytest.raises(
        SecretFoundError, match=r"'certs/ca\.pem' has the name of a secret, '\*\.pem'"
    ):
        packed(root, include=("certs/ca.pem",))


@pytest.mark.parametrize("path", ["pkg/config.py", "notes.txt", "README.md"])
def test_a_file_with_a_key_in_it_stops_the_build(lay_out: LayOut, path: str) -> None:
    root = lay_out({path: f"# the key\n{KEY}"})
    with pytest.raises(SecretFoundError) as caught:
        packed(root)
    assert caught.value.message == f"'{path}' holds what looks like a private key, in line 2"
    assert caught.value.exit_code == 4
    assert "MIIE" not in f"{caught.value.message}{caught.value.hint}"
    assert packed(root, exclude=(path,)) == []
    found = collect_files(Project(root=root, allow_secrets=(path,)))
    assert [file.path for file in found.files] == ([] if path == "README.md" else [path])


def test_the_readme_is_kept_apart(lay_out: LayOut) -> None:
    found = collect_files(
        Project(root=lay_out({"README.md": "# hi", "a.py": "", "d/README.md": ""}))
    )
    assert found.readme == b"# hi"
    assert [file.path for file in found.files] == ["a.py", "d/README.md"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owners_execute_bit_counts(lay_out: LayOut, umask: int) -> None:
    before = os.umask(umask)
    try:
        root = lay_out({"run.sh": "#!/bin/sh", "a.py": ""})
        (root / "run.sh").chmod(0o744 & ~umask | 0o100)
    finally:
        os.umask(before)
    modes = {file.path: file.mode for file in collect_files(Project(root=root)).files}
    assert modes == {"run.sh": 0o755, "a.py": 0o644}


def test_unusual_names_are_kept_exactly(lay_out: LayOut) -> None:
    names = [
        "-rf",
        "a b",
        "new\nline",
        "ü/日本.txt",
        "n" * 255,
        "é.py",
        "*",
        "[a]",
        "#x",
        "!y",
        "\\z",
    ]
    root = lay_out(dict.fromkeys(names, ""))
    assert packed(root) == sorted(names)


def test_records_hold_size_and_digest_of_small_and_of_big_files(lay_out: LayOut) -> None:
    import hashlib

    big = b"w" * (9 * 1024 * 1024)
    found = collect_files(Project(root=lay_out({"big.bin": big, "empty": b""})))
    assert [(file.path, file.size, file.sha256) for file in found.files] == [
        ("big.bin", len(big), hashlib.sha256(big).hexdigest()),
        ("empty", 0, hashlib.sha256(b"").hexdigest()),
    ]


def test_names_that_cannot_stand_together_are_refused(lay_out: LayOut) -> None:
    root = lay_out({"Readme.txt": "", "README.txt": ""})
    with pytest.raises(RefusedError, match="only in the case") as caught:
        packed(root)
    assert caught.value.hint == "rename it, or list it under 'exclude'"
    assert packed(root, exclude=("Readme.txt",)) == ["README.txt"]


def test_a_name_that_deletes_files_in_an_image_is_refused(lay_out: LayOut) -> None:
    with pytest.raises(RefusedError, match=r"\.wh\."):
        packed(lay_out({".wh.service.py": ""}))


def test_a_name_that_is_not_utf8_is_refused(lay_out: LayOut) -> None:
    root = lay_out({})
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    with pytest.raises(RefusedError, match="is not UTF-8"):
        packed(root)


# Links


def test_links_inside_bring_what_they_lead_to(lay_out: LayOut) -> None:
    root = lay_out({"real/a.py": "x = 1"})
    (root / "copy.py").symlink_to("real/a.py")
    (root / "folder").symlink_to("real")
    found = collect_files(Project(root=root)).files
    assert [file.path for file in found] == ["copy.py", "folder/a.py", "real/a.py"]
    assert len({file.sha256 for file in found}) == 1


@pytest.mark.parametrize("target", ["/etc/hostname", "/", "../outside", "../outside/file"])
def test_a_link_that_leaves_the_project_is_refused(lay_out: LayOut, target: str) -> None:
    lay_out({"file": "secret"}, "outside")
    root = lay_out({"a.py": ""})
    (root / "link").symlink_to(target)
    with pytest.raises(RefusedError, match="the link 'link' leaves the project"):
        packed(root)
    assert packed(root, exclude=("link",)) == ["a.py"]


def test_a_link_that_is_not_asked_for_may_leave(lay_out: LayOut) -> None:
    root = lay_out({"a.py": ""})
    (root / "link.txt").symlink_to("/etc/hostname")
    assert packed(root, include=("*.py",)) == ["a.py"]


def test_a_link_to_a_secret_is_refused_under_any_name(lay_out: LayOut) -> None:
    root = lay_out({".env": "PASSWORD=x"})
    (root / "config.txt").symlink_to(".env")
    with pytest.raises(SecretFoundError, match=r"leads to '\.env'"):
        packed(root)
    assert packed(root, allow_secrets=("config.txt",)) == ["config.txt"]


def test_links_in_a_circle_are_refused(lay_out: LayOut) -> None:
    root = lay_out({"a/x.py": "", "b/y.py": ""})
    (root / "a" / "up").symlink_to("..")
    with pytest.raises(RefusedError, match="leads back"):
        packed(root)
    (root / "a" / "up").unlink()
    (root / "a" / "to-b").symlink_to("../b")
    (root / "b" / "to-a").symlink_to("../a")
    with pytest.raises(RefusedError, match="leads back"):
        packed(root)


def test_a_link_that_leads_nowhere_is_refused(lay_out: LayOut) -> None:
    root = lay_out({})
    (root / "link").symlink_to("gone")
    with pytest.raises(BuildError, match="the link 'link' leads nowhere"):
        packed(root)
    (root / "loop").symlink_to("loop")
    with pytest.raises(BuildError, match="leads nowhere"):
        packed(root, exclude=("link",))


def test_what_is_no_file_is_left_out_and_never_opened(lay_out: LayOut) -> None:
    root = lay_out({"a.py": ""})
    os.mkfifo(root / "pipe")
    found = collect_files(Project(root=root))
    assert [file.path for file in found.files] == ["a.py"]
    assert found.skipped == ("pipe (neither a file nor a folder)",)
