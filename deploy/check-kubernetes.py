"""Checks the Kubernetes manifests without a cluster: the schemas of the API, the names by which they refer to each other,
what the image and the program need, and that the program accepts their settings and monitors.

    check-kubernetes.py path/to/.env.example path/to/Dockerfile path/to/binary FOLDER
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from kubernetes_validate.utils import all_versions, validate
import yaml

settings_file, dockerfile, binary, folder = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
known = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", settings_file.read_text(), re.MULTILINE))
image = dockerfile.read_text()
user = int(re.search(r"^USER (\d+):\d+$", image, re.MULTILINE).group(1))
paths = dict(re.findall(r"([A-Z_]+_DIR)=(/\S+)", image))
# The oldest one whose schemas the package has, and the newest.
versions = all_versions()
wrong = []


def claim(what, right):
    if not right:
        wrong.append(f"not met: {what}")


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


objects = {}
for path in sorted(folder.glob("*.yaml")):
    for item in yaml.safe_load_all(path.read_text()):
        for version in (versions[0], versions[-1]):
            try:
                validate(item, version, strict=True)
            except Exception as e:  # The package raises errors of several libraries.
                wrong.append(f"{path.name}: {item.get('kind')}: Kubernetes {version}: {e}")
        objects.setdefault(path.name, []).append(item)

shared = objects["monitors.yaml"] + objects["secret.example.yaml"]
monitors = next(item["data"] for item in shared if item["kind"] == "ConfigMap")
secrets = next(item["stringData"] for item in shared if item["kind"] == "Secret")
images = set()
for name, replicas in (("sqlite.yaml", 1), ("postgres.yaml", 2)):
    def right(what, holds):
        claim(f"{name}: {what}", holds)

    items = objects[name]
    workload = next(item for item in items if item["kind"] in ("StatefulSet", "Deployment"))
    service = next(item for item in items if item["kind"] == "Service")
    spec, pod = workload["spec"], workload["spec"]["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    right(f"{replicas} replicas", spec["replicas"] == replicas)
    for selector in (spec["selector"]["matchLabels"], service["spec"]["selector"]):
        right(f"a selector {selector} that matches {labels}", selector.items() <= labels.items())
    right("the service of a StatefulSet", spec.get("serviceName", "data-sources-monitor") == service["metadata"]["name"])
    right("a stop takes at most 10 s", pod["terminationGracePeriodSeconds"] >= 15)
    right("no token of the cluster", pod["automountServiceAccountToken"] is False)
    secure = pod["securityContext"]
    right(f"user {user} of the image", secure["runAsNonRoot"] and secure["runAsUser"] == secure["fsGroup"] == user)
    right("seccomp", secure["seccompProfile"]["type"] == "RuntimeDefault")

    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"]: claim for claim in spec.get("volumeClaimTemplates", [])}
    names = {item["metadata"]["name"] for item in shared}
    for volume in volumes.values():
        source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
        # Without an optional one the folder is empty.
        optional = volume.get("configMap", {}).get("optional", False)
        right(f"{source} is declared", source is None or optional or source in names)

    for container in containers(pod):
        images.add(container["image"])
        secure = container["securityContext"]
        right("no privileges", secure["allowPrivilegeEscalation"] is False and secure["capabilities"]["drop"] == ["ALL"])
        right("a read-only root", secure["readOnlyRootFilesystem"] is True)
        right("a limit of the memory", "memory" in container["resources"]["limits"])
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        right("declared volumes", set(mounts.values()) <= set(volumes))
        right("a volume for DATA_DIR of the image", paths["DATA_DIR"] in mounts)
        right("definitions where the image expects them", mounts.get(paths["MONITORS_DIR"]) == "monitors")
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        right("the port of LISTEN", variables["LISTEN"] == f"0.0.0.0:{ports['http']}")
        right("the service's port", all(port["targetPort"] in ports for port in service["spec"]["ports"]))
        probes = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
        right("known ports of the probes", all(probe["port"] in ports for probe in probes.values()))
        want = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        right("paths of the probes", {probe: get["path"] for probe, get in probes.items()} == want)
        startup = container["startupProbe"]
        right("a start may retry for 100 s", startup["periodSeconds"] * startup["failureThreshold"] > 120)
        for variable, value in variables.items():
            right(f"unknown setting {variable}", variable in known or variable.removesuffix("_FILE") in known)
            if variable.endswith("_FILE"):
                mount, _, key = value.rpartition("/")
                right(f"{variable}: {value} is mounted", mounts.get(mount) == "secrets" and key in secrets)

        # What the pod sees: the mounted files, and nothing of this machine's environment.
        with tempfile.TemporaryDirectory() as work:
            root = pathlib.Path(work)
            for place, files in (("monitors", monitors), ("secrets", secrets), ("connectors", {}), ("tenants", {}), ("channels", {}), ("data", {})):
                (root / place).mkdir()
                for file, text in files.items():
                    (root / place / file).write_text(text)
            env = {setting: f"{root}{path}" for setting, path in paths.items()} | {"LOG_FILE": "off"}
            env |= {v: value if not v.endswith("_FILE") else f"{root}{value}" for v, value in variables.items()}
            done = subprocess.run([binary, "validate"], cwd=root, env=env, capture_output=True, text=True, check=False)
            right(f"settings and monitors are valid:\n{done.stdout}{done.stderr}", done.returncode == 0)

claim(f"one image with a fixed tag: {images}", len(images) == 1 and not re.search(r"/[^:]+$|:latest$", next(iter(images))))
if wrong:
    sys.exit("\n".join(wrong))
print(f"the Kubernetes manifests are valid from {versions[0]} to {versions[-1]}")
