"""Taking back, aborting, holding and letting go, as commands on a real bucket and a real repository."""

import subprocess

import pytest

FOLDER = "models/digits/prod"


def _git(path, *arguments):
    done = subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def released(sluice, workspace):
    """Versions 1 and 2 of digits are built, 1 is prod's stable version and 2 its canary at 10 and then 50 %."""
    for job in ("digits-2026-11-01", "digits-2026-11-08"):
        assert sluice("release", job, "--model", "digits").code == 0
    for number, weight in ((1, 100), (2, 10), (2, 50)):
        assert sluice("promote", f"digits@{number}", "--to", "prod", "--weight", weight).code == 0
    return workspace


@pytest.fixture
def work(released, tmp_path):
    """A person's clone."""
    _git(tmp_path, "clone", "-q", str(released.gitops), "work")
    for key, value in (("user.name", "P"), ("user.email", "p@example.com")):
        _git(tmp_path / "work", "config", key, value)
    return tmp_path / "work"


def _trailers(released):
    said = _git(released.gitops, "log", "-1", "--format=%(trailers:only,unfold)", "main").splitlines()
    return dict(line.split(": ", 1) for line in said)


def _tree(released, at="main"):
    return _git(released.gitops, "rev-parse", f"{at}:{FOLDER}")


@pytest.mark.parametrize(
    ("option", "commit", "weight"), [(("--steps", 1), "main~1", 10), (("--to-version", 1), "main~2", None)]
)
def test_rollback_goes_as_far_as_it_is_told(sluice, released, option, commit, weight):
    wanted = _tree(released, commit)
    back = sluice("rollback", "digits", "--env", "prod", *option, "--json")
    assert back.code == 0, back.err
    assert (back.json["release"]["canary"] or {}).get("weight") == weight
    assert _tree(released) == wanted
    assert _trailers(released)["Holds"] == "2"


def test_rollback_to_a_commit(sluice, released):
    commit = _git(released.gitops, "rev-parse", "main~1")
    assert sluice("rollback", "digits", "--env", "prod", "--to-commit", commit[:8]).code == 0
    assert _tree(released) == _tree(released, commit)
    again = sluice("rollback", "digits", "--env", "prod", "--to-commit", commit[:8])
    assert (again.code, again.out) == (0, "It was taken back already: nothing to commit.\n")


def test_ways_back_that_make_no_sense(refusal, released):
    head = released.head()
    for code, arguments, said in (
        (2, ("digits", "--steps", 1, "--to-version", 1), "--steps and --to-version each say how far to go back"),
        (2, ("digits@2", "--to-commit", "abcdef0"), "digits@2 and --to-commit each say how far to go back"),
        (2, ("digits", "--steps", 0), "0 is no number of steps"),
        (2, ("digits", "--steps", "some"), "Invalid value for '--steps'"),
        (2, ("digits", "--to-commit", "main"), "'main' is not a commit"),
        (2, ("digits", "--reason", "\x1b[2J"), "--reason"),
        (3, ("digits", "--to-commit", "0123456"), "No commit 0123456 released digits in prod"),
        (3, ("digits", "--to-version", 7), "digits@7 was the stable version of prod in nothing that is in force"),
        (4, ("digits", "--steps", 9), "has 3 actions in force in prod, not 9"),
    ):
        assert said in refusal(code, "rollback", *arguments, "--env", "prod")
    assert released.head() == head


def test_what_a_person_changed_is_shown_and_overwritten_only_when_asked(sluice, released, work):
    wanted = _tree(released, "main~2")
    ingress = work / FOLDER / "manifests" / "ingress.yaml"
    ingress.write_text(ingress.read_text().replace("internal", "internet-facing"))
    _git(work, "commit", "-qam", "quick fix")
    _git(work, "push", "-q")
    by_hand = released.head()
    for command in (("rollback",), ("rollback", "--to-version", 1), ("abort",)):
        ran = sluice(command[0], "digits", "--env", "prod", *command[1:])
        assert "changed by hand" in ran.sentence(4)
        assert "internet-facing" in ran.err, "the difference is shown"
    assert released.head() == by_hand

    assert sluice("rollback", "digits", "--env", "prod", "--restore").code == 0
    assert _tree(released) == wanted
    assert (
        f"This reverts commit {by_hand}, a change by hand that is overwritten."
        in _git(released.gitops, "log", "-1", "--format=%b", "main").splitlines()
    )


def test_abort_ends_the_trial_and_holds_the_version(sluice, refusal, released, monkeypatch):
    monkeypatch.setenv("SLUICE_WORKFLOW", "rollout-digits-x7k2p")
    wanted = _tree(released, "main~2")
    assert "version 2, not 1" in refusal(5, "abort", "digits@1", "--env", "prod")
    made = sluice("abort", "digits", "--env", "prod", "--reason", "p99 doubled", "--json")
    assert made.code == 0, made.err
    assert made.json["release"]["canary"] is None
    assert _tree(released) == wanted
    trailers = _trailers(released)
    assert (trailers["Action"], trailers["Holds"], trailers["Workflow"]) == ("abort", "2", "rollout-digits-x7k2p")
    assert "is held" in refusal(4, "promote", "digits@2", "--to", "prod", "--weight", 10)
    again = sluice("abort", "digits", "--env", "prod")
    assert (again.code, again.out) == (0, "prod has no canary of digits: nothing to commit.\n")
    assert "no version of nobody" in refusal(3, "abort", "nobody", "--env", "prod")


def test_hold_and_unhold(sluice, refusal, released):
    tree = _tree(released)
    made = sluice("hold", "digits@2", "--env", "prod", "--reason", "drifts on Mondays")
    assert made.code == 0, made.err
    assert made.out == f"{released.head()} digits: prod holds v2\n"
    assert _tree(released) == tree
    assert sluice("hold", "digits@2", "--env", "prod", "--reason", "x").out.endswith("already: nothing to commit.\n")
    assert "is held" in refusal(4, "promote", "digits@2", "--to", "prod", "--weight", 60)

    shown = sluice("holds", "digits", "--env", "prod")
    assert "v2" in shown.out
    assert "drifts on Mondays" in shown.out
    (found,) = sluice("holds", "digits", "--env", "prod", "--json").json
    assert (found["version"], found["action"], found["by"]) == (2, "hold", "Test <test@example.com>")
    assert found["commit"] == released.head()
    assert sluice("holds", "digits", "--env", "staging").out == "No version of digits is held in staging.\n"
    assert sluice("render", "--check").code == 0
    assert "digits: prod holds v2" in sluice("history", "digits", "--env", "prod").out

    assert sluice("unhold", "digits@2", "--env", "prod", "--reason", "it was the node", "--json").code == 0
    assert _trailers(released)["Unhold"] == "2"
    assert sluice("unhold", "digits@2", "--env", "prod", "--reason", "x").out == (
        "digits@2 is not held in prod: nothing to commit.\n"
    )
    assert sluice("promote", "digits@2", "--to", "prod", "--weight", 60).code == 0


def test_holds_that_make_no_sense(refusal, released):
    head = released.head()
    for code, arguments, said in (
        (2, ("digits@2", "--env", "prod"), "--reason"),
        (2, ("digits@2", "--env", "prod", "--reason", " "), "--reason is empty"),
        (2, ("digits@2", "--env", "prod", "--reason", "a\x07b"), "--reason"),
        (2, ("digits", "--env", "prod", "--reason", "x"), "digits"),
        (2, ("digits@0", "--env", "prod", "--reason", "x"), "digits@0"),
        (3, ("digits@2", "--env", "moon", "--reason", "x"), "no environment moon"),
        (3, ("nobody@2", "--env", "prod", "--reason", "x"), "no model nobody"),
        (3, ("digits@nothing", "--env", "prod", "--reason", "x"), "no alias nothing"),
    ):
        for verb in ("hold", "unhold"):
            assert said in refusal(code, verb, *arguments)
    assert released.head() == head


def test_a_viewer_changes_nothing(refusal, released, monkeypatch):
    monkeypatch.setenv("SLUICE_ROLE", "viewer")
    for command in (
        ("rollback", "digits", "--env", "prod"),
        ("abort", "digits", "--env", "prod"),
        ("hold", "digits@2", "--env", "prod", "--reason", "x"),
        ("unhold", "digits@2", "--env", "prod", "--reason", "x"),
    ):
        assert "releaser" in refusal(4, *command)


def test_render_check_tells_of_a_file_of_holds_that_a_person_edited(sluice, released, work):
    assert sluice("hold", "digits@2", "--env", "prod", "--reason", "drifts").code == 0
    _git(work, "pull", "-q")
    path = work / "models/digits/holds-prod.yaml"
    path.write_text(path.read_text().replace("drifts", "is fine"))
    _git(work, "commit", "-qam", "let it through")
    _git(work, "push", "-q")
    ran = sluice("render", "--check")
    assert ran.code == 1
    assert "holds-prod.yaml was changed by hand" in ran.out
    assert "+  reason: is fine" in ran.out
    assert sluice("holds", "digits", "--env", "prod", "--json").json[0]["version"] == 2
