"""Promoting where an environment asks for more, and from one environment to the next."""

import subprocess

import pytest

V1, V2 = "digits-2026-11-01", "digits-2026-11-08"


def _git(path, *arguments):
    done = subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def ask(workspace, tmp_path):
    """A person adds something to an environment's file."""

    def write(text, environment="prod"):
        work = tmp_path / "asking"
        if not work.exists():
            _git(tmp_path, "clone", "-q", str(workspace.gitops), str(work))
        _git(work, "pull", "-q")
        path = work / "environments" / f"{environment}.yaml"
        path.write_text(path.read_text() + text + "\n")
        _git(work, "-c", "user.name=P", "-c", "user.email=p@example.com", "commit", "-qam", "ask for more")
        _git(work, "push", "-q")

    return write


def test_gates_refuse_until_they_are_passed_or_passed_over(sluice, workspace, ask, refusal):
    assert sluice("release", V1, "--model", "digits").code == 0
    ask("gates: {approved: true, smokePassed: true, scanClean: warning}")
    promote = ("promote", "digits@1", "--to", "prod", "--weight", 100)
    head = workspace.head()

    said = refusal(4, *promote)

    assert said == (
        "sluice: 2 gates of prod refuse digits@1 at 100 %: smokePassed: no smoke test is recorded, run one and record"
        " it as the fact smoke; approved: it is pending, an approver runs `sluice approve digits@1 --reason TEXT`; or"
        " an admin gives --override smokePassed,approved --reason TEXT."
    )
    assert sluice("diff", *promote[1:]).err == f"{said}\n"
    assert sluice("approve", "digits@1", "--reason", "better", "--role", "approver").code == 0
    assert "A gate of prod refuses digits@1 at 100 %: smokePassed" in refusal(4, *promote)

    over = ("--override", "smokePassed", "--reason", "the test rig is down")
    assert "This is for an admin, and you act as releaser" in refusal(4, *promote, *over)
    assert "--reason is empty" in refusal(2, *promote, *over[:2], "--role", "admin")
    assert "'smoke' is not a gate: write them as releasers," in refusal(
        2, *promote, "--override", "smoke", "--reason", "x", "--role", "admin"
    )
    assert "does not refuse by freeze" in refusal(
        2, *promote, "--override", "smokePassed,freeze", "--reason", "x", "--role", "admin"
    )
    assert workspace.head() == head
    assert sluice(*promote, *over, "--role", "admin").code == 0
    message = _git(workspace.gitops, "log", "-1", "--format=%B", "main")
    assert message.endswith("\nOverride: smokePassed")
    assert "\nthe test rig is down\n" in message


def test_a_release_obeys_the_gates_and_is_finished_later(sluice, workspace, ask, refusal):
    ask("releasers: [ann@example.com]", "staging")
    said = "test@example.com, who acts as releaser, may not release to staging: ask one of ann@example.com."
    assert said in refusal(4, "release", V1, "--model", "digits")
    assert workspace.keys() == []  # before anything was written
    ask("gates: {approved: true}", "staging")
    env = ("release", V1, "--model", "digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_ACTOR", "Ann <ann@example.com>")
        refused = sluice(*env)
        assert refused.code == 4
        assert "A gate of staging refuses digits@1 at 100 %: approved: it is pending" in refused.err
        assert sluice("approve", "digits@1", "--reason", "fine", "--role", "approver").code == 0
        assert sluice(*env).out == "digits@1\n"


def test_from_one_environment_to_the_next(sluice, workspace, refusal):
    assert "staging runs no version of digits" in refusal(
        3, "promote", "digits", "--from", "staging", "--to", "prod", "--weight", 100
    )
    assert sluice("release", V1, "--model", "digits").code == 0
    move = ("digits", "--from", "staging", "--to", "prod", "--weight", 100)

    shown = sluice("diff", *move)

    assert shown.code == 0, shown.err
    assert shown.out.startswith("digits in prod: stable v1 is the first version there; changes ")
    assert "\ndigits: prod stable v1\n" in shown.out
    assert "+++ b/models/digits/prod/release.yaml\n" in shown.out
    assert sluice("promote", *move, "--json").json["release"]["stable"]["version"] == 1
    assert sluice("promote", *move).out == "digits@1 has 100 % of prod already: nothing to commit.\n"

    assert sluice("release", V2, "--model", "digits", "--weight", 20).code == 0
    assert "digits@2 is the canary of staging at 20 %" in refusal(5, "promote", *move)
    assert sluice("promote", "digits@2", "--to", "staging", "--weight", 100).code == 0
    shown = sluice("diff", *move[:-1], 10, "--json").json
    assert shown["words"].startswith("digits in prod: canary v2 starts at 10 %; stable stays v1; changes ")
    assert sluice("promote", *move[:-1], 10).code == 0

    assert "leave one of the two out" in refusal(2, "promote", "digits@2", *move[1:])
    assert "--from and --to are both prod" in refusal(
        2, "promote", "digits", "--from", "prod", "--to", "prod", "--weight", 10
    )
    assert "'digits' is not a version" in refusal(2, "promote", "digits", "--to", "prod", "--weight", 10)
