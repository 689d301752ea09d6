"""docker/kuberay/ holds together: with Kubernetes' own definitions, with itself, with Compose."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from service.cli import app
from service.control.local_ray import RAY_ENVIRONMENT
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "kuberay"
DEFINITIONS: dict[str, Any] = json.loads(
    (Path(__file__).with_name("kubernetes") / "kubernetes-1.33.json").read_text()
)
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    one
    for name in KUSTOMIZATION["resources"]
    for one in yaml.safe_load_all((FOLDER / name).read_text())
]
#: What each kind of ours is called among the definitions.
KINDS = {
    "Deployment": "apps.v1",
    "StatefulSet": "apps.v1",
    "Job": "batch.v1",
    "Service": "core.v1",
    "PersistentVolumeClaim": "core.v1",
    "NetworkPolicy": "networking.v1",
}
#: KubeRay's own kind, as far as it is used here: a pod's template is Kubernetes'.
_GROUP = {
    "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
    "template": {"$ref": "#/$defs/io.k8s.api.core.v1.PodTemplateSpec"},
}
_COUNT = {"type": "integer", "minimum": 0}
RAY_CLUSTER = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayCluster"},
        "metadata": {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
        "spec": {
            "type": "object",
            "required": ["headGroupSpec"],
            "additionalProperties": False,
            "properties": {
                "rayVersion": {"type": "string"},
                "headGroupSpec": {
                    "type": "object",
                    "required": ["rayStartParams", "template"],
                    "additionalProperties": False,
                    "properties": {
                        **_GROUP,
                        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                    },
                },
                "workerGroupSpecs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["groupName", "minReplicas", "maxReplicas", *_GROUP],
                        "additionalProperties": False,
                        "properties": {
                            **_GROUP,
                            "groupName": {"type": "string"},
                            "replicas": _COUNT,
                            "minReplicas": _COUNT,
                            "maxReplicas": _COUNT,
                        },
                    },
                },
            },
        },
    },
}


def definition(kind: str) -> dict[str, Any]:
    if kind == "RayCluster":
        return RAY_CLUSTER
    return {"$ref": f"#/$defs/io.k8s.api.{KINDS[kind]}.{kind}"}


def named(one: dict[str, Any]) -> str:
    return f"{one['kind']}-{one['metadata']['name']}"


def ray_cluster() -> dict[str, Any]:
    (found,) = [one for one in OBJECTS if one["kind"] == "RayCluster"]
    return found


def templates() -> dict[str, dict[str, Any]]:
    """Pod templates by the name of what makes the pods; groups of Ray nodes by theirs."""
    found = {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in OBJECTS
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    }
    spec = ray_cluster()["spec"]
    groups = {group["groupName"]: group["template"] for group in spec["workerGroupSpecs"]}
    return found | {"head": spec["headGroupSpec"]["template"]} | groups


TEMPLATES = templates()
OURS = {name: one for name, one in TEMPLATES.items() if name != "postgres"}
RAY_NODES = ("scheduler", "head", "processors", "gpus")
each_template = pytest.mark.parametrize("name", TEMPLATES)


def container(name: str) -> dict[str, Any]:
    (found,) = TEMPLATES[name]["spec"]["containers"]
    return found


def generated(kind: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in KUSTOMIZATION[f"{kind}Generator"]}


def literals(name: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in generated("configMap")[name]["literals"])


def environment(name: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for source in container(name).get("envFrom", []):
        values |= literals(source["configMapRef"]["name"])
    return values | {one["name"]: one["value"] for one in container(name).get("env", [])}


def labels(name: str) -> dict[str, str]:
    return TEMPLATES[name]["metadata"]["labels"]


def selected(selector: dict[str, Any]) -> set[str]:
    """Names of the pod templates that a selector's labels match."""
    wanted = selector.get("matchLabels", {})
    return {name for name in TEMPLATES if wanted.items() <= labels(name).items()}


@pytest.mark.parametrize("one", OBJECTS, ids=named)
def test_an_object_is_what_kubernetes_takes(one: dict[str, Any]) -> None:
    schema = definition(one["kind"]) | {"$defs": DEFINITIONS["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(one)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replica"), 2),
        (("spec", "headGroupSpec", "template", "spec", "containres"), []),
        (("spec", "workerGroupSpecs", 0, "minReplicas"), "none"),
        (("spec", "workerGroupSpecs", 1, "template", "spec", "volumes", 0, "secretName"), "x"),
    ],
)
def test_a_wrong_key_of_a_ray_cluster_is_found(path: tuple[Any, ...], value: Any) -> None:
    wrong = json.loads(json.dumps(ray_cluster()))
    inner = wrong
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    schema = RAY_CLUSTER | {"$defs": DEFINITIONS["$defs"]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(wrong)


@each_template
def test_what_a_pod_mounts_is_there_and_what_is_there_is_mounted(name: str) -> None:
    spec = TEMPLATES[name]["spec"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    claims = {one["metadata"]["name"] for one in OBJECTS if one["kind"] == "PersistentVolumeClaim"}
    mounted = {one["name"] for one in container(name)["volumeMounts"]}
    if name == "postgres":
        mounted -= {"data"}  # its own claim
    assert mounted == volumes.keys()
    for volume in volumes.values():
        if "secret" in volume:
            assert volume["secret"]["secretName"] in generated("secret")
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims


@each_template
def test_a_file_that_a_variable_names_is_of_a_mounted_secret(name: str) -> None:
    volumes = {one["name"]: one for one in TEMPLATES[name]["spec"]["volumes"]}
    files = {
        f"{mount['mountPath']}/{Path(file).name}"
        for mount in container(name)["volumeMounts"]
        if "secret" in volumes.get(mount["name"], {})
        for file in generated("secret")[volumes[mount["name"]]["secret"]["secretName"]]["files"]
    }
    named = {value for value in environment(name).values() if value.startswith("/run/secrets/")}
    assert named == files


def test_every_generated_secret_and_setting_is_used() -> None:
    secrets = {
        volume["secret"]["secretName"]
        for one in TEMPLATES.values()
        for volume in one["spec"]["volumes"]
        if "secret" in volume
    }
    settings = {
        source["configMapRef"]["name"]
        for name in TEMPLATES
        for source in container(name).get("envFrom", [])
    }
    assert secrets == generated("secret").keys()
    assert settings == generated("configMap").keys()


def test_every_selector_and_policy_finds_its_pods() -> None:
    for one in OBJECTS:
        name, spec = one["metadata"]["name"], one["spec"]
        match one["kind"]:
            case "Deployment" | "StatefulSet":
                assert selected(spec["selector"]) == {name}
            case "Service":
                assert selected({"matchLabels": spec["selector"]}) == {name}
                ports = {port["name"] for port in container(name)["ports"]}
                assert {port["targetPort"] for port in spec["ports"]} <= ports
            case "NetworkPolicy":
                assert selected(spec["podSelector"]), name


def test_who_reaches_the_record_and_who_is_a_ray_node_is_labelled_so() -> None:
    reaches = {name for name in TEMPLATES if "NGPU_DATABASE_URL" in environment(name)}
    assert selected({"matchLabels": {"reaches": "record"}}) == reaches
    assert selected({"matchLabels": {"ray-node": "true"}}) == set(RAY_NODES)


def test_nothing_leaves_the_namespace_but_questions_for_names() -> None:
    policies = [one["spec"] for one in OBJECTS if one["kind"] == "NetworkPolicy"]
    (default,) = [one for one in policies if one["podSelector"] == {}]
    assert default["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default
    for rule in (rule for one in policies for rule in one.get("egress", [])):
        for peer in rule["to"]:
            outside = "ipBlock" in peer or "namespaceSelector" in peer
            assert not outside or {port["port"] for port in rule["ports"]} == {53}


@pytest.mark.parametrize("name", OURS)
def test_a_pod_runs_what_its_service_of_compose_runs(name: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    service = compose[
        {"head": "ray-head", "processors": "ray-worker", "gpus": "ray-worker"}.get(name, name)
    ]
    image = container(name)["image"]
    assert image in {one["name"] for one in KUSTOMIZATION["images"]}
    assert image.removesuffix("-cuda") == service["image"]
    if "args" in container(name):
        assert container(name)["args"] == service["command"]
        assert "command" not in container(name), "the image's entry point must run"
    else:
        assert container(name)["command"][0] == "entrypoint.sh"
    ours = {key: value for key, value in environment(name).items() if "RAY_ADDRESS" not in key}
    theirs = service.get("environment", {})
    same = {key for key in theirs if not str(theirs[key]).startswith("/run/secrets/")}
    assert ours.keys() == theirs.keys() - {"NGPU_RAY_ADDRESS"}
    assert all(ours[key] == theirs[key] for key in same & ours.keys())


@pytest.mark.parametrize("name", RAY_NODES)
def test_a_ray_node_has_the_settings_of_the_runners_that_use_it(name: str) -> None:
    expected = {key: value for key, value in RAY_ENVIRONMENT.items() if key.startswith("RAY_")}
    given = {key: value for key, value in environment(name).items() if key.startswith("RAY_")}
    assert given == expected | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": "/run/secrets/ray/ray_token",
    }


def test_the_scheduler_finds_the_service_that_kuberay_makes_for_the_head() -> None:
    port = {one["name"]: one["containerPort"] for one in container("head")["ports"]}["gcs"]
    address = f"{ray_cluster()['metadata']['name']}-head-svc:{port}"
    assert environment("scheduler")["NGPU_RAY_ADDRESS"] == address


def test_every_start_parameter_is_one_that_ray_takes() -> None:
    from ray.scripts.scripts import cli

    spec = ray_cluster()["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for start in (["--head"], *[["--address=head:6379"]] * (len(groups) - 1)):
        given = groups.pop(0)["rayStartParams"]
        words = [f"--{key}={value}" for key, value in given.items()]
        cli.commands["start"].make_context("start", [*start, *words])
    assert ray_cluster()["metadata"]["annotations"] == {"ray.io/overwrite-container-cmd": "true"}
    pinned = re.search(r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    assert spec["rayVersion"] == pinned[1]


def test_the_head_trains_nothing_and_gpus_are_asked_for_where_the_image_has_them() -> None:
    assert ray_cluster()["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    gpus = {
        name for name in TEMPLATES if "nvidia.com/gpu" in container(name)["resources"]["limits"]
    }
    assert gpus == {name for name in TEMPLATES if container(name)["image"] == "ngpu-node-cuda"}
    assert gpus == {"gpus"}


@each_template
def test_a_pod_is_no_more_than_it_must_be(name: str) -> None:
    spec, one = TEMPLATES[name]["spec"], container(name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in one["resources"]["limits"]
    if spec.get("restartPolicy", "Always") == "Always":
        assert {"readinessProbe", "livenessProbe"} <= one.keys() or name == "scheduler"


@pytest.mark.parametrize("name", OURS)
def test_its_commands_and_settings_are_the_programs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in environment(name).items():
        monkeypatch.setenv(variable, value)
    Settings()
    words = container(name).get("args", [""])
    if words[0] == "ngpu":
        assert words[1] in get_command(app).commands  # type: ignore[attr-defined]
    elif words[0].endswith(".sh"):
        assert (ROOT / "docker" / words[0]).is_file()


def test_kustomize_puts_it_together(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folder = shutil.copytree(FOLDER, tmp_path / "kuberay", ignore=shutil.ignore_patterns("secrets"))
    for secret in generated("secret").values():
        for file in secret["files"]:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text("x")
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {one["metadata"].get("namespace") for one in built} == {KUSTOMIZATION["namespace"]}
    assert {one["kind"] for one in built} == {*KINDS, "RayCluster", "Secret", "ConfigMap"}
