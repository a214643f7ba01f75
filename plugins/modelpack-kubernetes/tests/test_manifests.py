"""What is sent to a cluster: every object that we can make, against the schemas of every version."""

from __future__ import annotations

from typing import Any

import kubernetes_validate.utils
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelpack_kubernetes.checks import problems
from modelpack_kubernetes.manifests import checked, manifests, secret, warnings
from modelpack_kubernetes.options import SCALERS
from modelpack_kubernetes.wanted import MODES

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError

from .validated import VERSIONS, mistakes
from .wanted_specs import CASES, KEDA, of_case, wanted

OLDEST_OF = {"by every knob": "1.35", "models as a volume": "1.33", "newer clusters": "1.30"}


def test_there_are_schemas_of_every_version_that_is_named() -> None:
    assert [one[:4] for one in VERSIONS] == [f"1.{minor}" for minor in range(28, 38)]


@pytest.mark.parametrize("case", CASES)
def test_every_object_is_what_every_version_takes(case: str) -> None:
    """Unknown fields, types, what must be there: strictly, from 1.28 to 1.37."""
    objects = manifests(of_case(case))
    oldest = tuple(map(int, OLDEST_OF.get(case, "1.28").split(".")))
    found = {
        version: [mistake for one in objects for mistake in mistakes(one, version)]
        for version in VERSIONS
        if tuple(map(int, version.split(".")[:2])) >= oldest
    }
    assert {version: said for version, said in found.items() if said} == {}


@pytest.mark.parametrize("case", CASES)
def test_names_meet_and_numbers_fit(case: str) -> None:
    assert problems(checked(of_case(case))) == []


def test_our_way_of_asking_the_schemas_is_that_of_the_checker_itself() -> None:
    """One deployment through ``kubernetes-validate``, and one with a mistake."""
    objects = manifests(of_case("limits"))
    for one in objects:
        kubernetes_validate.utils.validate(one, "1.33", strict=True)
    deployment = next(one for one in objects if one["kind"] == "Deployment")
    deployment["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.utils.ValidationError, match="replica"):
        kubernetes_validate.utils.validate(deployment, "1.33", strict=True)
    assert "'replica' was unexpected" in mistakes(deployment, "1.33.0")[0]


@pytest.mark.parametrize("case", CASES)
def test_the_same_spec_gives_the_same_objects(case: str) -> None:
    assert manifests(of_case(case)) == manifests(of_case(case))


@pytest.mark.parametrize("case", CASES)
def test_every_object_says_what_it_belongs_to(case: str) -> None:
    asked = of_case(case)
    for one in manifests(asked):
        labels = one["metadata"]["labels"]
        assert asked.selector().items() <= labels.items()
        assert one["metadata"]["annotations"]["modelpack.dev/deployment"] == "digits"
        assert one["metadata"]["namespace"] == asked.namespace


def kinds(asked: Any) -> list[str]:
    return [one["kind"] for one in manifests(asked)]


def one_of(asked: Any, kind: str) -> dict[str, Any]:
    return next(one for one in manifests(asked) if one["kind"] == kind)


def pod_of(asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = one_of(asked, "Deployment")["spec"]["template"]["spec"]
    return found


def test_the_account_and_the_policy_come_before_any_pod() -> None:
    found = kinds(of_case("as it comes"))
    assert found == ["ServiceAccount", "NetworkPolicy", "Service", "Deployment"]


def test_pods_pass_the_restricted_standard() -> None:
    """Kubernetes' "Pod Security Standards", the restricted profile, field by field."""
    for case in ("as it comes", "models of another image", "models of a registry"):
        pod = pod_of(of_case(case))
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["readOnlyRootFilesystem"] is True
        kinds = {kind for volume in pod["volumes"] for kind in volume.keys() - {"name"}}
        assert kinds <= {"emptyDir", "secret"}


def test_no_pod_has_a_token_or_the_variables_of_services() -> None:
    pod = pod_of(of_case("as it comes"))
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    account = one_of(of_case("as it comes"), "ServiceAccount")
    assert account["automountServiceAccountToken"] is False


def test_a_pod_has_the_servers_own_time_to_end() -> None:
    """Routers, the grace of the server, and a margin."""
    assert pod_of(wanted())["terminationGracePeriodSeconds"] == 5 + 30 + 5
    asked = wanted(env={"MODELPACK_GRACE_S": "90"})
    assert pod_of(asked)["terminationGracePeriodSeconds"] == 5 + 90 + 5


def test_before_its_end_a_pod_waits_for_the_routers() -> None:
    older, newer = pod_of(wanted()), pod_of(wanted({"kubernetes": "1.30"}))
    command = older["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["/bundle/venv/bin/python", "-I", "-S", "-c", "import time; time.sleep(5)"]
    assert newer["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}


def test_the_start_may_take_as_long_as_the_settings_say() -> None:
    probe = pod_of(wanted(ready_timeout_s=90.0))["containers"][0]["startupProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    assert probe["periodSeconds"] * probe["failureThreshold"] == 90


def test_a_pod_gets_what_it_asks_for() -> None:
    resources = pod_of(wanted(cpu=1.5, memory_bytes=2**29))["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "1500m", "memory": "536870912"} == resources["limits"]


def test_values_of_secrets_are_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "very-secret")
    asked = of_case("secrets")
    assert "very-secret" not in str(manifests(asked))
    env = {one["name"]: one for one in pod_of(asked)["containers"][0]["env"]}
    assert env["KEY"]["valueFrom"]["secretKeyRef"] == {"name": "digits-keys", "key": "api.key"}
    own = secret(asked, {"TOKEN": "very-secret", "P": "x"})
    assert env["TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == own["metadata"]["name"]
    assert own["immutable"] is True
    assert own["data"] == {"P": "eA==", "TOKEN": "dmVyeS1zZWNyZXQ="}
    assert [mistakes(own, version) for version in VERSIONS] == [[]] * len(VERSIONS)


def test_what_looks_like_a_variable_stays_text() -> None:
    env = {
        one["name"]: one.get("value")
        for one in pod_of(of_case("variables"))["containers"][0]["env"]
    }
    assert env["GREETING"] == "$$(HOME) {{ .Values }} 'a\" : #"
    assert env["NUMBER"] == "007"


def test_selectors_are_the_same_for_every_revision() -> None:
    """A cluster refuses to change them."""
    first = one_of(wanted(), "Deployment")["spec"]["selector"]
    other = one_of(wanted(cpu=1, labels={"team": "a"}), "Deployment")["spec"]["selector"]
    assert first == other


def test_an_update_takes_no_pod_away_before_another_is_ready() -> None:
    strategy = one_of(wanted(), "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}


# Who may call.


def callers(asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one_of(asked, "NetworkPolicy")["spec"]["ingress"]
    return found


def test_a_service_is_private_unless_it_is_said_otherwise() -> None:
    assert one_of(wanted(), "Service")["spec"]["type"] == "ClusterIP"
    rule = callers(wanted())[0]
    assert {"podSelector": {}} in rule["from"]
    assert all("ipBlock" not in one for one in rule["from"])
    assert len(callers(wanted())) == 1


def test_who_is_allowed_comes_in_through_a_load_balancer() -> None:
    asked = of_case("for some")
    spec = one_of(asked, "Service")["spec"]
    assert spec["type"] == "LoadBalancer"
    assert spec["loadBalancerSourceRanges"] == ["10.0.0.0/8", "fd00::/8"]
    assert {"ipBlock": {"cidr": "fd00::/8"}} in callers(asked)[0]["from"]


def test_what_is_open_does_not_show_its_metrics() -> None:
    asked = of_case("monitored from outside")
    spec = one_of(asked, "Service")["spec"]
    assert [port["name"] for port in spec["ports"]] == ["http"]
    open_to_all, scraping = callers(asked)
    assert open_to_all == {"ports": [{"port": "http", "protocol": "TCP"}]}
    assert scraping["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    env = {one["name"]: one["value"] for one in pod_of(asked)["containers"][0]["env"]}
    assert env["MODELPACK_METRICS_PORT"] == "9464"


def test_a_way_in_has_to_be_asked_for_twice() -> None:
    with pytest.raises(UsageError, match=r"opens a service that 'network\.public' keeps"):
        manifests(wanted({"ingress": "nginx"}))
    with pytest.raises(UsageError, match="hides who calls"):
        manifests(wanted({"gateway": "edge/public"}, allow=("10.0.0.0/8",)))


def test_only_some_may_use_an_ingress_of_nginx() -> None:
    ingress = one_of(of_case("ingress for some"), "Ingress")
    key = "nginx.ingress.kubernetes.io/whitelist-source-range"
    assert ingress["metadata"]["annotations"][key] == "10.0.0.0/8"


# How many.


def test_a_fixed_number_is_said_by_the_deployment_alone() -> None:
    asked = wanted(min_replicas=3)
    assert one_of(asked, "Deployment")["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in kinds(asked)
    assert one_of(asked, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_a_number_that_changes_is_left_to_what_changes_it() -> None:
    for case in ("by processor time", "by requests", "by KEDA"):
        assert "replicas" not in one_of(of_case(case), "Deployment")["spec"]


def test_requests_in_flight_are_counted_by_pod() -> None:
    metric = one_of(of_case("by requests"), "HorizontalPodAutoscaler")["spec"]["metrics"][0]
    assert metric["pods"]["metric"] == {"name": "modelpack_in_flight_requests"}
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "4"}


def test_keda_asks_prometheus_the_same() -> None:
    spec = one_of(of_case("by KEDA"), "ScaledObject")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 9)
    trigger = spec["triggers"][0]["metadata"]
    query = 'sum(modelpack_in_flight_requests{namespace="default",service="digits"})'
    assert (trigger["query"], trigger["threshold"]) == (query, "4")
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 30
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300


def test_the_knobs_of_the_formula_are_those_of_the_autoscaler() -> None:
    behavior = one_of(of_case("by every knob"), "HorizontalPodAutoscaler")["spec"]["behavior"]
    assert behavior["scaleUp"]["policies"] == [
        {"type": "Percent", "value": 50, "periodSeconds": 30},
        {"type": "Pods", "value": 1, "periodSeconds": 30},
    ]
    assert behavior["scaleDown"]["policies"][0]["value"] == 25
    tolerances = behavior["scaleUp"]["tolerance"], behavior["scaleDown"]["tolerance"]
    assert tolerances == ("50m", "100m")
    said = warnings(of_case("by every knob"))
    assert [text.partition(":")[0] for text in said] == ["scaling.every_s", "scaling.window_s"]


def test_keda_averages_and_asks_as_often_as_it_is_told() -> None:
    asked = of_case("by every knob of KEDA")
    spec = one_of(asked, "ScaledObject")["spec"]
    assert spec["pollingInterval"] == 30
    query = spec["triggers"][0]["metadata"]["query"]
    assert query.startswith("avg_over_time(sum(modelpack_in_flight_requests{")
    assert query.endswith("[60s:5s])")
    up = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"]
    assert up["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 30}]
    assert ["scaling.up_tolerance" in text for text in warnings(asked)] == [True]


def test_nobody_wakes_a_plain_deployment_unless_keda_is_told_how() -> None:
    asked = wanted(min_replicas=0, idle_s=60.0)
    assert one_of(asked, "Deployment")["spec"]["replicas"] == 1
    assert "one pod stays" in warnings(asked)[0]
    spec = one_of(of_case("by KEDA to zero"), "ScaledObject")["spec"]
    assert (spec["minReplicaCount"], spec["cooldownPeriod"]) == (0, 60)
    assert [one["name"] for one in spec["triggers"]] == ["in-flight", "wake"]
    assert "are refused until one is ready" in warnings(of_case("by KEDA to zero"))[0]


def test_windows_longer_than_kubernetes_has_are_refused() -> None:
    with pytest.raises(UsageError, match="3600 seconds at most, got 7200"):
        manifests(wanted(max_replicas=3, cooldown_down_s=7200.0))


# A property over all settings together.

MAYBE = st.booleans()
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(MODES),
        "cpu": st.floats(0.001, 1024),
        "memory_bytes": st.integers(6 * 2**20, 2**42),
        "accelerator": st.sampled_from(
            ["nvidia", "nvidia-a100:8", "gaudi:2", "tpu-v6e:8", "trainium"]
        ),
        "instance": st.sampled_from(["auto", "g6.xlarge"]),
        "min_replicas": st.integers(0, 50),
        "in_flight": st.integers(1, 10_000),
        "cooldown_up_s": st.floats(0, 3600),
        "cooldown_down_s": st.floats(0, 3600),
        "every_s": st.floats(0.5, 3600),
        "window_s": st.floats(0, 86_400),
        "max_up_factor": st.floats(1, 100),
        "max_down_factor": st.floats(0, 1),
        "up_tolerance": st.floats(0, 10),
        "down_tolerance": st.floats(0, 1),
        "canary_percent": st.integers(1, 99),
        "public": MAYBE,
        "ready_timeout_s": st.floats(0.1, 4000),
        "env": st.dictionaries(
            st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True).filter(
                lambda name: not name.startswith("MODELPACK_")
            ),
            st.text(
                st.characters(min_codepoint=32, exclude_characters="\x7f", codec="utf-8"),
                max_size=30,
            ),
            max_size=3,
        ),
        "secrets": st.dictionaries(
            st.from_regex(r"S_[A-Z]{1,5}", fullmatch=True),
            st.sampled_from(["env:A", "file:/a", "k8s:some-name/a.key"]),
            max_size=3,
        ),
    },
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True).filter(
    lambda name: not name.endswith(".")
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "scaler": st.sampled_from(SCALERS),
        "kubernetes": st.sampled_from(["1.28", "1.30", "1.37"]),
        "monitoring": st.just("monitoring"),
        "namespace": st.just("ml"),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=SETTINGS, options=OPTIONS, name=NAMES, more=st.integers(0, 20))
def test_whatever_is_asked_for_is_taken_by_a_cluster_or_refused_by_us(
    values: dict[str, Any], options: dict[str, str], name: str, more: int
) -> None:
    if options.get("scaler") == "keda":
        options = {**options, **KEDA}
    if more:
        values = {**values, "max_replicas": max(1, values.get("min_replicas", 1)) + more}
    try:
        asked = wanted(options, name=name, **values)
        objects = manifests(asked)
    except UsageError:
        return
    assert problems(objects) == []
    for version in (VERSIONS[0], VERSIONS[-1]):
        if int(version.split(".")[1]) >= asked.options.kubernetes[1]:
            assert [said for one in objects for said in mistakes(one, version)] == []


def test_settings_are_those_of_the_deploy_layer() -> None:
    """The cases leave none out that decides an object, so that a new one is thought of."""
    asked = {name for values, _ in CASES.values() for name in values}
    elsewhere = {"target", "region", "port", "host", "vpc", "subnets", "security_groups"}
    elsewhere |= {"bake_s", "ready_timeout_s", "grpc_port"}
    assert set(DeploySettings.__dataclass_fields__) - asked - elsewhere == set()
