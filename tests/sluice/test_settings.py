"""Flags over environment over file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.release import Runtime
from registry.errors import InvalidInput
from sluice.settings import load
from sluice.wiring import Wiring


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    import os

    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_need_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = load()
    assert (settings.bucket, settings.branch, settings.first_environment) == ("", "main", "staging")
    assert settings.cache == tmp_path / "cache" / "sluice"


def test_flags_win_over_environment_over_file(monkeypatch, tmp_path):
    (tmp_path / "sluice.toml").write_text('bucket = "file"\nbranch = "file"\ngitops = "file"\n')
    monkeypatch.setenv("SLUICE_BUCKET", "environment")
    monkeypatch.setenv("SLUICE_BRANCH", "environment")
    settings = load(bucket="flag", gitops=None)
    assert (settings.bucket, settings.branch, settings.gitops) == ("flag", "environment", "file")


def test_bases_from_the_file_and_from_the_environment(monkeypatch, tmp_path):
    (tmp_path / "sluice.toml").write_text('[bases]\ntensorflow-serving = "oci:a:1"\n')
    assert load().bases == {Runtime.TENSORFLOW_SERVING: f"oci:{tmp_path}/a:1"}
    monkeypatch.setenv("SLUICE_BASES", '{"torchserve": "oci:b:2"}')
    assert load().bases[Runtime.TORCHSERVE] == "oci:b:2"


def test_paths_in_the_file_are_relative_to_it(monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.toml").write_text(
        'images = "images"\ncache = "/var/cache/sluice"\ngitops = "./models.git"\n'
        '[bases]\ntorchserve = "oci:bases/ts:1"\n'
    )
    monkeypatch.setenv("SLUICE_CONFIG", str(elsewhere / "mine.toml"))
    settings = load()
    assert settings.images == elsewhere / "images"
    assert settings.cache == Path("/var/cache/sluice")
    assert Path(settings.gitops) == elsewhere / "models.git"
    assert settings.bases == {Runtime.TORCHSERVE: f"oci:{elsewhere}/bases/ts:1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "colour"),
        ("bucket = 1", "bucket"),
        ('first_environment = "Prod"', "first_environment"),
        ('[bases]\nflask = "oci:a:1"', "bases"),
        ("bucket", "not TOML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, said):
    (tmp_path / "sluice.toml").write_text(text)
    with pytest.raises(InvalidInput, match=said):
        load()


def test_an_environment_variable_that_is_no_json(monkeypatch):
    monkeypatch.setenv("SLUICE_BASES", "oci:a")
    with pytest.raises(InvalidInput, match="bases"):
        load()


def test_a_machine_without_a_person(monkeypatch, tmp_path):
    """As in many pods: a uid that has neither a name nor a home."""

    def nobody(*_):
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(InvalidInput, match="SLUICE_ACTOR"):
        _ = Wiring(load(cache=tmp_path)).actor
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(InvalidInput, match="SLUICE_CACHE"):
        load()
