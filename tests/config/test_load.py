"""The project file: found, read, checked, all mistakes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.config.load import MAX_FILE_BYTES, load_project
from modelpack.config.settings import Project, ServerSettings
from modelpack.errors import ConfigError, UsageError


def write(folder: Path, text: str, name: str = "modelpack.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def mistakes(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_project(folder)
    return [str(m).removeprefix(f"{folder}/") for m in caught.value.mistakes]


def test_folder_without_a_file_is_a_project_of_defaults(tmp_path: Path) -> None:
    assert load_project(tmp_path) == Project(root=tmp_path)


def test_every_section_reaches_its_settings(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
name: digits
version: 1.10
service: service:Digits
include: ["*.py"]
exclude:
  - data/**
requirements:
  - numpy>=2
python: 3.11
server: {port: 8080, grace_s: 5, access_log: true, max_body_bytes: 2MiB}
image:
  base: debian:12
  system_packages: [libgomp1]
  env: {DEBUG: off, WORKERS: 2, DATE: 2024-01-01}
  max_size: 1.5GB
deploy:
  target: docker
  resources: {cpu: 1.5, memory: 512MB}
  ready_timeout_s: 10
""",
    )

    project = load_project(tmp_path)

    assert (project.name, project.version, project.service) == (
        "digits",
        "1.10",
        "service:Digits",
    )
    assert project.source == tmp_path / "modelpack.yaml"
    assert (project.include, project.exclude) == (("*.py",), ("data/**",))
    assert (project.requirements, project.python) == (("numpy>=2",), "3.11")
    assert project.server == ServerSettings(
        port=8080, grace_s=5.0, access_log=True, max_body_bytes=2 * 1024**2
    )
    assert project.image.env == {"DEBUG": "off", "WORKERS": "2", "DATE": "2024-01-01"}
    assert project.image.system_packages == ("libgomp1",)
    assert project.image.max_size_bytes == 1_500_000_000
    assert (project.deploy.cpu, project.deploy.memory_bytes) == (1.5, 512_000_000)
    assert (project.deploy.target, project.deploy.ready_timeout_s) == ("docker", 10.0)


def test_the_same_settings_in_pyproject_make_the_same_project(tmp_path: Path) -> None:
    in_yaml = write(tmp_path, "name: digits\nserver:\n  port: 1\npython: 3.12\n")
    in_toml = tmp_path / "other"
    in_toml.mkdir()
    write(
        in_toml,
        '[project]\nname = "x"\n[tool.modelpack]\nname = "digits"\npython = 3.12\n'
        "[tool.modelpack.server]\nport = 1\n",
        "pyproject.toml",
    )

    one, two = load_project(in_yaml), load_project(in_toml)

    assert (one.name, one.python, one.server) == (two.name, two.python, two.server)
    assert two.source == in_toml / "pyproject.toml"


def test_pyproject_of_others_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "this is not TOML at all", "pyproject.toml")
    assert load_project(tmp_path).source is None


def test_settings_in_both_files_are_a_mistake(tmp_path: Path) -> None:
    write(tmp_path, "name: digits\n")
    write(tmp_path, "[tool.modelpack]\n", "pyproject.toml")
    assert mistakes(tmp_path) == [
        (
            "pyproject.toml:1:1: [tool.modelpack]: 'modelpack.yaml' is there too, "
            "keep the settings in one of them"
        )
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("modelpack.yaml", "name: digits\n"),
        ("production.yaml", "name: digits\n"),
        ("pyproject.toml", "[tool.modelpack]\nname = 'digits'\n"),
    ],
)
def test_file_may_be_named_in_place_of_its_folder(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, text, name)
    project = load_project(tmp_path / name)
    assert (project.name, project.root, project.source) == ("digits", tmp_path, tmp_path / name)


def test_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        load_project(tmp_path / "nowhere")


def test_unknown_key_is_reported_with_place_and_suggestion(tmp_path: Path) -> None:
    write(tmp_path, "name: digits\n\ninclde: ['*']\n")
    assert mistakes(tmp_path) == [
        "modelpack.yaml:3:1: unknown key 'inclde', did you mean 'include'?"
    ]


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
name: Digits
version: true
name: again
requirements: [numpy, -r x.txt, "a b"]
server:
  port: 99999
  prot: 1
  grace_s: soon
  max_body_bytes: 5M
image: [a]
deploy:
  env:
    A B: x
    C:
  resources:
    cpu: 0
""",
    )

    assert mistakes(tmp_path) == [
        (
            "modelpack.yaml:1:1: name: 'Digits' is not a name; names are lower-case letters, digits, "
            "'.', '_' and '-', 63 characters at most"
        ),
        "modelpack.yaml:2:1: version: expected text, got true; put it in quotes: 'true'",
        "modelpack.yaml:3:1: the key 'name' stands twice, first in line 1",
        "modelpack.yaml:4:23: requirements[1]: options are not allowed here, got '-r x.txt'",
        "modelpack.yaml:4:33: requirements[2]: not a requirement such as numpy>=2, got 'a b'",
        "modelpack.yaml:6:3: server.port: must be from 0 to 65535, got 99999",
        "modelpack.yaml:7:3: server: unknown key 'prot', did you mean 'port'?",
        "modelpack.yaml:8:3: server.grace_s: expected a number, got the text 'soon'",
        (
            "modelpack.yaml:9:3: server.max_body_bytes: '5M' can be read in two ways: "
            "write 5MB (1000s) or 5MiB (1024s)"
        ),
        "modelpack.yaml:10:1: image: expected keys and values, got a list",
        "modelpack.yaml:13:5: deploy.env.A B: not a variable name: 'A B'",
        "modelpack.yaml:14:5: deploy.env.C: expected text, got nothing",
        "modelpack.yaml:16:5: deploy.resources.cpu: must be above 0 and at most 1024, got 0.0",
    ]


def test_mistakes_in_pyproject_have_places_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[tool.modelpack]\nnme = "x"\n[tool.modelpack.server]\nport = "1"\nhost = 2024-01-01\n',
        "pyproject.toml",
    )
    assert mistakes(tmp_path) == [
        "pyproject.toml:2:1: unknown key 'nme', did you mean 'name'?",
        "pyproject.toml:4:1: server.port: expected a whole number, got the text '1'",
        "pyproject.toml:5:1: server.host: expected text, got a date",
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("service: my-digits", "service: must look like service:Digits, got 'my-digits'"),
        ("python: 3.10", "python: must be 3.11 or later, got 3.10"),
        ("python: 3.11.2", "python: must look like 3.11, got '3.11.2'"),
        ("version: latest", "version: 'latest' is not a version"),
        ("include: ['../x']", "include[0]: must stay inside the project, got '../x'"),
        ("requirements: numpy", "requirements: expected a list, got the text 'numpy'"),
        ("server: {log_level: loud}", "server.log_level: must be one of debug, info, warning"),
        ("image: {base: 'a b'}", "image.base: not an image reference: 'a b'"),
        ("image: {system_packages: [a;b]}", "image.system_packages[0]: not a Debian package"),
        ("deploy: {resources: {memory: 1KB}}", "deploy.resources.memory: must be at least"),
        ("server: {port: 3000.5}", "server.port: expected a whole number, got the number 3000.5"),
        ("server: {access_log: yes}", "server.access_log: expected true or false, got the text"),
    ],
)
def test_value_that_cannot_be_is_refused_with_its_key(tmp_path: Path, line: str, what: str) -> None:
    write(tmp_path, line + "\n")
    (mistake,) = mistakes(tmp_path)
    assert what in mistake


def test_key_with_nothing_after_it_keeps_its_default(tmp_path: Path) -> None:
    write(tmp_path, "name:\nserver:\n  port:\ndeploy:\n  resources:\nrequirements:\n")
    project = load_project(tmp_path)
    assert (project.name, project.server, project.requirements) == (None, ServerSettings(), ())


@pytest.mark.parametrize("number", ["inf", "nan"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, number: str) -> None:
    write(tmp_path, f"[tool.modelpack.server]\ngrace_s = {number}\n", "pyproject.toml")
    assert "server.grace_s: expected a finite number" in mistakes(tmp_path)[0]


def test_other_spellings_of_the_file_are_not_silently_ignored(tmp_path: Path) -> None:
    write(tmp_path, "name: digits\n", "modelpack.yml")
    assert mistakes(tmp_path) == [
        "modelpack.yml: not read: the name of the file is 'modelpack.yaml'"
    ]


def test_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "#" * (MAX_FILE_BYTES + 1))
    assert mistakes(tmp_path) == ["modelpack.yaml: larger than 1 MiB: settings do not hold data"]


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modelpack.yaml").write_bytes(b"name: digits\nversion: \xff\n")
    assert mistakes(tmp_path) == ["modelpack.yaml:2: not UTF-8 text"]


def test_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "modelpack.yaml").write_bytes(b"\xef\xbb\xbfname: digits\n")
    assert load_project(tmp_path).name == "digits"


def test_folder_named_like_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modelpack.yaml").mkdir()
    assert mistakes(tmp_path) == ["modelpack.yaml: not a regular file"]


def test_the_error_exits_with_2_and_shows_the_mistake(tmp_path: Path) -> None:
    write(tmp_path, "inclde: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_project(tmp_path)
    assert caught.value.exit_code == 2
    assert caught.value.message.endswith(":1:1: unknown key 'inclde', did you mean 'include'?")
