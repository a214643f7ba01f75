"""Rendered Dockerfiles are compared with files that people read in review (``golden/``).

After a change that is meant, ``WRITE_GOLDEN=1 pytest tests/image/test_dockerfile.py`` writes them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from modelpack.config.settings import ImageSettings
from modelpack.errors import UsageError
from modelpack.image import ImagePlan, plan_image, render_dockerfile
from modelpack.image.dockerfile import NETRC, PIP_CONF, Mounts
from modelpack.image.instructions import parse
from modelpack.manifest import ProgramRecord
from modelpack.store import Entry, Store
from modelpack.version import __version__

GOLDEN = Path(__file__).parent / "golden"
CLASSIC = {
    *("FROM", "ARG", "RUN", "COPY", "ENV", "LABEL", "WORKDIR", "USER", "EXPOSE", "STOPSIGNAL"),
    *("HEALTHCHECK", "ENTRYPOINT"),
}

MakeBundle = Callable[..., Entry]


def planned(store: Store, entry: Entry, settings: ImageSettings, cuda: str | None) -> ImagePlan:
    """Plan with a digest that does not change when the form of bundles does."""
    plan = plan_image(store, entry, settings, cuda=cuda)
    digest = "sha256:" + "0" * 64
    labels = {**plan.labels, "dev.modelpack.bundle.digest": digest}
    return replace(plan, entry=replace(plan.entry, digest=digest), labels=labels)


@pytest.mark.parametrize(
    ("name", "lock", "python", "cuda", "settings"),
    [
        ("cpu", "cpu", "3.11", None, ImageSettings()),
        ("torch", "torch", "3.11", None, ImageSettings()),
        ("onnxruntime-gpu", "onnxruntime-gpu", "3.12", None, ImageSettings()),
        ("onnxruntime-gpu-wheels", "onnxruntime-gpu-wheels", "3.11", None, ImageSettings()),
        ("system-cuda", "system-cuda", "3.11", "12.6", ImageSettings()),
        (
            "settings",
            "cpu",
            "3.13",
            None,
            ImageSettings(
                base="registry.example.com/team/python:3.13",
                system_packages=("libgomp1", "libgl1=1.6.0-1"),
                env={"GREETING": 'say "hi" to $HOSTNAME \\o/', "LEVEL": "3"},
            ),
        ),
    ],
)
def test_the_dockerfile_is_the_one_that_was_reviewed(
    store: Store,
    make_bundle: MakeBundle,
    *,
    name: str,
    lock: str,
    python: str,
    cuda: str | None,
    settings: ImageSettings,
) -> None:
    plan = planned(store, make_bundle(lock, python=python), settings, cuda)

    text = render_dockerfile(plan).replace(__version__, "VERSION")

    golden = GOLDEN / f"{name}.Dockerfile"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(
    ("name", "mounts"),
    [
        ("cache", Mounts(has_cache=True)),
        ("secrets", Mounts(has_cache=True, secrets=(NETRC, PIP_CONF))),
    ],
)
def test_what_a_command_is_lent_is_what_was_reviewed(
    store: Store, make_bundle: MakeBundle, name: str, mounts: Mounts
) -> None:
    plan = planned(store, make_bundle("cpu"), ImageSettings(), None)

    text = render_dockerfile(plan, mounts).replace(__version__, "VERSION")

    golden = GOLDEN / "mounts" / f"{name}.Dockerfile"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_a_linter_finds_nothing_in_any_variant(
    store: Store, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    """Every golden file, and every mixture of what changes the instructions."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("'hadolint' is not installed")
    files = [*GOLDEN.glob("**/*.Dockerfile")]
    for number, text in enumerate(variants(store, make_bundle)):
        files.append(tmp_path / f"{number}.Dockerfile")
        files[-1].write_text(text)

    done = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "ignore", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")
    assert len(files) > 60


def variants(store: Store, make_bundle: MakeBundle) -> Iterator[str]:
    entry = make_bundle("cpu")
    lent = [
        Mounts(has_cache=has_cache, secrets=secrets)
        for has_cache in (False, True)
        for secrets in ((), (NETRC,), (PIP_CONF,), (NETRC, PIP_CONF))
    ]
    program = ProgramRecord(path="server", arguments=("-p", "1"), port=80, platform=None)
    for cuda, packages in product((None, "12.6"), ((), ("libgomp1",))):
        plan = plan_image(store, entry, ImageSettings(system_packages=packages), cuda=cuda)
        for one in (
            plan,
            replace(plan, has_wheels=True),
            replace(plan, has_wheels=True, is_wheelhouse=True),
            replace(plan, program=program, models=()),
        ):
            for mounts in lent:
                yield render_dockerfile(one, mounts)


def test_only_the_command_that_asks_an_index_is_lent_a_secret(
    store: Store, make_bundle: MakeBundle
) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())
    mounts = Mounts(has_cache=True, secrets=(NETRC, PIP_CONF))

    lent = [
        one
        for one in parse(render_dockerfile(plan, mounts))
        if any(k == "mount" for k, _ in one.flags)
    ]
    sealed = replace(plan, has_wheels=True, is_wheelhouse=True)
    wrapped = replace(
        plan, program=ProgramRecord(path="server", arguments=(), port=80, platform=None)
    )

    assert [one.keyword for one in lent] == ["RUN"]
    with_login = [part for part in lent[0].parts if part[0] == "env"]
    assert len(with_login) == 1
    assert "--require-hashes" in with_login[0]
    for other in (sealed, wrapped):
        assert "--mount" not in render_dockerfile(other, mounts)


def test_a_configuration_that_is_lent_stands_above_what_the_base_says(
    store: Store, make_bundle: MakeBundle
) -> None:
    """pip takes a variable before a file: one of the base would lead it to another index."""
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())

    text = render_dockerfile(plan, Mounts(secrets=(PIP_CONF,)))

    assert "env -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=" in text
    assert "ARG PIP" not in text


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.Dockerfile")), ids=lambda path: path.stem)
def test_every_builder_understands_it(golden: Path) -> None:
    """No syntax line, no mounts, no --chmod or --link: only what the classic builder knows."""
    instructions = parse(golden.read_text())

    assert {one.keyword for one in instructions} <= CLASSIC
    assert {flag for one in instructions for flag, _ in one.flags} <= {
        *("from", "interval", "timeout", "start-period", "retries")
    }


def test_weights_stand_before_code_and_dependencies_before_weights(
    store: Store, make_bundle: MakeBundle
) -> None:
    text = render_dockerfile(plan_image(store, make_bundle("cpu"), ImageSettings()))

    order = ["FROM python", "requirements.lock", "pip", "models/digits-clf", '"code"', "ENTRYPOINT"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_packages_are_installed_with_hashes_and_without_source_builds(
    store: Store, make_bundle: MakeBundle
) -> None:
    text = render_dockerfile(plan_image(store, make_bundle("cpu"), ImageSettings()))

    install = next(line for line in text.splitlines() if "--requirement" in line)
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:"):
        assert option in install


def test_the_container_is_never_root(store: Store, make_bundle: MakeBundle) -> None:
    text = render_dockerfile(plan_image(store, make_bundle("cpu"), ImageSettings()))

    after_user = text.partition("\nUSER 65532:65532\n")[2]
    assert after_user
    assert "RUN" not in after_user
    assert "USER" not in after_user


def test_a_bundle_that_is_only_a_model_copies_nothing_that_is_not_there(
    store: Store, make_bundle: MakeBundle
) -> None:
    entry = make_bundle("cpu", code=None, readme=None)

    text = render_dockerfile(plan_image(store, entry, ImageSettings()))

    assert '"code"' not in text
    assert '"doc"' not in text
    assert 'COPY ["bundle.json", "/bundle/"]' in text


TEMPLATES = ["{{ 7 * 7 }}", "${HOME}", "$(id)", "`id`", "%(x)s", "@{name}", "<% x %>", "#{x}"]


@pytest.mark.parametrize("value", [*TEMPLATES, '" \\', "x # y", "a=b c=d", "';--", '"\\" RUN x'])
def test_a_variable_is_never_a_template_nor_an_instruction(
    store: Store, make_bundle: MakeBundle, value: str
) -> None:
    """Threat model S7 and S8: the values mean themselves."""
    plan = plan_image(store, make_bundle("cpu"), ImageSettings(env={"VALUE": value}))

    instructions = parse(render_dockerfile(plan))

    env = next(one for one in instructions if one.keyword == "ENV")
    assert ("VALUE", value) in env.parts


@pytest.mark.parametrize(
    "packages",
    [("libgomp1;id",), ("--allow-unauthenticated",), ("a b",), ("$(id)",), ("x\nRUN id",)],
)
def test_system_packages_are_names_and_nothing_else(packages: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="not a Debian package name"):
        ImageSettings(system_packages=packages)


@pytest.mark.parametrize("value", ["a\nRUN id", "a\rb", "a\x00b", "a\u2028b", "a\u202eb"])
def test_a_line_break_in_a_variable_is_refused(
    store: Store, make_bundle: MakeBundle, value: str
) -> None:
    with pytest.raises((UsageError, ValueError)):
        render_dockerfile(
            plan_image(store, make_bundle("cpu"), ImageSettings(env={"VALUE": value}))
        )
