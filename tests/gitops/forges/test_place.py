"""Which forge a remote is at, and that no token goes where nobody said."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.forges import ForgeKind, ForgeSettings, Place, locate, open_forge
from registry.errors import InvalidInput, Refused

GITHUB, GITLAB, CODECOMMIT = ForgeKind.GITHUB, ForgeKind.GITLAB, ForgeKind.CODECOMMIT


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        ("https://github.com/acme/models.git", Place(GITHUB, "acme/models", "https://api.github.com")),
        ("https://github.com/acme/models/", Place(GITHUB, "acme/models", "https://api.github.com")),
        ("git@github.com:acme/models.git", Place(GITHUB, "acme/models", "https://api.github.com")),
        ("ssh://git@ssh.github.com:443/acme/models.git", Place(GITHUB, "acme/models", "https://api.github.com")),
        ("https://GitHub.com/Acme/my.models", Place(GITHUB, "Acme/my.models", "https://api.github.com")),
        ("https://acme.ghe.com/acme/models", Place(GITHUB, "acme/models", "https://api.acme.ghe.com")),
        ("https://gitlab.com/acme/ml/models.git", Place(GITLAB, "acme/ml/models", "https://gitlab.com")),
        ("git@gitlab.com:acme/ml/models.git", Place(GITLAB, "acme/ml/models", "https://gitlab.com")),
        ("ssh://git@altssh.gitlab.com:443/acme/models.git", Place(GITLAB, "acme/models", "https://gitlab.com")),
        ("codecommit::eu-west-1://models", Place(CODECOMMIT, "models", "", "eu-west-1")),
        ("codecommit://models", Place(CODECOMMIT, "models", "")),
        ("codecommit::eu-west-1://ops@models", Place(CODECOMMIT, "models", "", "eu-west-1", "ops")),
        (
            "https://git-codecommit.us-east-2.amazonaws.com/v1/repos/models",
            Place(CODECOMMIT, "models", "", "us-east-2"),
        ),
        (
            "ssh://APKAEXAMPLE@git-codecommit.cn-north-1.amazonaws.com.cn/v1/repos/models",
            Place(CODECOMMIT, "models", "", "cn-north-1"),
        ),
        (
            "https://git-codecommit-fips.us-east-1.amazonaws.com/v1/repos/models",
            Place(CODECOMMIT, "models", "", "us-east-1"),
        ),
    ],
)
def test_the_address_tells(remote: str, place: Place) -> None:
    assert locate(remote) == place
    assert locate(remote, ForgeSettings(kind=place.kind)) == place


@pytest.mark.parametrize(
    ("remote", "settings", "place"),
    [
        (
            "https://git.example.com:8443/acme/models.git",
            ForgeSettings(kind=GITHUB),
            Place(GITHUB, "acme/models", "https://git.example.com:8443/api/v3"),
        ),
        (
            "ssh://git@git.example.com:2222/acme/models.git",
            ForgeSettings(kind=GITLAB),
            Place(GITLAB, "acme/models", "https://git.example.com"),
        ),
        (
            "git@work:acme/models.git",
            ForgeSettings(kind=GITLAB, api="https://gitlab.example.com/api/v4/"),
            Place(GITLAB, "acme/models", "https://gitlab.example.com"),
        ),
        (
            "git@work:acme/models.git",
            ForgeSettings(kind=GITHUB, api="https://ghe.example.com/api/v3"),
            Place(GITHUB, "acme/models", "https://ghe.example.com/api/v3"),
        ),
        (
            "http://[::1]:8080/acme/models",
            ForgeSettings(kind=GITLAB),
            Place(GITLAB, "acme/models", "http://[::1]:8080"),
        ),
    ],
)
def test_of_a_host_of_ones_own_the_settings_tell(remote: str, settings: ForgeSettings, place: Place) -> None:
    assert locate(remote, settings) == place


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.example.com/acme/models",
        "https://github.com.evil.example/acme/models",
        "https://evil-ghe.com/acme/models",
        "https://gitlab.example.com/acme/models",
        "https://git-codecommit.us-east-1.amazonaws.com.evil.example/v1/repos/models",
        "git@host:acme/models.git",
    ],
)
def test_no_host_is_guessed_to_be_a_forge(remote: str) -> None:
    with pytest.raises(InvalidInput, match="Nobody says which forge"):
        locate(remote)


@pytest.mark.parametrize(
    ("remote", "settings", "says"),
    [
        ("/srv/git/models.git", ForgeSettings(), "is at no forge"),
        ("file:///srv/git/models.git", ForgeSettings(), "is at no forge"),
        ("", ForgeSettings(), "is at no forge"),
        ("https://github.com/acme", ForgeSettings(), "OWNER/NAME"),
        ("https://github.com/acme/models/tree/main", ForgeSettings(), "OWNER/NAME"),
        ("https://github.com/acme/..", ForgeSettings(), "OWNER/NAME"),
        ("https://github.com/acme/a%2Fb", ForgeSettings(), "OWNER/NAME"),
        ("https://github.com/acme/a?x=1%23", ForgeSettings(kind=GITLAB), "leave the setting out"),
        ("https://gitlab.com/models", ForgeSettings(), "GROUP/NAME"),
        ("https://git.example.com/acme/models", ForgeSettings(kind=CODECOMMIT), "codecommit::REGION://"),
        ("codecommit::eu-west-1://models", ForgeSettings(kind=GITHUB), "is at codecommit, and the settings say github"),
        ("https://git-codecommit.us-east-1.amazonaws.com/models", ForgeSettings(), "ends in /v1/repos/NAME"),
        ("git@h:a/b", ForgeSettings(kind=GITHUB, api="ftp://h"), "no https address"),
        ("git@h:a/b", ForgeSettings(kind=GITHUB, api="https://t0k@h/api"), "no https address"),
        ("git@h:a/b", ForgeSettings(kind=GITHUB, api="https://h:port"), "no https address"),
        ("git@h:a/b", ForgeSettings(kind=GITHUB, api="https://h/?q"), "no https address"),
    ],
)
def test_what_tells_of_no_forge(remote: str, settings: ForgeSettings, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        locate(remote, settings)


@pytest.mark.parametrize("kind", [GITHUB, GITLAB])
def test_a_token_goes_over_plain_http_to_this_machine_only(kind: ForgeKind) -> None:
    with pytest.raises(Refused, match="unencrypted"):
        locate("http://git.example.com/acme/models", ForgeSettings(kind=kind))
    with pytest.raises(Refused, match="unencrypted"):
        locate("https://git.example.com/acme/models", ForgeSettings(kind=kind, api="http://10.0.0.1/api/v3"))
    assert locate("http://127.0.0.1:1/acme/models", ForgeSettings(kind=kind)).api.startswith("http://127.0.0.1:1")


@given(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r"(https|ssh|http)://[a-z@:.\[\]0-9]{0,20}/[a-z/.%0-9]{0,20}", fullmatch=True),
        st.from_regex(r"codecommit::?[a-z0-9:/@.-]{0,30}", fullmatch=True),
    ),
    st.sampled_from([None, *ForgeKind]),
)
def test_any_text_is_a_place_or_a_sentence(remote: str, kind: ForgeKind | None) -> None:
    try:
        place = locate(remote, ForgeSettings(kind=kind))
    except (InvalidInput, Refused):
        return
    assert all(part not in ("", ".", "..") for part in place.project.split("/"))
    assert not set(place.project) & set(" ?#%\\\n")


def test_tokens_come_from_the_environment() -> None:
    place = locate("https://github.com/acme/models")
    for environ in ({}, {"GITHUB_TOKEN": ""}, {"GITLAB_TOKEN": "x"}):
        with pytest.raises(Refused, match="set GITHUB_TOKEN or GH_TOKEN"):
            open_forge(place, "main", environ=environ)
    assert open_forge(place, "main", environ={"GITHUB_TOKEN": "", "GH_TOKEN": "x"}).name == "GitHub"
    with pytest.raises(Refused, match="set GITLAB_TOKEN"):
        open_forge(locate("https://gitlab.com/acme/models"), "main", environ={"GITHUB_TOKEN": "x"})
    for odd in ("a\nHost: evil", "a b", "ä"):
        with pytest.raises(InvalidInput, match="GITHUB_TOKEN holds no token") as refused:
            open_forge(place, "main", environ={"GITHUB_TOKEN": odd})
        assert odd not in str(refused.value)


def test_a_profile_in_the_address_has_to_be_the_one_in_use() -> None:
    place = locate("codecommit::eu-west-1://ops@models")
    with pytest.raises(InvalidInput, match="set AWS_PROFILE"):
        open_forge(place, "main", environ={})
    with pytest.raises(InvalidInput, match="set AWS_PROFILE"):
        open_forge(place, "main", environ={"AWS_PROFILE": "other"})


@pytest.mark.parametrize(("remote", "library"), [("github.com", "github"), ("gitlab.com", "gitlab")])
def test_a_library_that_is_missing_is_a_sentence(remote: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **options)

    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidInput, match=r"pip install 'sluicegate\[forges\]'"):
        open_forge(locate(f"https://{remote}/acme/models"), "main", environ={"GITHUB_TOKEN": "x", "GITLAB_TOKEN": "x"})
