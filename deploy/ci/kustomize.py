"""Writes deploy/kustomize from the chart.

What is the same in every profile goes into the base; what differs goes into the overlay of its profile. The custom resources stay in deploy/crds,
which is a base of its own, because they must be applied first. What a switch of the chart changes in the objects goes into a component.
"""

import pathlib
import sys

import yaml

import chart

FOLDER = chart.DEPLOY / "kustomize"
HEADER = "# Written by deploy/render from the Helm chart; change that, not this.\n"
OVERLAYS = {"observe": "observe", "reshape": "reshape", "act": "full"}
# Switches that a kustomization adds to the overlays `reshape` and `act` by its `components`: what of the objects they change.
COMPONENTS = {"pause-clients": {"controller": {"pauseClients": True}}}
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": chart.NAMESPACE,
        # The agent needs a capability and two folders of the node. The controller would do with `restricted`.
        "labels": {f"pod-security.kubernetes.io/{what}": "privileged" for what in ("enforce", "audit", "warn")},
    },
}


def files():
    """Every file by its path below the folder."""
    rendered = {name: clean(chart.objects(chart.MATRIX[profile])) for name, profile in OVERLAYS.items()}
    first, *others = rendered.values()
    common = [document for document in first if all(document in other for other in others)]
    written = {"base/retile.yaml": text([NAMESPACE, *common]), "base/kustomization.yaml": kustomization(["retile.yaml"])}
    for name, documents in rendered.items():
        own = [document for document in documents if document not in common]
        written[f"overlays/{name}/retile.yaml"] = text(own)
        written[f"overlays/{name}/kustomization.yaml"] = kustomization(["../../base", "retile.yaml"])
    for name, values in COMPONENTS.items():
        switched = clean(chart.objects({**chart.MATRIX["full"], **values}))
        patches = []
        for document in (document for document in switched if document not in rendered["act"]):
            path = f"{document['kind']}-{document['metadata']['name']}.yaml".lower()
            # As a whole: what strategic merges do to lists depends on the version of kustomize.
            parts = {"/metadata/labels": document["metadata"]["labels"], "/spec": document["spec"]}
            replacement = [{"op": "replace", "path": at, "value": value} for at, value in parts.items()]
            written[f"components/{name}/{path}"] = HEADER + yaml.safe_dump(replacement, sort_keys=False, width=150)
            target = {"kind": document["kind"], "name": document["metadata"]["name"]}
            patches.append({"path": path, "target": target})
        written[f"components/{name}/kustomization.yaml"] = component(patches)
    return written


def clean(documents):
    """Without what only Helm means."""
    for document in documents:
        labels = document["metadata"].get("labels", {})
        labels.pop("helm.sh/chart", None)
        labels.pop("app.kubernetes.io/managed-by", None)
    return documents


def text(documents):
    return HEADER + "---\n".join(yaml.safe_dump(document, sort_keys=False, width=150) for document in documents)


def kustomization(resources):
    document = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
    return HEADER + yaml.safe_dump(document, sort_keys=False)


def component(patches):
    document = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "patches": patches}
    return HEADER + yaml.safe_dump(document, sort_keys=False)


def main():
    for path, content in files().items():
        target = FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        print(target.relative_to(chart.ROOT), file=sys.stderr)


if __name__ == "__main__":
    main()
