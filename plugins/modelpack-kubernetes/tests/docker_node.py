"""A node for the stand-in whose pods are containers of a real engine.

    pod ──► image pulled by its digest ──► container with the pod's variables, rights and limits
        ──► its probes are asked over HTTP ──► Ready, or why not ──► preStop, SIGTERM, its grace ──► gone

What a kubelet does, as far as the pods of a Deployment need it: one container each, ``emptyDir`` as
memory, Secrets as variables, probes over HTTP (asked more often than ``periodSeconds`` says), hooks
that run a command or sleep.  Not here: networks between pods, init containers, devices, evictions.
"""

from __future__ import annotations

import base64
import http.client
import threading
from typing import Any

from docker.errors import APIError
from stand_in import Item, Json, Store
from stand_in.pods import status_of

from modelpack.image import connect

_EVERY_S = 0.05
_BACK_OFF_AFTER = 2
TEST_LABEL = {"dev.modelpack.test": "1"}


class DockerNode:
    """Runs pods; a context that leaves no container."""

    LOOKS_A_SECOND = 250
    """Controllers look no faster than that, so no deadline is shorter than it says."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}

    def __enter__(self) -> DockerNode:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._workers.values():
            one.is_over.set()
        for one in self._workers.values():
            one.thread.join()

    def live_on(self, store: Store, pod: Item, age: int) -> None:
        """Have a pod run, and write down how it is; called again and again."""
        uid = pod.value["metadata"]["uid"]
        if uid not in self._workers:
            self._workers[uid] = _Worker(store, pod)
        store.set_status(pod, self._workers[uid].status)

    def answer_of(
        self, pod: Item, path: str, *, body: bytes | None = None, host: str = "127.0.0.1"
    ) -> tuple[int, bytes]:
        """Ask the service in a pod."""
        port = self._workers[pod.value["metadata"]["uid"]].port("http")
        head = {"host": host} | ({"content-type": "application/json"} if body else {})
        return _ask(port, path, body=body, head=head, timeout_s=60)

    def log_of(self, pod: Item) -> list[str]:
        """Return what a pod has written."""
        with connect() as engine:
            made = self._workers[pod.value["metadata"]["uid"]].made
            return engine.logs(made).decode().splitlines() if made else []

    def container_of(self, pod: str) -> str:
        """Return the container of a pod, by the pod's name."""
        return next(one.made for one in self._workers.values() if one.pod.name == pod)


class _Worker:
    """One pod, from its start to its end."""

    def __init__(self, store: Store, pod: Item) -> None:
        self.store, self.pod = store, pod
        self.spec: Json = pod.value["spec"]
        assert not self.spec.get("initContainers")
        [self.container] = self.spec["containers"]
        self.made = ""
        self.restarts = 0
        self._ports: dict[str, int] = {}
        self._say("Pending", {"waiting": {"reason": "ContainerCreating"}})
        self.is_over = threading.Event()
        self._env = _environment(store, pod)  # with the store's lock held
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def port(self, name: str) -> int:
        """Return where a port of the container is published."""
        return self._ports[name]

    def _run(self) -> None:
        with connect() as engine:
            try:
                engine.pull(self.container["image"])
                self._start(engine)
                self._live(engine)
            except APIError as cause:
                why = {"reason": "ImagePullBackOff", "message": str(cause.explanation)}
                self._say("Pending", {"waiting": why})
            finally:
                if self.made:
                    engine.remove_container(self.made, force=True, v=True)

    def _start(self, engine: Any) -> None:
        rights = {**self.spec["securityContext"], **self.container["securityContext"]}
        assert rights["runAsNonRoot"]
        empty = {one["name"] for one in self.spec["volumes"] if one.get("emptyDir") == {}}
        mounts = {one["mountPath"]: one["name"] for one in self.container["volumeMounts"]}
        assert set(mounts.values()) == empty
        limits = self.container.get("resources", {}).get("limits", {})
        ports = [one["containerPort"] for one in self.container["ports"]]
        cpu = limits.get("cpu")
        made = engine.create_container(
            self.container["image"],
            entrypoint=self.container.get("command"),
            command=self.container.get("args"),
            environment=self._env,
            user=f"{rights['runAsUser']}:{rights['runAsGroup']}",
            labels=TEST_LABEL,
            ports=ports,
            host_config=engine.create_host_config(
                read_only=rights["readOnlyRootFilesystem"],
                tmpfs=dict.fromkeys(mounts, ""),
                cap_drop=rights["capabilities"]["drop"],
                security_opt=["no-new-privileges"],
                mem_limit=limits.get("memory"),
                nano_cpus=int(cpu.removesuffix("m")) * 1_000_000 if cpu else None,
                port_bindings=dict.fromkeys(ports, ("127.0.0.1", None)),
            ),
        )
        self.made = made["Id"]
        engine.start(self.made)
        self._find_ports(engine)

    def _find_ports(self, engine: Any) -> None:
        found = engine.inspect_container(self.made)["NetworkSettings"]["Ports"] or {}
        for one in self.container["ports"]:
            if published := found.get(f"{one['containerPort']}/tcp"):
                self._ports[one["name"]] = int(published[0]["HostPort"])

    def _live(self, engine: Any) -> None:
        """Ask its probes and start it again when it ends, until nobody wants it any more."""
        has_started = False
        while not self.is_over.wait(_EVERY_S):
            if not self._is_wanted():
                self._end(engine)
                return
            state = engine.inspect_container(self.made)["State"]
            if not state["Running"]:
                has_started = False
                self._again(engine, state)
                continue
            probe = self.container["readinessProbe" if has_started else "startupProbe"]
            is_well = self._is_well(probe["httpGet"])
            has_started = has_started or is_well
            running = {"running": {"startedAt": state["StartedAt"]}}
            self._say("Running", running, is_ready=is_well and has_started)

    def _again(self, engine: Any, state: Json) -> None:
        self.restarts += 1
        ended = {"terminated": {"exitCode": state["ExitCode"], "reason": "Error"}}
        waits = {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}
        if self.restarts >= _BACK_OFF_AFTER:
            self._say("Running", {"waiting": waits}, lastState=ended)
            self.is_over.wait(1)
        engine.start(self.made)
        self._find_ports(engine)

    def _end(self, engine: Any) -> None:
        """Run the hook, then end it as kubelets do."""
        hook = self.container.get("lifecycle", {}).get("preStop", {})
        if "exec" in hook:
            run = engine.exec_create(self.made, hook["exec"]["command"])
            engine.exec_start(run["Id"], detach=True)
            while not self.is_over.wait(_EVERY_S) and engine.exec_inspect(run["Id"])["Running"]:
                pass
        elif "sleep" in hook:
            self.is_over.wait(hook["sleep"]["seconds"])
        if not self.is_over.is_set():
            engine.stop(self.made, timeout=self.spec["terminationGracePeriodSeconds"])

    def _is_wanted(self) -> bool:
        with self.store.changed:
            key = (self.pod.kind.key, self.pod.namespace, self.pod.name)
            return self.store.items.get(key) is self.pod

    def _is_well(self, get: Json) -> bool:
        try:
            port = self._ports[get["port"]]
            status, _ = _ask(port, get["path"], body=None, head={}, timeout_s=1)
        except (OSError, http.client.HTTPException, KeyError):
            return False
        return status == 200

    def _say(self, phase: str, state: Json, *, is_ready: bool = False, **more: Any) -> None:
        name = self.container["name"]
        more = {"restartCount": self.restarts, **more}
        self.status = status_of(self.pod, phase, name, state, is_ready=is_ready, **more)


def _environment(store: Store, pod: Item) -> dict[str, str]:
    found = {}
    for one in pod.value["spec"]["containers"][0].get("env") or ():
        if "valueFrom" in one:
            ref = one["valueFrom"]["secretKeyRef"]
            secret = store.get(store.named("Secret"), pod.namespace, ref["name"])
            found[one["name"]] = base64.b64decode(secret.value["data"][ref["key"]]).decode()
        else:
            found[one["name"]] = str(one.get("value", "")).replace("$$(", "$(")
    return found


def _ask(
    port: int, path: str, *, body: bytes | None, head: dict[str, str], timeout_s: float
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET" if body is None else "POST", path, body=body, headers=head)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
