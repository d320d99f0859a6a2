"""What is special about Argo CD's resources in Kubernetes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.argocd import kube as module
from gitops.argocd.kube import KubeApplications
from registry.errors import InvalidInput, Refused
from tests.gitops.argocd.fake import FakeArgoCd, application

COMMIT = "1" * 40
_NUMBER = '{"clusters": [{"name": "a", "cluster": {"server": 1}}], "contexts": []}'


def test_a_list_comes_in_pages(argo: FakeArgoCd, kube: KubeApplications, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 7)
    for number in range(20):
        argo.script(f"m{number}", application(f"m{number}", COMMIT))
    assert len(kube.every()) == 20
    assert len(argo.asked) == 3


def test_an_application_of_another_project_is_none_of_ours(argo: FakeArgoCd, kube: KubeApplications) -> None:
    argo.script("a", application("a", project="default"))
    assert kube.read("a") is None


def test_a_refresh_is_an_annotation(argo: FakeArgoCd, kube: KubeApplications) -> None:
    argo.script("a", application("a"))
    kube.refresh("a")
    assert argo.annotated == [("applications", "a", {"argocd.argoproj.io/refresh": "normal"})]


def test_where_there_is_no_application_yet_the_set_is_asked_to_make_it(
    argo: FakeArgoCd, kube: KubeApplications
) -> None:
    kube.refresh("a")
    assert argo.annotated == [("applicationsets", "sluice", {"argocd.argoproj.io/application-set-refresh": "true"})]
    argo.sets.clear()
    kube.refresh("a")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "clusters: 1", "{clusters: [], contexts: [], current-context: ops}", "a: b: c", "users: []", _NUMBER],
)
def test_a_kubeconfig_that_cannot_be_right(tmp_path: Path, text: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(InvalidInput, match="The kubeconfig cannot be used"):
        KubeApplications(tmp_path / "kubeconfig")


def test_a_context_that_is_not_there(argo: FakeArgoCd, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(argo.kubeconfig())
    KubeApplications(tmp_path / "kubeconfig", "ops").close()
    with pytest.raises(InvalidInput, match="nowhere"):
        KubeApplications(tmp_path / "kubeconfig", "nowhere")


def test_a_login_that_does_not_work(argo: FakeArgoCd, tmp_path: Path) -> None:
    """As `aws eks get-token` ends where nobody is logged in."""
    exec_ = '{"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "false"}}'
    user = argo.kubeconfig().partition('"user": {')[2].partition("}")[0]
    text = argo.kubeconfig().replace('{"name": "me", "user": {' + user + "}", f'{{"name": "me", "user": {exec_}')
    (tmp_path / "kubeconfig").write_text(text)
    opened = KubeApplications(tmp_path / "kubeconfig")
    with pytest.raises(Refused, match="gives no access"):
        opened.read("a")
    opened.close()
