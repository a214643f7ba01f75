"""What an instance does when it starts: a shell script made of fixed lines and quoted values.

    install the client ─► log in, pull the image ─► secrets, variables ─► a unit of systemd ─► /readyz
                                                                        says to the stack: I am up ◄┘

Nothing a user writes is read by a shell: variables go through a file that Docker reads line by line,
names of secrets are checked before they get here (``roles.secret_of``), and the rest is quoted.

The machine image is that of Amazon ECS, which brings Docker, and drivers where it is said so
(github.com/aws/amazon-ecs-ami); its agent is turned off.  Facts: Amazon EC2 user guide, "Run commands
when you launch an EC2 instance" (16 KiB); CloudFormation API reference, ``SignalResource``.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from modelpack.errors import UsageError
from modelpack_aws import roles
from modelpack_aws.instances import Instance
from modelpack_aws.template import Json, ref
from modelpack_aws.wanted import CONTAINER_PORT, Wanted

MOST_BYTES = 16 * 1024
STOP_S = 35

_ENV_FILE = "/etc/modelpack.env"
_SECRETS_FILE = "/etc/modelpack-secrets.env"
_END = "MODELPACK_END_OF_FILE"


def user_data(
    wanted: Wanted, instance: Instance, *, image: Json, logs: Json, group: str, hosts: Any
) -> Json:
    """Return the script as CloudFormation joins and encodes it; raises UsageError if it is too long.

    image  reference of the image, by digest
    logs   name of the log group
    hosts  names that the server answers to
    group  logical id of the group of instances, which is told when this one is ready
    """
    parts: list[Any] = [
        "#!/bin/bash\nset -euo pipefail\n",
        "export AWS_DEFAULT_REGION=",
        ref("AWS::Region"),
        (
            "\ntoken=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "
            "http://169.254.169.254/latest/api/token)\n"
            'me=$(curl -fsS -H "X-aws-ec2-metadata-token: $token" '
            "http://169.254.169.254/latest/meta-data/instance-id)\n"
        ),
        *_tell(group),
        (
            "trap 'tell FAILURE' ERR\n"
            "systemctl disable --now --no-block ecs.service || true\n"
            "command -v aws >/dev/null || dnf install -y -q awscli-2\n"
            "image="
        ),
        image,
        (
            "\naws ecr get-login-password | "
            'docker login --username AWS --password-stdin "${image%%/*}"\n'
            'docker pull -q "$image"\n'
            'docker logout "${image%%/*}"\n'
        ),
        *_files(wanted, hosts),
        *_unit(wanted, instance, logs),
        "systemctl daemon-reload\nsystemctl enable --now modelpack.service\n",
        _wait(wanted.ready_timeout_s),
    ]
    text = "".join(part if isinstance(part, str) else "x" * 128 for part in parts)
    if len(text.encode()) > MOST_BYTES:
        raise UsageError(
            f"the instances would start with {len(text.encode())} bytes of instructions, "
            f"EC2 takes {MOST_BYTES}",
            hint="most of it is 'deploy.env': keep long values in the bundle",
        )
    return {"Fn::Base64": {"Fn::Join": ["", _merged(parts)]}}


def _tell(group: str) -> list[Any]:
    """Return a shell function that tells the stack how this instance fares."""
    return [
        "tell() { aws cloudformation signal-resource --stack-name ",
        ref("AWS::StackId"),
        f' --logical-resource-id {group} --unique-id "$me" --status "$1" || true; }}\n',
    ]


def _files(wanted: Wanted, hosts: Any) -> list[Any]:
    """Return the lines that write the variables, and those that fetch the secrets."""
    env = {
        **{key: value for key, value in wanted.env.items() if key != "MODELPACK_ALLOWED_HOSTS"},
        "MODELPACK_HOST": "0.0.0.0",  # noqa: S104  inside the container
        "MODELPACK_PORT": str(CONTAINER_PORT),
        "MODELPACK_TAG": wanted.bundle,
    }
    lines = "".join(f"{key}={value}\n" for key, value in sorted(env.items()))
    head = f"cat > {_ENV_FILE} <<'{_END}'\n{lines}MODELPACK_ALLOWED_HOSTS="
    parts: list[Any] = [head, hosts, f"\n{_END}\n"]
    parts.append(f"install -m 600 /dev/null {_SECRETS_FILE}\n")
    for name, text in sorted(wanted.secrets.items()):
        secret = roles.secret_of(name, text)
        parts += [f"printf '%s=%s\\n' {name} \"$("]
        if secret.service == "ssm":
            parts += [
                "aws ssm get-parameter --with-decryption --query Parameter.Value --output text --name ",
                secret.value_from,
            ]
        else:
            parts += [
                "aws secretsmanager get-secret-value --query SecretString --output text --secret-id ",
                secret.resource if isinstance(secret.resource, str) else secret.value_from,
            ]
        parts.append(f')" >> {_SECRETS_FILE}\n')
    return parts


def _unit(wanted: Wanted, instance: Instance, logs: Json) -> list[Any]:
    """Return the lines that write the unit which keeps the container running."""
    words = [
        *("/usr/bin/docker", "run", "--rm", "--name", "service"),
        *("--publish", f"{CONTAINER_PORT}:{CONTAINER_PORT}", "--stop-timeout", str(STOP_S)),
        *("--env-file", _ENV_FILE, "--env-file", _SECRETS_FILE),
        *("--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev,mode=1777", "--cap-drop", "ALL"),  # noqa: S108
        *("--security-opt", "no-new-privileges:true", "--pids-limit", "4096"),
        *_limits(wanted),
        *_devices(instance),
    ]
    return [
        (
            f"cat > /etc/systemd/system/modelpack.service <<{_END}\n"
            "[Unit]\nAfter=docker.service\nRequires=docker.service\n\n"
            "[Service]\nRestart=always\nRestartSec=2\n"
            "ExecStartPre=-/usr/bin/docker rm -f service\n"
            f"ExecStart={shlex.join(words)} --log-driver awslogs --log-opt awslogs-group="
        ),
        logs,
        " --log-opt awslogs-region=",
        ref("AWS::Region"),
        (
            " $image\n"
            f"ExecStop=/usr/bin/docker stop --time {STOP_S} service\n"
            f"TimeoutStopSec={STOP_S + 10}\n\n[Install]\nWantedBy=multi-user.target\n{_END}\n"
        ),
    ]


def _limits(wanted: Wanted) -> list[str]:
    words = [] if wanted.cpu is None else ["--cpus", f"{wanted.cpu:g}"]
    if wanted.memory_bytes is not None:
        words += ["--memory", str(wanted.memory_bytes), "--memory-swap", str(wanted.memory_bytes)]
    return words


def _devices(instance: Instance) -> Sequence[str]:
    if instance.is_gpu:
        return ["--gpus", "all"]
    return [f"--device=/dev/neuron{number}" for number in range(instance.devices)]


def _wait(timeout_s: float) -> str:
    """Return the lines that wait until the service is ready and say how it went."""
    return (
        f"for _ in $(seq {max(1, round(timeout_s))}); do\n"
        f"  if curl -fsS -o /dev/null http://127.0.0.1:{CONTAINER_PORT}/readyz; then\n"
        "    tell SUCCESS; exit 0\n  fi\n  sleep 1\ndone\ntell FAILURE\n"
    )


def _merged(parts: Sequence[Any]) -> list[Any]:
    """Return the parts with neighbouring texts put together."""
    found: list[Any] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return found
