"""Renders the chart as Helm does, and knows the values under which it is tested."""

import copy
import functools
import json
import os
import pathlib

import helm_python as helm
import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
ROOT = DEPLOY.parent
CHART = DEPLOY / "helm" / "retile"
NAMESPACE = "retile-system"

# Name of a case: values. Every template branch is taken by one of them.
ALWAYS = {kind: {"create": "always"} for kind in ("serviceMonitor", "podMonitor", "prometheusRule")}
MATRIX = {
    "defaults": {},
    "observe": {"profile": "observe", "crds": {"install": False}},
    "reshape": {
        "profile": "reshape",
        "crds": {"install": False},
        "policy": {"spec": {"mode": "Act"}},
    },
    "full": {
        "profile": "full",
        "crds": {"install": False},
        "policy": {"spec": {"mode": "Act", "disruption": {"level": "Balanced"}}},
    },
    "monitored": {"profile": "full", "monitoring": ALWAYS},
    "guarded-metrics": {
        "controller": {"metrics": {"tlsSecret": "retile-tls", "tokenSecret": "retile-token"}},
        "monitoring": {**ALWAYS, "serviceMonitor": {"create": "always", "tlsConfig": {"serverName": "retile"}}},
    },
    "delayed-v1": {"scaleUpDelay": {"enabled": True, "apiVersion": "v1"}},
    "delayed-some": {
        "scaleUpDelay": {
            "enabled": True,
            "apiVersion": "v1beta1",
            "namespaceSelector": {"matchLabels": {"team": "ml"}},
        }
    },
    "own-agent-namespace": {"profile": "full", "agent": {"namespace": "retile-agents"}},
    "host-tools": {
        "agent": {"hostTools": {"enabled": True, "root": "/run/nvidia/driver"}, "driverRoot": "/driver"},
    },
    "no-agents": {"agent": {"enabled": False}},
    "pausing": {
        "profile": "reshape",
        "controller": {"pauseClients": True, "protectNodes": True},
        "policy": {"spec": {"mode": "Act", "clients": "operator-pause"}},
    },
    "one-replica": {"controller": {"replicas": 1}},
    "bare": {
        "crds": {"install": True, "keep": False},
        "policy": {"create": False},
        "agent": {"runtimeClassName": "", "priorityClassName": "", "tolerations": []},
        "controller": {"priorityClassName": ""},
        "networkPolicy": {"enabled": False},
        "monitoring": {"dashboards": {"create": False}},
    },
    "everything-else": {
        "profile": "full",
        "image": {
            "repository": "registry.example:5000/gpu/retile",
            "digest": "sha256:" + "a" * 64,
            "pullSecrets": [{"name": "registry"}],
        },
        "controller": {
            "extraArgs": ["--dry-run"],
            "nodeSelector": {"pool": "system"},
            "tolerations": [{"key": "pool", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "serviceAccountAnnotations": {"e": "f"},
        },
        "agent": {
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "serviceAccountAnnotations": {"e": "f"},
        },
        "devicePlugin": {"namespaces": ["gpu-operator", "nvidia-device-plugin"]},
        "admissionPolicies": {"protectedNamespaces": ["payments"]},
        "networkPolicy": {"metricsFrom": [], "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]}},
    },
}


def templates(values, name="retile"):
    """The rendered text of each template."""
    with quiet(), helm.Chart.load(str(CHART)) as chart:
        return chart.render(values, name=name, namespace=NAMESPACE)


def objects(values):
    """The rendered objects, the caller's own."""
    return copy.deepcopy(rendered(json.dumps(values)))


@functools.cache
def rendered(values):
    found = []
    for path, text in sorted(templates(json.loads(values)).items()):
        if path.endswith(".yaml"):
            found += [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
    return found


def identity(document):
    """Kind, namespace and name."""
    meta = document["metadata"]
    return document["kind"], meta.get("namespace", ""), meta["name"]


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def named(documents, kind, name):
    """The one object of this kind and name."""
    (only,) = [document for document in of_kind(documents, kind) if document["metadata"]["name"] == name]
    return only


class quiet:
    """Keeps Helm's remarks about followed links off the terminal; it writes them past Python."""

    def __enter__(self):
        self.saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *_):
        os.dup2(self.saved, 2)
        os.close(self.saved)
