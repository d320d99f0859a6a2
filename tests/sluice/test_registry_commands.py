"""The registry from the command line: what each command does, prints and gives as JSON, on a real bucket."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime, timedelta
from fcntl import ioctl

import pytest

from registry.mlflow import reader
from registry.mlflow.reader import MlflowModel, MlflowVersion

V1, V2, V3 = "digits-2026-11-01", "digits-2026-11-08", "digits-2026-11-15"
SLUICE = [sys.executable, "-c", "from sluice.cli.app import main; main()"]
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.fixture
def digits(sluice, workspace):
    """Three versions of digits, the last one with a metric, a tag and a commit of its own."""
    for job in (V1, V2):
        assert sluice("register", job, "--model", "digits").code == 0
    more = ("--metric", "f1=0.5", "--metric", "odd=nan", "--tag", "team=vision", "--git-commit", "3f2a1bc")
    assert sluice("register", V3, "--model", "digits", *more).out == "digits@3\n"
    return workspace


def test_a_registration_keeps_what_it_was_given(sluice, digits):
    shown = sluice("show", "digits@3", "--json").json
    assert shown["metrics"] == {
        "validation:accuracy": 0.962222,
        "validation:loss": 0.149298,
        "train:loss": 0.047855,
        "f1": 0.5,
        "odd": "NaN",
    }
    assert (shown["tags"], shown["git_commit"]) == ({"team": "vision"}, "3f2a1bc")
    assert (shown["state"], shown["approval"], shown["aliases"]) == ("registered", "pending", [])
    text = sluice("show", "digits@latest").out
    for said in ("digits@3", "f1=0.5, odd=nan", "team=vision", "3f2a1bc", V3, "ml.g4dn.xlarge", "hidden=128"):
        assert said in text


def test_a_folder_an_archive_and_an_object_are_sources(sluice, workspace, examples):
    archive = examples / "digits" / "jobs" / V1 / "model.tar.gz"
    (workspace.folder / "model").mkdir()
    (workspace.folder / "model" / "model.pt").write_bytes(b"weights")
    for source in ("./model", str(archive), f"s3://sluice-demo-training/output/{V2}/output/model.tar.gz"):
        assert sluice("register", source, "--model", "mixed").code == 0
    assert sluice("register", "./model", "--model", "mixed").out == "mixed@1\n"
    kinds = [row["source"] for row in sluice("versions", "mixed", "--json").json]
    assert kinds == ["s3", "upload", "upload"]


def test_a_sweep_registers_what_is_new_and_goes_on_past_what_cannot_be(sluice, workspace):
    assert sluice("register", V2, "--model", "swept").code == 0
    first = sluice("register", "--since", "7d", "--name", "digits-*", "--model", "swept", "--json")
    assert first.code == 0, first.err
    assert {one["job"] for one in first.json} == {V1, V3}
    assert [one["version"]["number"] for one in first.json] == [2, 3]
    again = sluice("register", "--since", TODAY, "--name", "digits-*", "--model", "swept", "--json")
    assert (again.code, again.json) == (0, [])
    tagged = sluice("register", "--since", "1w", "--job-tag", "team=nobody", "--model", "swept")
    assert (tagged.code, tagged.out) == (0, "")

    sagemaker = workspace.endpoints.client("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName=f"gone-{workspace.bucket}",
        AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File"},
        RoleArn="arn:aws:iam::123456789012:role/training",
        OutputDataConfig={"S3OutputPath": f"s3://{workspace.bucket}/training"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    sagemaker.close()
    gone = sluice("register", "--since", "1d", "--name", f"gone-{workspace.bucket}", "--model", "swept", "--json")
    assert gone.code == 4
    assert "nothing is there" in gone.json[0]["problem"]
    assert "1 of 1 jobs could not be registered" in gone.err


def test_models_are_found_by_what_is_said_of_them(sluice, digits):
    assert sluice("register", "wine-2026-11-10", "--model", "wine").code == 0
    edited = sluice(
        *("edit", "digits", "--description", "Reads digits.", "--owner", "Ann <ann@example.com>"),
        *("--tag", "team=vision", "--tag", "tier=1", "--link", "board=https://example.com/d?a=b", "--json"),
    )
    assert edited.code == 0, edited.err
    assert edited.json["links"] == {"board": "https://example.com/d?a=b"}
    names = [one["name"] for one in sluice("models", "--json").json]
    assert names == ["wine", "digits"], "the one with the newest version first"
    for search in (("--search", "DIG"), ("--tag", "team=vision", "--tag", "tier=1"), ("--owner", edited.json["owner"])):
        assert [one["name"] for one in sluice("models", *search, "--json").json] == ["digits"]
    assert [one["newest"] for one in sluice("models", "--limit", 1, "--json").json] == [1]
    assert sluice("models", "--tag", "team=risk").out == "No model fits.\n"
    assert "Reads digits." in sluice("models").out

    again = sluice("edit", "digits", "--untag", "tier", "--unlink", "board", "--description", "", "--json").json
    assert (again["tags"], again["links"], again["description"]) == ({"team": "vision"}, {}, "")
    shown = sluice("model", "digits").out
    assert "Ann <ann@example.com>" in shown
    assert "digits@3" in shown


def test_versions_are_listed_by_tag_and_with_the_deleted(sluice, digits):
    assert sluice("delete", "digits@2", "--reason", "wrong data", "--role", "admin").code == 0
    assert [one["number"] for one in sluice("versions", "digits", "--json").json] == [3, 1]
    rows = sluice("versions", "digits", "--deleted", "--json").json
    assert [(one["number"], one["state"]) for one in rows] == [(3, "registered"), (2, "deleted"), (1, "registered")]
    assert [one["number"] for one in sluice("versions", "digits", "--tag", "team=vision", "--json").json] == [3]
    assert [one["number"] for one in sluice("versions", "digits", "--limit", 1, "--json").json] == [3]
    assert sluice("versions", "digits", "--tag", "team=risk").out == "No version of digits fits.\n"
    assert "wrong data" in sluice("show", "digits@2").out
    assert sluice("show", "digits@2", "--json").json["facts"]["deleted"]["by"] == "Test <test@example.com>"


def test_an_alias_moves_and_remembers(sluice, digits):
    assert sluice("alias", "set", "digits@1", "champion").out == "digits@champion names digits@1.\n"
    moved = sluice("alias", "set", "digits@2", "champion", "--expect", 1, "--reason", "better", "--json").json
    assert (moved["number"], moved["previous"], moved["reason"]) == (2, 1, "better")
    assert sluice("alias", "set", "digits@latest", "challenger").code == 0
    listed = sluice("aliases", "digits", "--json").json
    assert [(one["name"], one["number"]) for one in listed] == [("challenger", 3), ("champion", 2)]
    assert "digits@champion" in sluice("aliases", "digits").out
    assert sluice("show", "digits@champion", "--json").json["aliases"] == ["champion"]
    assert sluice("model", "digits", "--json").json["aliases"] == {"challenger": 3, "champion": 2}

    assert (
        sluice("alias", "remove", "digits@champion", "--expect", 2).out == "digits@champion names nothing any more.\n"
    )
    history = sluice("alias", "history", "digits@champion", "--json").json
    assert [move["number"] for move in history] == [None, 2, 1]
    assert [move["number"] for move in sluice("alias", "history", "digits@champion", "--at", TODAY, "--json").json] == [
        *(None, 2, 1)
    ]
    then = history[1]["at"]
    at = sluice("alias", "history", "digits@champion", "--at", then, "--json").json
    assert [move["number"] for move in at] == [2]
    assert "better" in sluice("alias", "history", "digits@champion").out


def test_who_was_champion_on_a_day(sluice, digits):
    for number in (1, 2):
        assert sluice("alias", "set", f"digits@{number}", "champion").code == 0
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    assert [m["number"] for m in sluice("alias", "history", "digits@champion", "--at", tomorrow, "--json").json] == [2]


def test_a_protected_alias_and_decisions_need_a_role(sluice, digits, refusal, monkeypatch):
    assert "admin" in refusal(4, "edit", "digits", "--protect", "champion=approver")
    assert sluice("edit", "digits", "--protect", "champion=approver", "--role", "admin").code == 0
    assert "approver" in refusal(4, "alias", "set", "digits@1", "champion")
    assert "approver" in refusal(4, "approve", "digits@1", "--reason", "fine")
    assert "approver" in refusal(4, "sign-off", "digits@1", "--note", "fine")
    assert "admin" in refusal(4, "delete", "digits@1")
    assert "admin" in refusal(4, "gc")
    monkeypatch.setenv("SLUICE_ROLE", "approver")
    assert sluice("alias", "set", "digits@1", "champion").code == 0
    assert sluice("approve", "digits@champion", "--reason", "fine").out == "digits@1 is approved.\n"
    monkeypatch.setenv("SLUICE_ROLE", "viewer")
    assert "releaser" in refusal(4, "alias", "set", "digits@1", "other")
    for command in (
        ("register", V1, "--model", "digits"),
        ("edit", "digits", "--owner", "me"),
        ("package", "digits@1"),
        ("promote", "digits@1", "--to", "prod", "--weight", 100),
    ):
        assert "This is for a releaser, and you act as viewer" in refusal(4, *command)
    assert sluice("versions", "digits").code == 0
    assert sluice("edit", "digits", "--unprotect", "champion", "--role", "admin", "--json").json["protected"] == {}


def test_decisions_are_kept_and_the_last_one_counts(sluice, digits, monkeypatch):
    monkeypatch.setenv("SLUICE_ROLE", "approver")
    assert "Nobody has decided" in sluice("decisions", "digits@1").out
    assert sluice("approve", "digits@1", "--reason", "better", "--json").json["sequence"] == 1
    rejected = sluice("reject", "digits@1", "--reason", "worse on Sundays", "--json").json
    assert (rejected["model"], rejected["number"], rejected["approval"]) == ("digits", 1, "rejected")
    found = sluice("decisions", "digits@1", "--json").json
    assert [(one["approval"], one["reason"]) for one in found] == [
        ("rejected", "worse on Sundays"),
        ("approved", "better"),
    ]
    assert "worse on Sundays" in sluice("decisions", "digits@1").out
    assert sluice("versions", "digits", "--json").json[2]["approval"] == "rejected"

    signed = sluice("sign-off", "digits@1", "--note", "the board", "--json")
    assert signed.json["note"] == "the board"
    assert sluice("sign-off", "digits@1", "--note", "the board", "--json").json == signed.json
    assert "the board" in sluice("show", "digits@1").out


def test_versions_side_by_side(sluice, digits):
    found = sluice("compare", "digits@1", "digits@2", "digits@latest", "--json").json
    assert found["metrics"]["validation:accuracy"]["deltas"][1] == pytest.approx(0.12)
    assert found["hyperparameters"]["hidden"] == ["24", "96", "128"]
    text = sluice("compare", "digits@1", "digits@2", "digits@3", "digits@1").out
    assert "0.977778 (+0.12)" in text
    assert text.count("validation:accuracy") == 2, "the fourth is in a table of its own beside the first"


def test_lineage_both_ways(sluice, workspace):
    assert sluice("release", V1, "--model", "digits").code == 0
    assert sluice("promote", "digits@latest", "--to", "prod", "--weight", 100).code == 0
    assert sluice("register", V2, "--model", "others").code == 0
    told = sluice("lineage", "digits@1", "--json").json
    assert [one["environment"] for one in told["deployments"]] == ["prod", "staging"]
    assert told["job"].endswith(V1)
    data = told["inputs"][0]["uri"]
    assert "100 %" in sluice("lineage", "digits@1").out
    rows = sluice("lineage", "--trained-on", data, "--json").json
    assert {(one["model"], one["number"]) for one in rows} == {("digits", 1), ("others", 1)}
    assert [r["model"] for r in sluice("lineage", "--trained-on", data, "--model", "others", "--json").json] == [
        "others"
    ]
    assert "No version was trained on" in sluice("lineage", "--trained-on", "s3://elsewhere/data").out
    deployed = sluice("lineage", "--commit", workspace.head()[:10], "--json").json
    assert [(one["model"], one["number"], one["environment"]) for one in deployed] == [("digits", 1, "prod")]
    assert workspace.head()[:12] in sluice("lineage", "--commit", workspace.head()).out


def test_an_alias_stands_for_its_version_all_the_way(sluice, workspace):
    for job in (V1, V2):
        assert sluice("register", job, "--model", "digits").code == 0
    assert sluice("alias", "set", "digits@1", "champion").code == 0
    for command in (
        ("package", "digits@champion"),
        ("build", "digits@champion"),
        ("promote", "digits@champion", "--to", "prod", "--weight", 100),
        ("package", "digits@latest"),
        ("build", "digits@latest"),
        ("promote", "digits@latest", "--to", "prod", "--weight", 10),
        ("rollback", "digits@latest", "--env", "prod"),
    ):
        ran = sluice(*command)
        assert ran.code == 0, ran.err
    assert "canary v2 at 20 %" in sluice("diff", "digits@2", "--to", "prod", "--weight", 20, "--unhold", "x").out
    assert "is released to prod" in sluice("delete", "digits@1", "--role", "admin").err


def test_a_number_is_rolled_back_without_asking_aws(sluice, workspace, monkeypatch):
    for job in (V1, V2):
        assert sluice("release", job, "--model", "digits").code == 0
    monkeypatch.setenv("SLUICE_BUCKET", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert sluice("rollback", "digits@2", "--env", "staging").code == 0


def test_verify_tells_what_is_damaged_after_all_is_read(sluice, digits):
    assert sluice("package", "digits@3").code == 0
    assert sluice("verify", "digits@3", "--json").json[0]["good"] is True
    output = sluice("show", "digits@2", "--json").json["output"]
    s3 = digits.endpoints.client("s3")
    s3.delete_object(Bucket=digits.bucket, Key=output)
    s3.close()
    ran = sluice("verify", "--all", "--json")
    assert ran.code == 4
    found = {one["ref"]["number"]: [check["verdict"] for check in one["checks"]] for one in ran.json}
    assert found == {3: ["good", "good"], 2: ["missing"], 1: ["unknown"]}
    assert "1 of 3 versions" in ran.err
    assert "digits@2" in ran.err
    assert sluice("verify", "digits").code == 4
    assert sluice("verify", "--all", "--after", "digits@2").code == 0
    assert sluice("verify", "digits@2").code == 4


def test_what_is_deleted_frees_the_name_and_its_bytes(sluice, digits, monkeypatch):
    monkeypatch.setenv("SLUICE_ROLE", "admin")
    deleted = sluice("delete", "digits@1", "--reason", "old", "--json").json
    assert (deleted["model"], deleted["number"], deleted["reason"]) == ("digits", 1, "old")
    assert sluice("delete", "digits", "--yes").code == 0
    assert sluice("models", "--json").json == []
    assert sluice("register", V1, "--model", "digits").out == "digits@4\n"
    found = sluice("gc", "--dry-run", "--json").json
    assert (found["dry_run"], found["named"], found["young"], found["removed"]) == (True, 1, 3, 0)
    assert "removed  0 objects" in sluice("gc", "--grace", "7d").out


def test_events_are_told_in_order_and_on_from_a_cursor(sluice, digits):
    assert sluice("alias", "set", "digits@1", "champion").code == 0
    told = [json.loads(line) for line in sluice("events", "--json").out.splitlines()]
    assert [(one["kind"], one["number"]) for one in told] == [
        *(("registered", 1), ("registered", 2), ("registered", 3)),
        ("aliased", 1),
    ]
    assert len(sluice("events", "--limit", 2, "--json").out.splitlines()) == 2
    assert "digits@1 champion by Test <test@example.com>" in sluice("events").out
    after = sluice("events", "--after", told[-1]["cursor"], "--json")
    assert after.code == 0


def test_following_ends_where_it_is_interrupted(sluice, digits):
    follow = subprocess.Popen(
        [*SLUICE, "events", "--follow", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert [json.loads(follow.stdout.readline())["number"] for _ in range(3)] == [1, 2, 3]
        assert sluice("alias", "set", "digits@1", "champion").code == 0
        assert json.loads(follow.stdout.readline())["alias"] == "champion"
        follow.send_signal(signal.SIGINT)
        _, said = follow.communicate(timeout=60)
    finally:
        follow.kill()
    assert follow.returncode == 130
    assert "Traceback" not in said


def test_lists_made_anew_say_the_same(sluice, digits):
    before = sluice("versions", "digits", "--json").json
    assert sluice("rebuild", "digits").code == 0
    assert sluice("rebuild").out == "The lists of all models are made anew.\n"
    assert sluice("versions", "digits", "--json").json == before
    assert sluice("doctor", "--json").code == 0


def test_a_model_moves_to_another_bucket_and_back(sluice, digits, new_bucket):
    assert sluice("alias", "set", "digits@2", "champion").code == 0
    other, third = new_bucket(), new_bucket()
    moved = sluice("export", "digits", "--to", f"s3://{other}", "--json")
    assert moved.code == 0, moved.err
    assert (moved.json["versions"], moved.json["copies"]) == (3, 3)
    assert "new versions  0" in sluice("export", "digits", "--to", other).out
    here = sluice("versions", "digits", "--json").json
    assert sluice("versions", "digits", "--bucket", other, "--json").json == here
    assert sluice("import", "digits", "--from", f"s3://{other}/", "--bucket", third).code == 0
    assert sluice("show", "digits@champion", "--bucket", third, "--json").json["number"] == 2
    assert sluice("verify", "--all", "--bucket", third).code == 0


class _Mlflow:
    """An MLflow with one model of two versions, of which the first was deleted."""

    def __init__(self, uri, *, clients=None, tell=None):
        assert uri == "http://mlflow.example"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def models(self):
        made = datetime(2025, 1, 1, tzinfo=UTC)
        yield MlflowModel(name="Fraud model", created_at=made, aliases={"Champion": 2}, description="Finds fraud.")

    def versions(self, name):
        made = datetime(2025, 1, 2, tzinfo=UTC)
        yield MlflowVersion(name=name, number=2, created_at=made, user="ann", metrics={"auc": 0.9})

    def archive(self, version):
        yield b"\x1f\x8b archive"


def test_a_model_comes_from_mlflow_with_its_numbers(sluice, workspace, monkeypatch):
    monkeypatch.setattr(reader, "Mlflow", _Mlflow)
    mlflow = ("--from-mlflow", "http://mlflow.example")
    done = sluice("import", "fraud", *mlflow, "--name", "Fraud model", "--json")
    assert done.code == 0, done.err
    assert (done.json["model"], done.json["versions"], done.json["aliases"]) == ("fraud", 1, 1)
    shown = sluice("show", "fraud@champion", "--json").json
    assert (shown["number"], shown["metrics"], shown["source"]["kind"]) == (2, {"auc": 0.9}, "mlflow")
    assert [one["state"] for one in sluice("versions", "fraud", "--deleted", "--json").json] == [
        "registered",
        "deleted",
    ]
    again = sluice("import", "--all", *mlflow, "--json")
    assert again.code == 0, again.err
    assert [one["model"] for one in again.json] == ["fraud-model"]
    assert "fraud-model is here." in sluice("import", "--all", *mlflow).out


def _on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that a command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    run = subprocess.Popen(
        [*SLUICE, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment | {"TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 65_536):
            said += chunk
    except OSError:  # the end of a terminal (Linux: EIO)
        pass
    finally:
        os.close(ours)
    assert run.wait(timeout=60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode()).replace("\r", "").split("\n")


def test_tables_fit_a_terminal_of_80_columns(sluice, digits):
    monthly = "a-model-with-a-name-of-forty-characters-"[:39] + "x"
    assert sluice("register", V1, "--model", monthly).code == 0
    assert sluice("alias", "set", "digits@1", "champion", "--reason", "a long reason " * 9).code == 0
    assert sluice("approve", "digits@1", "--reason", "a long reason " * 9, "--role", "approver").code == 0
    for command in (
        ("models",),
        ("versions", "digits"),
        ("versions", monthly),
        ("aliases", "digits"),
        ("alias", "history", "digits@champion"),
        ("decisions", "digits@1"),
        ("compare", "digits@1", "digits@2", "digits@3", f"{monthly}@1"),
        ("verify", "digits"),
    ):
        lines = _on_a_terminal(80, *command)
        assert [line for line in lines if len(line) > 80] == [], command
        assert len(lines) > 4, command
    rows = [line for line in _on_a_terminal(80, "versions", "digits") if "registered" in line]
    assert len(rows) == 3, "a version is one line"
    assert all("digits@" in row and "validation:accuracy=" in row for row in rows)
    assert any(V1 in line for line in _on_a_terminal(140, "versions", "digits"))
