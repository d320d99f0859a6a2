"""A fake Argo CD and the two ways to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.argocd.api import ArgoApi
from gitops.argocd.applications import Applications
from gitops.argocd.kube import KubeApplications
from tests.gitops.argocd.fake import TOKEN, FakeArgoCd


@pytest.fixture
def argo() -> Iterator[FakeArgoCd]:
    with FakeArgoCd() as running:
        yield running


@pytest.fixture
def api(argo: FakeArgoCd) -> Iterator[ArgoApi]:
    opened = ArgoApi(argo.url, TOKEN)
    yield opened
    opened.close()


@pytest.fixture
def kube(argo: FakeArgoCd, tmp_path: Path) -> Iterator[KubeApplications]:
    (tmp_path / "kubeconfig").write_text(argo.kubeconfig())
    opened = KubeApplications(tmp_path / "kubeconfig")
    yield opened
    opened.close()


@pytest.fixture(params=["api", "kube"])
def applications(request: pytest.FixtureRequest) -> Applications:
    """Each way in turn: what is true of both is tested of both."""
    found: Applications = request.getfixturevalue(request.param)
    return found
