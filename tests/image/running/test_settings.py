from __future__ import annotations

from typing import Any

import pytest

from modelpack.errors import UsageError
from modelpack.image.running import RunOptions
from modelpack.image.running.settings import settings_for


def described(*ports: str, env: list[str] | None = None, **labels: str) -> dict[str, Any]:
    """What an engine says of an image; labels without ``dev.modelpack.port.`` before their names."""
    named = {f"dev.modelpack.port.{name}": value for name, value in labels.items()} or None
    exposed = {port: {} for port in ports} or None
    return {"Config": {"ExposedPorts": exposed, "Env": env, "Labels": named}}


def test_a_container_gets_as_few_rights_as_will_do() -> None:
    made = settings_for("x", described("3000/tcp"), RunOptions())

    assert made.host["read_only"] is True
    assert made.host["cap_drop"] == ["ALL"]
    assert made.host["security_opt"] == ["no-new-privileges:true"]
    assert list(made.host["tmpfs"]) == ["/tmp"]
    assert made.host["pids_limit"] > 0
    assert not {"mem_limit", "nano_cpus", "privileged", "binds"} & made.host.keys()


def test_limits_are_those_that_were_asked_for_and_swap_does_not_stretch_them() -> None:
    options = RunOptions.of_words(memory="512MiB", cpus=1.5)
    host = settings_for("x", described("80/tcp"), options).host

    assert host["mem_limit"] == host["memswap_limit"] == 512 * 1024 * 1024
    assert host["nano_cpus"] == 1_500_000_000


@pytest.mark.parametrize(
    ("ports", "asked", "found"),
    [
        (["8080/tcp"], None, 8080),
        (["8080/tcp", "3000/tcp"], None, 3000),
        (["8080/tcp", "9000/udp"], None, 8080),
        (["8080/tcp"], 9, 9),
        ([], 9, 9),
    ],
)
def test_the_port_is_the_one_that_the_image_names(
    ports: list[str], asked: int | None, found: int
) -> None:
    options = RunOptions(container_port=asked)

    assert settings_for("x", described(*ports), options).container_port == found


def test_ports_that_labels_name_are_published_too() -> None:
    image = described("3000/tcp", "8001/tcp", grpc="8001", metrics="9000")

    made = settings_for("x", image, RunOptions())

    assert made.container_port == 3000
    assert made.other_ports == {"grpc": 8001, "metrics": 9000}
    assert made.config["ports"] == [(3000, "tcp"), (8001, "tcp"), (9000, "tcp")]


@pytest.mark.parametrize("value", ["", "0", "65536", "-1", "８００１", "8001/udp", "9" * 5000])
def test_a_label_that_names_no_port_is_passed_over(value: str) -> None:
    assert settings_for("x", described("3000/tcp", grpc=value), RunOptions()).other_ports == {}


def test_the_port_that_was_asked_for_is_published_once() -> None:
    made = settings_for("x", described(grpc="8001"), RunOptions(container_port=8001))

    assert (made.container_port, made.other_ports) == (8001, {})


@pytest.mark.parametrize("ports", [[], ["53/udp"], ["80/tcp", "81/tcp"]])
def test_an_image_that_does_not_say_its_port_needs_the_flag(ports: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        settings_for("x", described(*ports), RunOptions())

    assert caught.value.hint == "give it with '--container-port'"


@pytest.mark.parametrize(
    ("variable", "asked", "has", "must"),
    [
        ("NVIDIA_VISIBLE_DEVICES=all", None, True, False),
        ("NVIDIA_VISIBLE_DEVICES=void", None, False, False),
        ("OTHER=all", None, False, False),
        ("NVIDIA_VISIBLE_DEVICES=all", "none", False, False),
        ("OTHER=all", "all", True, True),
        ("NVIDIA_VISIBLE_DEVICES=all", "2", True, True),
    ],
)
def test_gpus_are_given_where_the_image_wants_them_or_somebody_says_so(
    variable: str, asked: str | None, has: bool, must: bool
) -> None:
    made = settings_for("x", described("1/tcp", env=[variable]), RunOptions(gpus=asked))

    assert (made.has_gpus, made.must_have_gpus) == (has, must)
    assert made.gpu_count == (2 if asked == "2" else -1)


def test_variables_are_taken_from_here_when_they_have_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN_OF_TEST", "a=b")

    options = RunOptions.of_words(env=["TOKEN_OF_TEST", "EMPTY=", "SIGNS=$(id) 'x'=y"])

    assert options.env == {"TOKEN_OF_TEST": "a=b", "EMPTY": "", "SIGNS": "$(id) 'x'=y"}
    assert settings_for("x", described("1/tcp"), options).config["environment"] == options.env


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ({"port": 70_000}, "--port"),
        ({"container_port": -1}, "--container-port"),
        ({"memory": "12"}, "--memory"),
        ({"memory": "1G"}, "--memory"),
        ({"memory": "lots"}, "--memory"),
        ({"cpus": 0}, "--cpus"),
        ({"cpus": float("nan")}, "--cpus"),
        ({"gpus": "some"}, "--gpus"),
        ({"gpus": "0"}, "--gpus"),
        ({"env": ["1X=2"]}, "--env"),
        ({"env": ["NOT_SET_ANYWHERE_AT_ALL"]}, "--env"),
        ({"name": "--privileged"}, "--name"),
        ({"name": "a/b"}, "--name"),
    ],
)
def test_words_that_mean_nothing_are_refused_by_their_flag(
    words: dict[str, Any], flag: str
) -> None:
    with pytest.raises(UsageError, match=f"^{flag}: "):
        RunOptions.of_words(**words)
