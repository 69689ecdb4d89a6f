"""Checks the compose files without a container engine: they are valid YAML, every secret, volume and service they refer to
is declared, and every variable they set is a setting.

    check-compose.py path/to/.env.example FILE...
"""

import re
import sys

import yaml

settings_file, *files = sys.argv[1:]
with open(settings_file, encoding="utf-8") as lines:
    known = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", lines.read(), re.MULTILINE))

wrong = []
for path in files:
    with open(path, encoding="utf-8") as text:
        compose = yaml.safe_load(text)
    services, secrets = compose["services"], set(compose.get("secrets") or {})
    volumes = set(compose.get("volumes") or {})
    for name, service in services.items():
        def report(problem):
            wrong.append(f"{path}: {name}: {problem}")

        if name.startswith("monitor"):
            for variable in service["environment"]:
                if variable not in known and variable.removesuffix("_FILE") not in known:
                    report(f"unknown setting {variable}")
        for variable, value in service["environment"].items():
            if variable.endswith("_FILE") and variable not in known:
                secret = str(value).removeprefix("/run/secrets/")
                if secret not in (service.get("secrets") or []):
                    report(f"{variable} refers to {value}, which is not one of its secrets")
        for secret in service.get("secrets") or []:
            if secret not in secrets:
                report(f"secret {secret} is not declared")
        for volume in service.get("volumes") or []:
            source = str(volume).split(":")[0]
            if not source.startswith((".", "/")) and source not in volumes:
                report(f"volume {source} is not declared")
        for other in service.get("depends_on") or {}:
            if other not in services:
                report(f"depends on service {other}, which is not declared")
            elif "healthcheck" not in services[other]:
                report(f"waits for service {other} to be healthy, but {other} has no health check")

if wrong:
    sys.exit("\n".join(wrong))
print(f"{len(files)} compose files are valid")
