"""What each command does and prints, on a real bucket and a real repository."""

import subprocess

import pytest

V1, V2, V3 = "digits-2026-11-01", "digits-2026-11-08", "digits-2026-11-15"


def _git(path, *arguments):
    done = subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_release_goes_all_the_way_and_again_changes_nothing(sluice, workspace):
    first = sluice("release", V1, "--model", "digits", "--json")
    assert first.code == 0, first.err
    assert first.json["ref"] == {"model": "digits", "number": 1}
    assert first.json["outcome"]["release"]["stable"]["image"] == first.json["image"]["reference"]
    keys, head = workspace.keys(), workspace.head()

    again = sluice("release", V1, "--model", "digits", "--json")

    assert again.code == 0
    assert again.json["image"] == first.json["image"]
    assert again.json["outcome"]["commit"] is None
    assert (workspace.keys(), workspace.head()) == (keys, head)


def test_steps_one_by_one_are_what_release_does(sluice, workspace):
    assert sluice("register", "wine-2026-11-10", "--model", "wine").out == "wine@1\n"
    assert sluice("show", "wine@1", "--json").json["state"] == "registered"
    assert sluice("package", "wine@1").out.startswith("sha256:")
    assert sluice("show", "wine@1", "--json").json["state"] == "packaged"
    image = sluice("build", "wine@1").out.strip()
    shown = sluice("show", "wine@1", "--json").json
    assert (shown["state"], shown["facts"]["image"]["reference"]) == ("built", image)
    assert sluice("promote", "wine@1", "--to", "prod", "--weight", 100).code == 0
    assert image in _git(workspace.gitops, "show", "main:models/wine/prod/release.yaml")


@pytest.fixture
def released(sluice, workspace):
    """Versions 1 and 2 of digits are built, and 1 is prod's stable version."""
    for job in (V1, V2):
        assert sluice("release", job, "--model", "digits").code == 0
    assert sluice("promote", "digits@1", "--to", "prod", "--weight", 100).code == 0
    return workspace


def test_promote_in_steps_and_roll_back_exactly(sluice, released):
    before = _git(released.gitops, "rev-parse", "main^{tree}")
    for weight in (10, 50):
        promoted = sluice("promote", "digits@2", "--to", "prod", "--weight", weight, "--json")
        assert promoted.json["release"]["canary"]["weight"] == weight
        assert promoted.json["commit"] == released.head()

    back = sluice("rollback", "digits", "--env", "prod", "--reason", "p99 doubled", "--json")

    assert back.code == 0, back.err
    assert back.json["release"]["canary"] is None
    assert _git(released.gitops, "rev-parse", "main^{tree}") == before
    said = _git(released.gitops, "log", "-1", "--format=%B", "main")
    assert said.count("This reverts commit ") == 2
    assert "p99 doubled" in said
    assert "Holds: 2" in said


def test_a_commit_touches_one_model_in_one_environment_and_says_which(sluice, released):
    assert sluice("promote", "digits@2", "--to", "prod", "--weight", 25).code == 0
    touched = _git(released.gitops, "diff-tree", "-r", "--name-only", "--no-commit-id", "main").splitlines()
    assert touched
    assert all(path.startswith("models/digits/prod/") for path in touched)
    trailers = dict(
        line.split(": ", 1)
        for line in _git(released.gitops, "log", "-1", "--format=%(trailers:only,unfold)", "main").splitlines()
    )
    image = sluice("show", "digits@2", "--json").json["facts"]["image"]["reference"]
    assert len(trailers.pop("Release-Id")) == 32
    assert trailers == {
        "Model": "digits",
        "Version": "2",
        "Environment": "prod",
        "Action": "promote",
        "Canary-Weight": "25",
        "Image-Digest": image.partition("@")[2],
        "Requested-By": "Test <test@example.com>",
    }


def test_what_was_rolled_back_is_held_until_somebody_says_why(sluice, released):
    promote = ("promote", "digits@2", "--to", "prod", "--weight", 10)
    assert sluice(*promote).code == 0
    assert sluice("rollback", "digits", "--env", "prod").code == 0
    held = sluice(*promote)
    assert held.code == 4
    assert "is held" in held.err
    assert "is held" in sluice("diff", *promote[1:]).err
    assert sluice(*promote, "--unhold", "it was the node").code == 0
    assert sluice("promote", "digits@2", "--to", "prod", "--weight", 20).code == 0


def test_rollback_of_a_named_version_takes_back_that_one_only(sluice, released):
    assert sluice("promote", "digits@2", "--to", "prod", "--weight", 10).code == 0
    assert sluice("rollback", "digits@2", "--env", "prod").code == 0
    head = released.head()
    assert sluice("rollback", "digits@2", "--env", "prod").code == 5
    assert released.head() == head


def test_rollback_does_not_reach_across_a_retirement(sluice, released, tmp_path):
    work = tmp_path / "work"
    _git(tmp_path, "clone", "-q", str(released.gitops), str(work))
    _git(work, "rm", "-rq", "models/digits/prod")
    _git(work, "-c", "user.name=P", "-c", "user.email=p@example.com", "commit", "-qm", "chore: retire digits")
    _git(work, "push", "-q")
    assert sluice("promote", "digits@1", "--to", "prod", "--weight", 100).code == 0
    refused = sluice("rollback", "digits", "--env", "prod")
    assert refused.code == 4
    assert "nothing to roll back to" in refused.err
    assert sluice("promote", "digits@2", "--to", "prod", "--weight", 10).code == 0
    assert sluice("rollback", "digits", "--env", "prod").code == 0


def test_diff_says_what_promote_then_does(sluice, released):
    head = released.head()
    arguments = ("digits@2", "--to", "prod", "--weight", 10)
    shown = sluice("diff", *arguments, "--json").json
    assert released.head() == head
    assert sluice("promote", *arguments).code == 0
    assert (
        shown["files"] == _git(released.gitops, "diff-tree", "-r", "--name-only", "--no-commit-id", "main").splitlines()
    )
    assert shown["subject"] == _git(released.gitops, "log", "-1", "--format=%s", "main")
    assert "+  weight: 10\n" in shown["diff"]
    assert "nothing would change" in sluice("diff", *arguments).out


def test_status_and_history_tell_what_git_has(sluice, released):
    assert sluice("promote", "digits@2", "--to", "prod", "--weight", 10).code == 0
    status = sluice("status", "--json").json
    assert status["commit"] == released.head()
    found = {(r["environment"], r["stable"]["version"], (r["canary"] or {}).get("weight")) for r in status["releases"]}
    assert found == {("prod", 1, 10), ("staging", 2, None)}
    assert "v2 at 10 %" in sluice("status").out
    history = sluice("history", "digits", "--env", "prod", "--json").json
    assert [(c["action"], c["version"], c["weight"]) for c in history] == [("promote", 2, 10), ("promote", 1, 0)]
    assert len(sluice("history", "--limit", 3, "--json").json) == 3
    assert "digits: prod canary v2 at 10 %" in sluice("history").out


def test_lists_are_newest_first(sluice, released):
    assert [m["name"] for m in sluice("models", "--json").json] == ["digits"]
    versions = sluice("versions", "digits", "--json").json
    assert [(v["number"], v["state"]) for v in versions] == [(2, "built"), (1, "built")]
    assert versions[0]["metrics"]["validation:accuracy"] == pytest.approx(0.977778)
    assert "digits@2" in sluice("versions", "digits").out


def test_render_follows_peoples_settings_and_check_proves_it(sluice, released, tmp_path, monkeypatch):
    assert sluice("render", "--check").out == "The repository holds just what it renders.\n"
    work = tmp_path / "work"
    _git(tmp_path, "clone", "-q", str(released.gitops), str(work))
    settings = work / "models" / "digits" / "model.yaml"
    settings.write_text("name: digits\nresources: {gpu: 0, cpu: 500m, memory: 1Gi}\n")
    _git(work, "-c", "user.name=P", "-c", "user.email=p@example.com", "commit", "-qam", "chore: smaller")
    _git(work, "push", "-q")

    behind = sluice("render", "--check")
    assert behind.code == 1
    assert "models/digits/prod/manifests/deployment-stable.yaml is not what its release renders" in behind.out
    assert {p["kind"] for p in sluice("render", "--check", "--json").json} <= {"differs", "missing", "extra"}

    assert sluice("render").out.endswith("2 releases, 2 rendered again, 0 refused.\n")
    assert sluice("render", "--check").code == 0
    monkeypatch.setattr("gitops.operations.render_in", None)  # one look at the remote tells that nothing is to be done
    assert sluice("render").out == "2 releases, 0 rendered again, 0 refused.\n"


def test_render_goes_on_past_a_release_that_is_refused(sluice, released, tmp_path):
    work = tmp_path / "work"
    _git(tmp_path, "clone", "-q", str(released.gitops), str(work))
    (work / "models" / "digits" / "model.yaml").write_text("name: digits\nresources: {gpu: 0}\n")
    ingress = work / "models" / "digits" / "prod" / "manifests" / "ingress.yaml"
    ingress.write_text(ingress.read_text().replace("internal", "internet-facing"))
    _git(work, "-c", "user.name=P", "-c", "user.email=p@example.com", "commit", "-qam", "both")
    _git(work, "push", "-q")
    ran = sluice("render")
    assert ran.code == 4
    assert "changed by hand" in ran.err
    assert ran.out.endswith("2 releases, 1 rendered again, 1 refused.\n")
    assert "digits: staging" in _git(released.gitops, "log", "-1", "--format=%s", "main")


def test_nothing_from_outside_steers_the_terminal(sluice, released, tmp_path):
    work = tmp_path / "work"
    _git(tmp_path, "clone", "-q", str(released.gitops), str(work))
    note = work / "models" / "digits" / "prod" / "note\x1b[2J.txt"
    note.write_text("\x1b]0;title\x07")
    _git(work, "add", ".")
    _git(work, "-c", "user.name=P\x1b[31m", "-c", "user.email=p@example.com", "commit", "-qm", "a\x1b[2J subject")
    _git(work, "push", "-q")
    for command in (("history", "digits"), ("render", "--check"), ("rollback", "digits", "--env", "prod")):
        ran = sluice(*command)
        assert "\x1b" not in ran.out + ran.err
        assert "\N{REPLACEMENT CHARACTER}" in ran.out + ran.err


def test_init_makes_a_repository_that_checks(sluice, workspace, monkeypatch):
    made = sluice("init", "./models.git", "--env", "dev", "--env", "prod", "--json")
    assert made.code == 0, made.err
    assert "an address that it can reach" in made.err
    files = _git(workspace.folder / "models.git", "ls-tree", "-r", "--name-only", "main").splitlines()
    assert {"README.md", "argocd/applicationset.yaml", "environments/dev.yaml", "environments/prod.yaml"} <= set(files)
    monkeypatch.setenv("SLUICE_GITOPS", "./models.git")
    assert sluice("render", "--check").code == 0
    again = sluice("init", "./models.git", "--env", "dev")
    assert again.code == 5
    assert "already" in again.err


def test_a_job_registered_twice_is_one_version(sluice, workspace):
    assert sluice("register", V1, "--model", "digits").out == "digits@1\n"
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{V1}"
    assert sluice("register", arn, "--model", "digits").out == "digits@1\n"
    assert sluice("register", V2, "--model", "digits").out == "digits@2\n"
