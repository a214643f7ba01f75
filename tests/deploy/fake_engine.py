"""A container engine in memory, for the tests of the target over it."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from modelpack.errors import EngineError


class Killed(BaseException):
    """kill -9: nothing of ours runs any more."""


class FakeEngine:
    """Holds containers as an engine would, and fails where it is told to.

    What was done is remembered in short: the keeper is ``port``, the replicas of the group that came
    first are ``a1``, ``a2`` …
    """

    def __init__(self, *images: str) -> None:
        self.images = {image: {"Id": f"sha256:{image}", "Config": {}} for image in images}
        self.containers: dict[str, dict[str, Any]] = {}
        self.allowed: dict[str, list[str]] = {}
        self.wanted: dict[str, dict[str, int]] = {}
        """By keeper and group: how many are to be awake."""
        self.policies: dict[str, dict[str, float]] = {}
        """By group: the policy that was ordered last."""
        self.can_sleep = True
        """False: the images are of a modelpack whose servers start whatever they are told."""
        self.groups: list[str] = []
        self.clock = itertools.count()
        self.done: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.pieces: dict[str, list[bytes]] = {}
        self.killed_at: str | None = None
        self.dies_after = self.is_dead = False

    def short(self, name: str) -> str:
        _, _, last = name.removeprefix("modelpack-digits").partition("-R")
        if not last:
            return "port"
        group, _, number = last.partition("-")
        if group not in self.groups:
            self.groups.append(group)
        return f"{'abcdefgh'[self.groups.index(group)]}{number}"

    def _do(self, verb: str, name: str) -> None:
        self._look()
        what = f"{verb} {self.short(name)}"
        self.done.append(what)
        if what in self.fails:
            raise self.fails[what]
        if what == self.killed_at:
            self.is_dead = True
            if not self.dies_after:
                raise Killed

    def _look(self) -> None:
        """Nothing is asked any more by one who was killed after a call."""
        if self.is_dead:
            raise Killed

    def host(self) -> str | None:
        return None

    def image(self, reference: str) -> Mapping[str, Any] | None:
        self._look()
        return self.images.get(reference)

    def container(self, name: str) -> Mapping[str, Any] | None:
        self._look()
        return self.containers.get(name)

    def names(self, label: str) -> list[str]:
        self._look()
        key, is_exact, value = label.partition("=")
        found = {name: one["Config"]["Labels"] for name, one in self.containers.items()}
        return [
            name
            for name, labels in found.items()
            if key in labels and (not is_exact or labels[key] == value)
        ]

    def create(self, name: str, settings, host) -> None:
        self._do("create", name)
        if name in self.containers:
            raise EngineError(f"the name '{name}' is taken")
        published = [
            {"HostIp": address, "HostPort": str(port)}
            for address, port in host["port_bindings"][3000]
        ]
        self.containers[name] = {
            "Name": f"/{name}",
            "Created": f"{next(self.clock):06}",
            "Image": self.images[settings["image"]]["Id"],
            "Config": {
                "Image": settings["image"],
                "Labels": settings["labels"],
                "Entrypoint": settings.get("entrypoint"),
                "Env": settings["environment"],
            },
            "HostConfig": {
                "PortBindings": {"3000/tcp": published},
                "NanoCpus": host.get("nano_cpus"),
                "Memory": host.get("mem_limit"),
                "RestartPolicy": host["restart_policy"],
            },
            "NetworkSettings": {"Ports": {}},
            "State": {"Status": "created"},
        }

    def start(self, name: str) -> None:
        self._do("start", name)
        self.put(name, "running")

    def stop(self, name: str, *, grace_s: int) -> None:
        self._do("stop", name)
        self.put(name, "exited")

    def update(self, name: str, *, restart_policy: str) -> None:
        self._do("keep", name)
        self.containers[name]["HostConfig"]["RestartPolicy"] = {"Name": restart_policy}

    def run(self, name: str, argv) -> tuple[int, str]:
        """Answer as the keeper would; replicas that run have joined, or sleep until they are woken."""
        self._look()
        if "ask" not in argv:  # the probe, from inside
            document = json.dumps({"openapi": "3.1.0", "paths": {}}).encode()
            return 0, f"200 {base64.b64encode(document).decode()}"
        word, *rest = " ".join(argv[argv.index("ask") + 1 :]).split()
        wanted = self.wanted.setdefault(name, {})
        is_done = True
        if word == "hold" and self.allowed.get(name) is None:
            self.allowed[name] = rest
        elif word == "scale":
            self.policies[rest[0]] = json.loads(rest[2])
            wanted.setdefault(rest[0], 0)
            if rest[0] in (self.allowed.get(name) or ()):
                wanted[rest[0]] = max(wanted[rest[0]], self.policies[rest[0]]["min_replicas"])
        elif word == "wake":
            serving = [wanted.get(one, 0) for one in self.allowed.get(name) or ()]
            wanted[rest[0]] = max(int(rest[1]), *serving, 0)
        elif word == "switch":
            self._do("switch", f"modelpack-digits-R{rest[0]}-")
            count = int(rest[1]) or max(wanted.get(rest[0], 0), 1)
            is_done = self._keeping(name)["joined"].get(rest[0], 0) >= count
            if is_done:
                self.allowed[name] = [rest[0]]
        return 0, json.dumps({"done": is_done, **self._keeping(name)})

    def _keeping(self, name: str) -> dict[str, Any]:
        """Return what the keeper knows of the containers."""
        joined: dict[str, int] = {}
        scaling: dict[str, dict[str, Any]] = {}
        for one in self.containers.values():
            labels = one["Config"]["Labels"]
            if labels.get("dev.modelpack.role") != "replica":
                continue
            group, is_up = labels["dev.modelpack.group"], one["State"]["Status"] == "running"
            if "MODELPACK_SLEEPS" not in one["Config"]["Env"]:
                joined[group] = joined.get(group, 0) + is_up
                continue
            found = scaling.setdefault(group, {"places": 0, "asleep_since": None})
            found["places"] += is_up and self.can_sleep
            found["wanted"] = self.wanted.get(name, {}).get(group, 0)
            found["awake"] = min(found["places"], found["wanted"])
            serving = joined.get(group, 0) + is_up
            joined[group] = found["awake"] if self.can_sleep else serving
        allowed = self.allowed.get(name)
        return {"allowed": allowed, "joined": joined, "accepting": joined, "scaling": scaling}

    def remove(self, name: str) -> None:
        if name in self.containers:
            self._do("remove", name)
            del self.containers[name]

    def remove_volume(self, name: str) -> None:
        self.done.append("remove volume")

    def logs(self, name: str, *, follow, tail, timestamps=False) -> Iterator[bytes]:
        return iter(self.pieces.get(self.short(name), []))

    def put(self, name: str, status: str) -> None:
        moment = datetime.now(UTC).isoformat()
        self.containers[name]["State"] = {"Status": status, "StartedAt": moment}

    @property
    def left(self) -> list[str]:
        """Everything there is, in short."""
        return sorted(self.short(name) for name in self.containers)

    def named(self, short: str) -> str:
        return next(name for name in self.containers if self.short(name) == short)
