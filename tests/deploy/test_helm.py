"""The Helm chart: linted and rendered by Helm's own code, and held against the schemas of Kubernetes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.request import urlopen

import helm_python
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from tests.commands import run_vouchd
from tests.ports import free_port
from tests.processes.running import eventually

from vouchd import __version__

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "vouchd"
ERROR = 3  # of Helm's severities
# All that can be chosen, so that each template and branch is rendered.
CHOICES = {
    "plain": {},
    "embedded": {"directory": {"enabled": False}, "members": [{"name": "only", "setup": "only-setup"}]},
    "all": {
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"repository": "registry.example.org/vouchd", "tag": "9"},
        "storage": {"storageClassName": "fast"},
        "service": {"type": "LoadBalancer", "annotations": {"a.example/b": "c"}},
        "networkPolicy": {
            "ocsp": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
            "agents": [{"namespaceSelector": {"matchLabels": {"pki": "ca"}}}],
            "metrics": [{"namespaceSelector": {"matchLabels": {"pki": "monitoring"}}}],
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "pki", "operator": "Exists"}],
    },
    "little": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
}


@pytest.fixture(scope="module", autouse=True)
def schemas() -> Iterator[None]:
    """The schemas of a version are read once: they are megabytes of JSON, and wanted for each manifest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@cache
def _rendered(choice: str) -> str:
    """The manifests as JSON; what is made of them is changed by nobody."""
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(CHOICES[choice], name="pki", namespace="ocsp")
    manifests = [text for path, text in sorted(texts.items()) if path.endswith(".yaml")]
    return json.dumps([one for text in manifests for one in yaml.safe_load_all(text) if one])


def manifests(choice: str, kind: str = "") -> list[dict]:
    """What Helm would send to the cluster, of one kind or all."""
    return [one for one in json.loads(_rendered(choice)) if kind in {"", one["kind"]}]


def pods(choice: str) -> Iterator[tuple[dict, list[dict]]]:
    """Each pod's specification with its containers."""
    for one in manifests(choice, "StatefulSet"):
        spec = one["spec"]["template"]["spec"]
        yield spec, spec["initContainers"] + spec["containers"]


@pytest.mark.parametrize("choice", CHOICES)
def test_chart_is_clean_for_helm(choice):
    """Strict lint says nothing but that there is no picture."""
    report = helm_python.lint(CHART, CHOICES[choice], strict=True)
    assert [one["error"] for one in report["messages"]] == ["icon is recommended"]
    assert not report["errors"]


def test_lint_would_find_what_is_wrong():
    """A chart whose values its schema refuses does not pass, so it was looked at."""
    report = helm_python.lint(CHART, {"member": []}, strict=True)
    assert any(one["severity"] == ERROR and "member" in one["error"] for one in report["messages"])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"members": []}, "members"),
        ({"members": [{"name": "ocsp1", "setup": "s"}]}, "directorySetup"),
        ({"members": [{"name": "Not_A_Label", "setup": "s", "directorySetup": "d"}]}, "name"),
        ({"service": {"port": 0}}, "port"),
        ({"storage": {"size": "much"}}, "size"),
    ],
)
def test_values_that_could_not_work_are_refused_by_name(values, why):
    """The schema of the values tells which one."""
    with helm_python.Chart.load(CHART) as chart, pytest.raises(helm_python.HelmError, match=why):
        chart.render(values, name="pki", namespace="ocsp")


@pytest.mark.parametrize("version", ["1.25", "1.29", "1.33", "1.37"])
@pytest.mark.parametrize("choice", CHOICES)
def test_manifests_are_what_kubernetes_takes(choice, version):
    """Strict: a field that there is not is refused. The monitor is of an operator, whose schema is its own."""
    for one in manifests(choice):
        if one["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(one, version, strict=True)


def test_schemas_would_find_what_is_wrong():
    """A misspelt field of a pod does not pass."""
    (wrong, *_) = manifests("plain", "StatefulSet")
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


@pytest.mark.parametrize("choice", CHOICES)
def test_pods_may_do_no_more_than_they_have_to(choice):
    """No root, no capability, nothing to write to but volumes, no token and no names of the cluster."""
    for spec, containers in pods(choice):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10443
        assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert not spec["automountServiceAccountToken"]
        assert not spec["enableServiceLinks"]
        for container in containers:
            may = container["securityContext"]
            assert may["readOnlyRootFilesystem"] is True
            assert may["allowPrivilegeEscalation"] is False
            assert may["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("choice", CHOICES)
def test_secrets_are_files_and_only_set_up_has_them(choice):
    """No container has an environment; what runs for years mounts no Secret."""
    for spec, containers in pods(choice):
        assert not [one for one in containers if "env" in one or "envFrom" in one]
        secret = {volume["name"] for volume in spec["volumes"] if "secret" in volume}
        for container in spec["containers"]:
            assert not secret & {mount["name"] for mount in container["volumeMounts"]}


def test_member_has_a_volume_a_name_and_probes_of_its_own():
    """One pod each, answering at the paths that an instance has; nothing replaces all of them at once."""
    members = [one for one in manifests("plain", "StatefulSet") if not one["metadata"]["name"].endswith("-ds")]
    assert [one["metadata"]["name"] for one in members] == ["pki-vouchd-ocsp1", "pki-vouchd-ocsp2"]
    for one in members:
        assert one["spec"]["replicas"] == len(one["spec"]["volumeClaimTemplates"]) == 1
        assert one["spec"]["updateStrategy"] == {"type": "OnDelete"}
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize("choice", CHOICES)
def test_selectors_find_what_they_are_for(choice):
    """Each Service, policy and budget matches at least one pod, and each StatefulSet its own alone."""
    templates = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in manifests(choice, "StatefulSet")
    }

    def matched(labels: dict[str, str]) -> list[str]:
        return [name for name, of_pod in templates.items() if labels.items() <= of_pod.items()]

    for one in manifests(choice):
        spec, name = one["spec"], one["metadata"]["name"]
        if one["kind"] == "StatefulSet":
            assert matched(spec["selector"]["matchLabels"]) == [name]
        elif one["kind"] == "Service":
            ours = matched(spec["selector"])
            assert (
                ours == [name]
                if name in templates
                else len(ours) == len(matched({})) // (2 if len(templates) > 1 else 1)
            )
        elif one["kind"] != "ServiceMonitor":
            assert matched((spec.get("selector") or spec["podSelector"])["matchLabels"])


def test_directory_is_closed_to_all_but_the_set():
    """LDAP is open to members and directory servers alone, and so are agents' ports until somebody is named."""
    policies = {one["metadata"]["name"]: one["spec"] for one in manifests("plain", "NetworkPolicy")}
    components = {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policies["pki-vouchd-ds"]["ingress"]
        for peer in rule["from"]
    }
    assert components == {"member", "directory"}
    agents = [rule for rule in policies["pki-vouchd"]["ingress"] if {"port": "agents"} in rule["ports"]]
    assert [len(rule["from"]) for rule in agents] == [1]
    assert not [rule for rule in policies["pki-vouchd"]["ingress"] if {"port": "health"} in rule["ports"]]


def test_chart_is_of_this_version():
    """Its images are tagged so."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


@pytest.mark.process
def test_set_up_script_makes_an_instance_once_that_its_probes_find_ready(tmp_path):
    """The init container's script, with this host's folders: twice, as a pod that is started again runs it."""
    (member,) = manifests("embedded", "StatefulSet")
    (step,) = member["spec"]["template"]["spec"]["initContainers"]
    secrets, setup, instance = tmp_path / "secrets", tmp_path / "setup", tmp_path / "instance"
    secrets.mkdir()
    setup.mkdir()
    ports = {name: free_port() for name in ("port", "agent_port", "health_port")}
    answers = {
        "subsystem": {"host": "ocsp.example.org", "workers": 1, **ports},
        "requests": {"kind": "ca", "ca": str(tmp_path / "ca")},
    }
    (secrets / "answers.json").write_text(json.dumps(answers))
    (secrets / "answers.json").chmod(0o440)
    (secrets / "directory-ca.crt").write_text("of a directory server")
    assert run_vouchd("ca", "create", "--ca", tmp_path / "ca", "--subject", "CN=Pod CA").returncode == 0
    shell, flags, script = step["command"]
    for path, here in (("/run/secrets/setup", secrets), ("/setup/", f"{setup}/"), ("/var/lib/vouchd", tmp_path)):
        script = script.replace(path, str(here))
    for _ in range(2):
        done = subprocess.run(
            [shell, flags, script],
            env=_environment(tmp_path, instance),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        (secrets / "answers.json").unlink(missing_ok=True)
    assert (tmp_path / "trust/directory-ca.crt").read_text() == "of a directory server"
    assert run_vouchd("ca", "publish", "--ca", tmp_path / "ca", "--to", f"instance:{instance}").returncode == 0
    assert run_vouchd("start", "--instance", instance).returncode == 0
    try:
        (container,) = member["spec"]["template"]["spec"]["containers"]
        path = container["readinessProbe"]["httpGet"]["path"]

        def ready() -> bool:
            with urlopen(f"http://127.0.0.2:{ports['health_port']}{path}", timeout=30) as answer:
                return answer.status == 200

        eventually(ready, "it is ready at another address than 127.0.0.1")
    finally:
        run_vouchd("stop", "--instance", instance)


def _environment(folder: Path, instance: Path) -> dict[str, str]:
    """With `vouchd` in the path, as in the image."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / "vouchd"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vouchd.cli.main "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "VOUCHD_INSTANCE": str(instance)}
