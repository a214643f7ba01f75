"""Which builder is taken, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import RefusedError, ToolMissingError, UsageError
from modelpack.image import ENGINES
from modelpack.image.engines.choosing import chosen

NOWHERE = "unix:///nowhere/docker.sock"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that is all of PATH, on a machine where no engine answers."""
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(path: Path, *names: str) -> None:
    for name in names:
        (path / name).write_text("#!/bin/sh\n")
        (path / name).chmod(0o755)


@pytest.mark.parametrize(
    ("installed", "taken"),
    [(("podman", "buildah"), "podman"), (("podman",), "podman"), (("buildah",), "buildah")],
)
def test_without_docker_a_builder_that_needs_no_daemon_is_taken(
    path: Path, installed: tuple[str, ...], taken: str
) -> None:
    install(path, *installed)

    with chosen("auto", needs_secrets=True) as (builder, why):
        assert builder.name == taken
        assert why == f"no container engine answers at '{NOWHERE}'"


@pytest.mark.parametrize("engine", ["auto", "docker", "buildkit"])
def test_with_nothing_at_all_both_ways_out_are_named(path: Path, engine: str) -> None:
    with (
        pytest.raises(ToolMissingError, match="no container engine answers") as caught,
        chosen(engine, needs_secrets=False),
    ):
        pass

    assert "--dockerfile DIR" in (caught.value.hint or "")
    assert "--engine none" in (caught.value.hint or "")


@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_a_builder_that_was_asked_for_is_never_replaced(path: Path, engine: str) -> None:
    install(path, *{"podman", "buildah"} - {engine})

    with (
        pytest.raises(ToolMissingError, match=f"'{engine}' is not installed"),
        chosen(engine, needs_secrets=False),
    ):
        pass


@pytest.mark.parametrize("engine", ["", "none", "Docker", "docker; id"])
def test_a_word_that_names_no_builder_is_refused(engine: str) -> None:
    with pytest.raises(UsageError) as caught, chosen(engine, needs_secrets=False):
        pass

    assert all(one in (caught.value.hint or "") for one in ENGINES)


# With a real engine.


@pytest.fixture
def old_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a PATH whose only docker program has no BuildKit."""
    (tmp_path / "docker").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Docker version 28.0.0, build x"\n'
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.engine
def test_docker_with_buildkit_is_taken_before_all_others() -> None:
    with chosen("auto", needs_secrets=False) as (builder, why):
        assert builder.name == "buildkit"
        assert why.startswith("docker has it (")


@pytest.mark.engine
def test_without_buildkit_the_classic_builder_is_taken_and_the_reason_said(
    old_docker: Path,
) -> None:
    with chosen("auto", needs_secrets=False) as (builder, why):
        assert builder.name == "docker"
        assert why.endswith(f"'{old_docker}/docker' has no buildx plugin")


@pytest.mark.engine
def test_secrets_go_to_podman_rather_than_to_the_classic_builder(old_docker: Path) -> None:
    with (
        pytest.raises(RefusedError, match="would write the secrets into"),
        chosen("auto", needs_secrets=True),
    ):
        pass

    install(old_docker, "podman")
    with chosen("auto", needs_secrets=True) as (builder, _):
        assert builder.name == "podman"


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["docker", "buildkit"])
def test_a_builder_of_docker_is_had_by_its_name(engine: str) -> None:
    with chosen(engine, needs_secrets=False) as (builder, why):
        assert (builder.name, why) == (engine, "it was asked for")
