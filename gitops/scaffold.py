"""A new GitOps repository: its environments, and what makes Argo CD sync it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gitops.address import may_hold_secret
from gitops.argocd.applications import NAMESPACE, PROJECT
from gitops.config import IN_CLUSTER
from gitops.layout import ARGOCD, ENVIRONMENTS, MODELS, README, environment_file
from gitops.render.workload import KINDS
from gitops.routers import ROUTERS, Kind
from gitops.template import template
from gitops.yamls import dump
from registry.errors import InvalidInput
from registry.names import check_label

_REPLICAS = {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}  # the autoscaler's
# https://host/path, ssh://git@host/path, file:///path, or ssh the short way: git@host:path
_URL = re.compile(r"(?:(?:https?|ssh|file)://|[\w.-]+@[\w.-]+:)[\w.,:@%/+~-]+", re.ASCII)
# the hosts whose pages have addresses that are known: GitHub's and GitLab's, also of a company's own
_WEB = re.compile(
    r"(?:https://|ssh://git@|git@)(?P<host>[\w.-]*(?:github|gitlab)[\w.-]*)(?::\d+/|[:/])(?P<path>[\w./~-]+?)(?:\.git)?/?",
    re.ASCII,
)
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}")


def scaffold(environments: Sequence[str], *, repo_url: str, revision: str = "main") -> dict[str, bytes]:
    """Path to bytes of a repository without models; Argo CD reads it at `repo_url`, branch `revision`.

    Raises:
        InvalidInput: no environment, one named twice or badly, or a URL that is none or carries a password.
    """
    if not environments or len(set(environments)) != len(environments):
        raise InvalidInput("A repository needs at least one environment, and each only once: name them like dev prod.")
    url = check_repo_url(repo_url)
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidInput(f"{revision[:80]!r} is not a branch: give its plain name, like main.")
    written = {
        README: template("README.md", environments=", ".join(environments), branch=revision),
        f"{ARGOCD}/project.yaml": dump(_project(environments, url), _PROJECT_HEADER),
        f"{ARGOCD}/applicationset.yaml": dump(_application_set(url, revision), _APPLICATION_SET_HEADER),
    }
    for name in environments:
        values = {"name": check_label(name, "environment"), "namespace": _namespace(name), "server": IN_CLUSTER}
        written[environment_file(name)] = template("environment.yaml", **values)
        written[f"{ARGOCD}/namespaces/{name}.yaml"] = dump(_namespace_object(name), _NAMESPACE_HEADER)
    return dict(sorted(written.items()))


def check_repo_url(url: str) -> str:
    """Return `url` where it can be written into a repository for Argo CD to read.

    Raises:
        InvalidInput: it is not a git URL, or it has a password or token in it.
    """
    if not _URL.fullmatch(url):
        raise InvalidInput(
            "The repository's URL must be like https://host/path or git@host:path, without blanks or braces."
        )
    if "://" in url:
        parts = urlsplit(url)
        if may_hold_secret(parts.scheme, parts.netloc):
            raise InvalidInput(
                "The repository's URL has a user or password in it, and would be in git for all to read: leave it"
                " out and give Argo CD the credentials as a repository secret."
            )
    return url


_PROJECT_HEADER = """\
What Argo CD may do for the models: sync this repository, to these namespaces, these kinds, and nothing else.
People with access to Argo CD change it; add a destination for every new environment."""
_APPLICATION_SET_HEADER = """\
One Application for each models/<model>/<environment>/release.yaml whose environment has a file in environments/.
A new release needs no change here."""
_NAMESPACE_HEADER = """\
Apply it once to the environment's cluster. The first label lets the AWS Load Balancer Controller hold a new pod
back until the load balancer finds it healthy; the second keeps anything out that could become root."""


def _namespace(environment: str) -> str:
    return f"models-{environment}"


def _namespace_object(environment: str) -> Mapping[str, Any]:
    # Not left to Argo CD's CreateNamespace: with labels, it takes only one Application per namespace.
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": _namespace(environment),
            "labels": {
                "elbv2.k8s.aws/pod-readiness-gate-inject": "enabled",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    }


def _project(environments: Sequence[str], url: str) -> Mapping[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {
            "name": PROJECT,
            "namespace": NAMESPACE,
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        },
        "spec": {
            "description": "Models released by Sluice",
            "sourceRepos": [url],
            "destinations": [{"server": IN_CLUSTER, "namespace": _namespace(name)} for name in environments],
            "clusterResourceWhitelist": [],
            "namespaceResourceWhitelist": [kind._asdict() for kind in _kinds()],
        },
    }


def _kinds() -> Sequence[Kind]:
    """What may be rendered, now or after people change an environment's router, and nothing else."""
    return sorted({*KINDS, *(kind for router in ROUTERS for kind in router.KINDS)})


def _application_set(url: str, revision: str) -> Mapping[str, Any]:
    # Two git generators in one matrix need path parameters of different names (operator-manual/applicationset/
    # Generators-Matrix.md, "Two Git Generators Using pathParamPrefix"); the second may use what the first read. So may
    # the list use what both read, as it comes after a matrix: inside of one that comes second, it could not.
    environments = {"files": [{"path": f"{ENVIRONMENTS}/*.yaml"}], "pathParamPrefix": "env"}
    releases = {"files": [{"path": f"{MODELS}/*/{{{{ .name }}}}/release.yaml"}], "pathParamPrefix": "release"}
    source = {"repoURL": url, "revision": revision}
    found = {"matrix": {"generators": [{"git": {**source, **files}} for files in (environments, releases)]}}
    places = {"list": {"elements": [], "elementsYaml": _PLACES}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": PROJECT, "namespace": NAMESPACE},
        "spec": {
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [{"matrix": {"generators": [found, places]}}],
            "template": _application(url, revision),
        },
    }


# One element for each of the environment's `clusters`, or for its `cluster`, which needs no name. They are under a key
# of their own, because an environment has a name as well.
_PLACES = (
    "["
    f'{{{{ $one := dict "name" "" "server" (dig "cluster" "server" "{IN_CLUSTER}" .) }}}}'
    '{{ range $i, $each := dig "clusters" (list) . | default (list $one) }}'
    "{{ if $i }}, {{ end }}"
    '{"place": {{ pick $each "name" "server" | toJson }}}'
    "{{ end }}"
    "]"
)


def _application(url: str, revision: str) -> Mapping[str, Any]:
    history = _history(url, revision)
    link = {"link.argocd.argoproj.io/history": history} if history else {}
    return {
        "metadata": {
            "name": "{{ .model }}-{{ .name }}{{ if .place.name }}-{{ .place.name }}{{ end }}",
            "labels": {"sluicegate.dev/model": "{{ .model }}", "sluicegate.dev/environment": "{{ .name }}"},
            # a commit of another model is none of this one's: Argo CD keeps what it made of the manifests before
            "annotations": {"argocd.argoproj.io/manifest-generate-paths": ".", **link},
        },
        "spec": {
            "project": PROJECT,
            "source": {"repoURL": url, "targetRevision": revision, "path": "{{ .release.path.path }}/manifests"},
            "destination": {"server": "{{ .place.server }}", "namespace": "{{ .namespace }}"},
            "info": [{"name": name, "value": value} for name, value in _info(history).items()],
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                # Not RespectIgnoreDifferences: it would write the replicas that are ignored below, and with
                # server-side apply take them over from the autoscaler.
                "syncOptions": ["PruneLast=true", "ServerSideApply=true", "FailOnSharedResource=true"],
                # `refresh`: else a rollback waits until every retry of what it takes back has failed (argo-cd, 11494)
                "retry": {
                    "limit": 5,
                    "refresh": True,
                    "backoff": {"duration": "30s", "factor": 2, "maxDuration": "5m"},
                },
            },
            "ignoreDifferences": _ignored(),
        },
    }


def _ignored() -> Sequence[Mapping[str, Any]]:
    """What controllers write into objects that are in git."""
    found = [_REPLICAS, *(ignored for router in ROUTERS for ignored in router.IGNORED)]
    return list({json.dumps(ignored, sort_keys=True): ignored for ignored in found}.values())


def _info(history: str) -> Mapping[str, str]:
    """What Argo CD's page of an Application says of it (user-guide/extra_info.md)."""

    def version(role: str) -> str:
        # numbers of YAML are floating-point here, and a large one would be written with an exponent
        image = f'{{{{ dig "volume" .{role}.image .{role} }}}}'
        return f"{{{{ .model }}}}@{{{{ .{role}.version | int64 }}}}, {image}"

    canary = version("canary") + ", {{ .canary.weight }} %"
    return {
        "Stable": version("stable"),
        "Canary": f'{{{{ if hasKey . "canary" }}}}{canary}{{{{ else }}}}none{{{{ end }}}}',
        **({"History": history} if history else {}),
    }


def _history(url: str, revision: str) -> str:
    """The page with the commits of a release, where it is known how the Git host calls it; else ""."""
    found = _WEB.fullmatch(url)
    if not found:
        return ""
    commits = "-/commits" if "gitlab" in found["host"] else "commits"
    return f"https://{found['host']}/{found['path']}/{commits}/{revision}/{{{{ .release.path.path }}}}"
