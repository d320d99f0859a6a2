"""Bad input: one clear sentence, the documented exit code, and nothing written."""

from __future__ import annotations

import gzip
import io
import json
import socket
import subprocess
import sys
import tarfile
import uuid
import zipfile
from pathlib import Path

import pytest

V1, V2 = "digits-2026-11-01", "digits-2026-11-08"


def _sentence(ran, code):
    return ran.sentence(code)


@pytest.fixture
def nothing_written(workspace):
    """The bucket and the repository are afterwards what they were, but for the registry's own marker."""
    keys, head = set(workspace.keys()), workspace.head()
    yield workspace
    assert set(workspace.keys()) - {"sluice.json"} == keys - {"sluice.json"}
    assert workspace.head() == head


@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        ("no-such-job", 3, "no training job 'no-such-job'"),
        ("job-inprogress", 4, "not finished"),
        ("job-stopping", 4, "not finished"),
        ("job-stopped", 4, "was stopped"),
        ("job-failed", 4, "AlgorithmError: out of memory"),
        ("not a job name", 3, "not a job name"),
    ],
)
def test_a_job_that_cannot_be_registered(sluice, nothing_written, job, code, said):
    assert said in _sentence(sluice("register", job, "--model", "digits"), code)
    assert said in _sentence(sluice("release", job, "--model", "digits"), code)


@pytest.mark.parametrize("name", ["Fraud", "9lives", "a_b", "a-", "a/b", "../x", "x" * 41, "", "frädchen", "a b"])
def test_a_bad_model_name(sluice, nothing_written, name):
    for command in (
        ("register", V1, "--model", name),
        ("versions", name),
        ("promote", f"{name}@1", "--to", "prod", "--weight", 1),
    ):
        _sentence(sluice(*command), 2)


def _tar(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, what in members:
            info = what if isinstance(what, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(what, bytes):
                info.size = len(what)
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


def _special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    info.type, info.linkname = kind, target
    return info


def _checkpoint() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/version", b"3\n")
    return out.getvalue()


_WHOLE = _tar(("model.pt", b"x" * 100_000))
ARCHIVES = {
    "truncated": (_WHOLE[:-20], 2, "truncated"),
    "truncated inside the tar": (gzip.compress(gzip.decompress(_WHOLE)[:5000]), 2, "truncated"),
    "no archive": (b"this is not an archive", 2, "not a gzipped tar"),
    "empty": (b"", 2, "truncated"),
    "goes up": (_tar(("../evil", b"x")), 4, "leaves its folder"),
    "absolute": (_tar(("/etc/passwd", b"x")), 4, "absolute path"),
    "symbolic link out": (_tar(("a", _special(tarfile.SYMTYPE, "../../etc"))), 4, "symbolic link"),
    "hard link out": (_tar(("a", _special(tarfile.LNKTYPE, "/etc/passwd"))), 4, "hard link"),
    "device": (_tar(("null", _special(tarfile.CHRTYPE))), 4, "character device"),
    "bomb": (_tar(("model.pt", bytes(80 << 20))), 4, "bomb"),
    "no model": (_tar(("readme.txt", b"hello")), 2, "neither a TorchScript file nor a SavedModel"),
    "weights only": (_tar(("model.pt", _checkpoint())), 2, "torch.jit.script"),
    "two models": (_tar(("a/saved_model.pb", b"x"), ("b/saved_model.pb", b"x")), 2, "more than one model"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_training_output_that_cannot_be_packaged(sluice, workspace, case):
    archive, code, said = ARCHIVES[case]
    job = f"job-{uuid.uuid4().hex[:12]}"
    sagemaker, s3 = workspace.endpoints.client("sagemaker"), workspace.endpoints.client("s3")
    sagemaker.create_training_job(
        TrainingJobName=job,
        AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File"},
        RoleArn="arn:aws:iam::123456789012:role/training",
        OutputDataConfig={"S3OutputPath": f"s3://{workspace.bucket}/training"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    s3.put_object(Bucket=workspace.bucket, Key=f"training/{job}/output/model.tar.gz", Body=archive)
    sagemaker.close()
    s3.close()
    assert sluice("register", job, "--model", "digits").code == 0
    keys, head = workspace.keys(), workspace.head()

    assert said in _sentence(sluice("package", "digits@1"), code)
    assert said in _sentence(sluice("release", job, "--model", "digits"), code)

    assert (workspace.keys(), workspace.head()) == (keys, head)
    assert not (workspace.folder / "images").exists()


@pytest.fixture
def packaged(sluice, workspace):
    """Version 1 of digits is released to staging; version 2 is packaged but has no image."""
    assert sluice("release", V1, "--model", "digits").code == 0
    assert sluice("register", V2, "--model", "digits").code == 0
    assert sluice("package", "digits@2").code == 0
    return workspace


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("digits@9", "--to", "prod", "--weight", 10), 3, "no version digits@9"),
        (("nobody@1", "--to", "prod", "--weight", 10), 3, "no version nobody@1"),
        (("digits", "--to", "prod", "--weight", 10), 2, "write it as digits@7"),
        (("digits@0", "--to", "prod", "--weight", 10), 2, "not a version"),
        (("digits@1", "--to", "moon", "--weight", 100), 3, "no environment moon"),
        (("digits@1", "--to", "Prod", "--weight", 100), 2, "cannot name an environment"),
        (("digits@1", "--to", "prod", "--weight", 0), 2, "0 is not a weight"),
        (("digits@1", "--to", "prod", "--weight", 101), 2, "101 is not a weight"),
        (("digits@1", "--to", "prod", "--weight", -5), 2, "-5 is not a weight"),
        (("digits@1", "--to", "prod", "--weight", 10), 2, "give the first version --weight 100"),
        (("digits@2", "--to", "staging", "--weight", 10), 5, "has no image yet"),
    ],
)
def test_a_promotion_that_makes_no_sense(sluice, packaged, arguments, code, said):
    keys, head = packaged.keys(), packaged.head()
    for command in ("promote", "diff"):
        assert said in _sentence(sluice(command, *arguments), code)
    assert (packaged.keys(), packaged.head()) == (keys, head)


def test_build_before_package_and_without_a_base(sluice, packaged, monkeypatch):
    assert sluice("register", "digits-2026-11-15", "--model", "digits").code == 0
    assert "run `sluice package digits@3` first" in _sentence(sluice("build", "digits@3"), 5)
    monkeypatch.setenv("SLUICE_BASES", "{}")
    assert "No base image is set for torchserve" in _sentence(sluice("build", "digits@2"), 2)
    monkeypatch.setenv("SLUICE_BASES", json.dumps({"torchserve": "oci:nowhere:latest"}))
    assert "skopeo copy" in _sentence(sluice("build", "digits@2"), 3)
    monkeypatch.setenv("SLUICE_BASES", json.dumps({"torchserve": "docker://x"}))
    assert "host/repository:tag" in _sentence(sluice("build", "digits@2"), 2)
    assert sluice("show", "digits@2", "--json").json["state"] == "packaged"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("digits", "--env", "staging"), 4, "nothing to roll back to"),
        (("digits", "--env", "prod"), 3, "No version of digits was ever released to prod"),
        (("nobody", "--env", "prod"), 3, "No version of nobody was ever released to prod"),
        (("digits", "--env", "moon"), 3, "no environment moon"),
        (("digits@2", "--env", "staging"), 5, "is version 1, not 2"),
    ],
)
def test_a_rollback_that_makes_no_sense(sluice, packaged, arguments, code, said):
    head = packaged.head()
    assert said in _sentence(sluice("rollback", *arguments), code)
    assert packaged.head() == head


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--weight", 500), 2, "500 is not a weight"),
        (("--weight", 10), 2, "give the first version --weight 100"),
        (("--env", "moon"), 3, "no environment moon"),
        (("--gitops", "no-such.git"), 3, "no-such.git"),
    ],
)
def test_a_release_that_cannot_be_committed_writes_nothing(sluice, nothing_written, arguments, code, said):
    assert said in _sentence(sluice("release", V1, "--model", "digits", *arguments), code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "digits@1", "--to", "prod", "--weight", "10.5"),
        ("promote", "digits@1", "--to", "prod", "--weight", ""),
        ("promote", "digits@1", "--to", "prod"),
        ("promote",),
        ("pomote",),
        ("status", "--colour"),
        ("history", "--limit", 0),
    ],
)
def test_a_command_line_that_cannot_be_parsed(sluice, arguments):
    assert "--help`" in _sentence(sluice(*arguments), 2)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("new.git", "--env", "BAD ENV"), 2, "cannot name an environment"),
        (("new.git", "--env", "prod", "--env", "prod"), 2, "only once"),
        (("new.git", "--env", "prod", "--url", "not a url"), 2, "URL"),
        (("new.git", "--env", "prod", "--url", "https://u:hunter2@x/y"), 2, "password"),
        (("full", "--env", "prod"), 2, "neither empty nor a git repository"),
        (("full/file", "--env", "prod"), 2, "is a file"),
    ],
)
def test_an_init_that_makes_no_sense_leaves_nothing(sluice, workspace, arguments, code, said):
    (workspace.folder / "full").mkdir()
    (workspace.folder / "full" / "file").write_text("mine\n")
    ran = sluice("init", *arguments)
    assert said in _sentence(ran, code)
    assert "hunter2" not in ran.err
    assert not (workspace.folder / "new.git").exists()
    assert [path.name for path in (workspace.folder / "full").iterdir()] == ["file"]


def test_init_on_a_branch_that_cannot_be(sluice, workspace, monkeypatch):
    monkeypatch.setenv("SLUICE_BRANCH", "bad..x")
    assert "cannot name a branch" in _sentence(sluice("init", "new.git", "--env", "prod"), 2)
    assert not (workspace.folder / "new.git").exists()


def test_a_repository_that_is_none_of_sluice(sluice, workspace):
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", "other.git"], cwd=workspace.folder, check=True)
    assert "sluice init" in _sentence(sluice("status", "--gitops", "other.git"), 3)
    assert "No version of nobody" in _sentence(sluice("history", "nobody"), 3)
    (workspace.folder / "file").write_text("")
    assert "is a file" in _sentence(sluice("status", "--gitops", "file"), 2)


def test_an_actor_that_would_forge_a_trailer(sluice, nothing_written, monkeypatch):
    monkeypatch.setenv("SLUICE_ACTOR", "a\nModel: evil")
    assert "SLUICE_ACTOR" in _sentence(sluice("register", V1, "--model", "digits"), 2)


def test_output_that_cannot_be_written(workspace):
    command = [sys.executable, "-c", "from sluice.cli.app import main; main()", "status", "--json"]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_an_unreachable_s3(sluice, nothing_written, monkeypatch):
    url = f"http://127.0.0.1:{_closed_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    said = _sentence(sluice("register", V1, "--model", "digits"), 6)
    assert url in said
    assert "cannot be reached" in said


def test_a_bucket_that_is_not_there_and_keys_that_are_wrong(sluice, nothing_written, monkeypatch):
    assert "no bucket nowhere-at-all" in _sentence(sluice("models", "--bucket", "nowhere-at-all"), 3)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-key")
    said = _sentence(sluice("models"), 2)
    assert "credentials" in said
    assert "not-the-key" not in said


def test_an_unreachable_git_remote(sluice, packaged):
    promote = ("promote", "digits@1", "--to", "prod", "--weight", 100, "--gitops")
    said = _sentence(sluice(*promote, f"http://127.0.0.1:{_closed_port()}/models.git"), 6)
    assert "127.0.0.1" in said
    assert "no-such.git" in _sentence(sluice(*promote, str(packaged.folder / "no-such.git")), 3)
    said = _sentence(sluice(*promote, "https://user:hunter2@git.example.com/models.git"), 4)
    assert "hunter2" not in said


def test_settings_that_are_missing_or_malformed(sluice, nothing_written, monkeypatch):
    monkeypatch.setenv("SLUICE_BUCKET", "")
    assert "No registry bucket is set" in _sentence(sluice("models"), 2)
    monkeypatch.setenv("SLUICE_GITOPS", "")
    assert "No GitOps repository is set" in _sentence(sluice("status"), 2)
    (nothing_written.folder / "sluice.toml").write_text("buckets = 'typo'\n")
    assert "buckets" in _sentence(sluice("models"), 2)
    (nothing_written.folder / "sluice.toml").write_bytes(b"\xff\xfe")
    assert "not TOML" in _sentence(sluice("models"), 2)
    (nothing_written.folder / "sluice.toml").write_text("bucket = \n")
    assert "not TOML" in _sentence(sluice("models"), 2)
    monkeypatch.setenv("SLUICE_CONFIG", "elsewhere.toml")
    assert "elsewhere.toml" in _sentence(sluice("models"), 2)
    monkeypatch.delenv("SLUICE_CONFIG")
    (nothing_written.folder / "sluice.toml").unlink()
    assert "cannot name a bucket" in _sentence(sluice("models", "--bucket", "Bad_Bucket!"), 2)


def _work(path, *arguments):
    git = ["git", "-c", "user.name=P", "-c", "user.email=p@example.com", "-C", str(path)]
    return subprocess.run([*git, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def work(packaged):
    """A person's clone of the repository."""
    _work(packaged.folder, "clone", "-q", str(packaged.gitops), "work")
    return packaged.folder / "work"


def test_files_of_sluice_that_a_person_changed_and_committed(sluice, packaged, work):
    ingress = work / "models/digits/staging/manifests/ingress.yaml"
    ingress.write_text(ingress.read_text().replace("internal", "internet-facing"))
    _work(work, "commit", "-qam", "quick fix")
    _work(work, "push", "-q")
    head = packaged.head()
    assert sluice("build", "digits@2").code == 0
    for command in (
        ("promote", "digits@2", "--to", "staging", "--weight", 10),
        ("rollback", "digits", "--env", "staging"),
    ):
        ran = sluice(*command)
        assert "changed by hand" in _sentence(ran, 4)
        assert "internet-facing" in ran.err, "the difference is shown"
    assert packaged.head() == head

    _work(work, "revert", "--no-edit", "HEAD")
    _work(work, "push", "-q")
    assert sluice("promote", "digits@2", "--to", "staging", "--weight", 10).code == 0


def test_a_work_tree_with_uncommitted_changes(sluice, packaged, work):
    assert sluice("build", "digits@2").code == 0
    promote = ("promote", "digits@2", "--to", "staging", "--weight", 10, "--gitops", str(work))
    (work / "models/digits/staging/release.yaml").write_text("mine\n")
    head = _work(work, "rev-parse", "HEAD")
    assert "uncommitted changes in models/digits/staging/release.yaml" in _sentence(sluice(*promote), 4)
    _work(work, "checkout", "-q", ".")
    assert "bare" in _sentence(sluice(*promote), 4)
    assert _work(work, "rev-parse", "HEAD") == head


def test_settings_files_in_git_that_are_wrong(sluice, packaged, work):
    (work / "environments/prod.yaml").write_text("name: prod\nnamespace: models\ndomain: example.com\nspeed: 11\n")
    _work(work, "commit", "-qam", "chore: faster")
    _work(work, "push", "-q")
    head = packaged.head()
    said = _sentence(sluice("promote", "digits@1", "--to", "prod", "--weight", 100), 2)
    assert "environments/prod.yaml" in said
    assert "speed" in said
    assert packaged.head() == head
