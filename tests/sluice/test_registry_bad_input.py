"""Bad input to the registry's commands: one clear sentence, the documented exit code, and nothing written."""

import socket

import pytest

V1, V2 = "digits-2026-11-01", "digits-2026-11-08"

UNPARSABLE = [
    (("register", V1, "--model", "digits", "--metric", "auc"), "--metric NAME=VALUE"),
    (("register", V1, "--model", "digits", "--metric", "auc=high"), "'high' is no number"),
    (("register", V1, "--model", "digits", "--metric", "=1"), "NAME=VALUE"),
    (("register", V1, "--model", "digits", "--metric", "a=1", "--metric", "a=2"), "given twice"),
    (("register", V1, "--model", "digits", "--tag", "team"), "--tag NAME=VALUE"),
    (("register", V1, "--model", "digits", "--tag", f"team={'x' * 300}"), "256 characters"),
    (("register", V1, "--model", "digits", "--tag", "team=a\nb"), "one line"),
    (("register", V1, "--model", "digits", "--git-commit", "a\nb"), "one line"),
    (("register", "--model", "digits"), "give a SOURCE, or --since"),
    (("register", V1), "--help`"),
    (("register", V1, "--model", "digits", "--since", "7d"), "without SOURCE"),
    (("register", "--model", "digits", "--since", "7d", "--tag", "a=b"), "without SOURCE"),
    (("register", V1, "--model", "digits", "--name", "digits-*"), "give them with --since"),
    (("register", V1, "--model", "digits", "--job-tag", "a=b"), "give them with --since"),
    (("register", "--model", "digits", "--since", "7d", "--job-tag", "=b"), "is no tag"),
    (("register", "--model", "digits", "--since", "yesterday"), "'yesterday' is no time"),
    (("register", "--model", "digits", "--since", "2026-13-01"), "is no time"),
    (("register", "--model", "digits", "--since", "999999w"), "before all times"),
    (("register", "--model", "Digits", "--since", "7d"), "cannot name a model"),
    (("models", "--tag", "team"), "--tag NAME=VALUE"),
    (("models", "--limit", 0), "--help`"),
    (("model", "Digits"), "cannot name a model"),
    (("edit", "digits"), "Nothing is to be changed"),
    (("edit", "digits", "--tag", "a"), "--tag NAME=VALUE"),
    (("edit", "digits", "--tag", "a=b", "--untag", "a"), "is in --tag and in --untag"),
    (("edit", "digits", "--link", "wiki=ftp://x"), "links wiki"),
    (("edit", "digits", "--link", "wiki=javascript:alert(1)"), "links wiki"),
    (("edit", "digits", "--protect", "champion"), "--protect NAME=VALUE"),
    (("edit", "digits", "--protect", "champion=boss"), "'viewer', 'releaser', 'approver' or 'admin'"),
    (("edit", "digits", "--protect", "latest=admin"), "latest"),
    (("edit", "digits", "--description", "x" * 5_001), "5000 characters"),
    (("edit", "digits", "--owner", "a\nb"), "one line"),
    (("edit", "digits", "--owner", "a", "--role", "boss"), "--help`"),
    (("delete", "digits", "--role", "admin"), "give --yes"),
    (("delete", "digits@1", "--role", "admin", "--reason", "x" * 1_001), "1000 characters"),
    (("versions", "digits", "--tag", "team"), "--tag NAME=VALUE"),
    (("show", "digits"), "write it as digits@7"),
    (("show", "digits@0"), "is not a version"),
    (("show", "digits@Champion"), "cannot name an alias"),
    (("show", "digits@1@2"), "is not a version"),
    (("compare", "digits@1", "digits"), "write it as digits@7"),
    (("compare",), "--help`"),
    (("lineage",), "One question at a time"),
    (("lineage", "digits@1", "--commit", "abcdef0"), "One question at a time"),
    (("lineage", "digits@1", "--model", "digits"), "give it with --trained-on"),
    (("lineage", "--trained-on", "/data"), "is no place in S3"),
    (("lineage", "--trained-on", "s3://data", "--model", "Digits"), "cannot name a model"),
    (("lineage", "--commit", "HEAD"), "is not a commit"),
    (("aliases", "Digits"), "cannot name a model"),
    (("alias",), "--help`"),
    (("alias", "set", "digits@1", "latest"), "always names the newest"),
    (("alias", "set", "digits@1", "7"), "cannot name an alias"),
    (("alias", "set", "digits@1", "Champion"), "cannot name an alias"),
    (("alias", "set", "digits", "champion"), "write it as digits@7"),
    (("alias", "set", "digits@1", "champion", "--expect", -1), "--help`"),
    (("alias", "set", "digits@1", "champion", "--reason", "a\x1bb"), "control characters"),
    (("alias", "remove", "digits@1"), "is no alias"),
    (("alias", "remove", "digits"), "is no alias"),
    (("alias", "remove", "digits@latest"), "nobody moves it"),
    (("alias", "history", "digits@champion", "--at", "noon"), "'noon' is no time"),
    (("approve", "digits@1"), "--help`"),
    (("approve", "digits@1", "--reason", " ", "--role", "approver"), "say in a sentence why"),
    (("reject", "digits@1", "--reason", "", "--role", "approver"), "say in a sentence why"),
    (("sign-off", "digits@1", "--note", "", "--role", "approver"), "say in a sentence why"),
    (("verify",), "Name what is to be read"),
    (("verify", "digits", "--all"), "Name what is to be read"),
    (("verify", "digits", "--after", "digits@1"), "give it with --all"),
    (("verify", "--all", "--after", "digits"), "write it as digits@7"),
    (("gc", "--grace", "soon"), "'soon' is no length of time"),
    (("gc", "--grace", "30m", "--role", "admin"), "one hour or more"),
    (("events", "--after", "a/b"), "is not a cursor"),
    (("rebuild", "Digits"), "cannot name a model"),
    (("export", "digits", "--to", "s3://Bad_Bucket"), "cannot name a bucket"),
    (("export", "digits", "--to", "s3://bucket/prefix"), "cannot name a bucket"),
    (("export", "Digits", "--to", "s3://bucket"), "cannot name a model"),
    (("import", "digits"), "give --from or --from-mlflow"),
    (("import", "digits", "--from", "s3://b", "--from-mlflow", "x"), "give --from or --from-mlflow"),
    (("import", "digits", "--from", "s3://bucket", "--name", "x"), "give them with --from-mlflow"),
    (("import", "digits", "--from-mlflow", "sqlite:///x", "--all"), "Say which models"),
    (("import", "--from-mlflow", "sqlite:///x"), "Say which models"),
    (("import", "Digits", "--from", "s3://bucket"), "cannot name a model"),
]


def test_what_makes_no_sense_is_told_and_writes_nothing(refusal, workspace):
    for arguments, said in UNPARSABLE:
        assert said in refusal(2, *arguments), arguments
    assert set(workspace.keys()) <= {"sluice.json"}


NOT_THERE = [
    (("register", "./nothing", "--model", "digits"), "nothing at nothing"),
    (("register", "s3://sluice-demo-training/nothing.tar.gz", "--model", "digits"), "There is nothing at"),
    (("register", "fraud/7", "--model", "digits"), "no version 7 in the model package group fraud"),
    (("model", "nobody"), "no model nobody"),
    (("edit", "nobody", "--owner", "me"), "no model nobody"),
    (("delete", "nobody", "--yes", "--role", "admin"), "no model nobody"),
    (("delete", "digits@9", "--role", "admin"), "no version digits@9"),
    (("versions", "nobody"), "no model nobody"),
    (("show", "digits@9"), "no version digits@9"),
    (("show", "digits@nothing"), "digits has no alias nothing"),
    (("show", "nobody@latest"), "no model nobody"),
    (("compare", "digits@1", "digits@9"), "no version digits@9"),
    (("lineage", "digits@9"), "no version digits@9"),
    (("lineage", "--commit", "0" * 40), "No commit 0000"),
    (("aliases", "nobody"), "no model nobody"),
    (("alias", "set", "digits@9", "champion"), "no version digits@9"),
    (("alias", "set", "nobody@1", "champion"), "no model nobody"),
    (("alias", "remove", "digits@nothing"), "no alias nothing"),
    (("alias", "history", "digits@nothing"), "never had an alias nothing"),
    (("alias", "history", "digits@champion", "--at", "2020-01-01"), "named no version at 2020-01-01"),
    (("approve", "digits@9", "--reason", "x", "--role", "approver"), "no version digits@9"),
    (("decisions", "digits@9"), "no version digits@9"),
    (("sign-off", "digits@9", "--note", "x", "--role", "approver"), "no version digits@9"),
    (("verify", "digits@9"), "no version digits@9"),
    (("verify", "nobody"), "no model nobody"),
    (("verify", "digits@2"), "digits@2 was deleted"),
    (("alias", "set", "digits@2", "champion"), "digits@2 was deleted"),
    (("approve", "digits@2", "--reason", "x", "--role", "approver"), "digits@2 was deleted"),
    (("rebuild", "nobody"), "no model nobody"),
    (("export", "nobody", "--to", "s3://{other}"), "no model nobody"),
    (("export", "digits", "--to", "s3://nowhere-at-all"), "no bucket nowhere-at-all"),
    (("import", "nobody", "--from", "s3://{other}"), "no model nobody"),
    (("import", "digits", "--from", "s3://nowhere-at-all"), "no bucket nowhere-at-all"),
    (("promote", "digits@nothing", "--to", "prod", "--weight", 10), "no alias nothing"),
    (("package", "digits@nothing"), "no alias nothing"),
    (("rollback", "digits@nothing", "--env", "prod"), "no alias nothing"),
]


@pytest.fixture
def digits(sluice, workspace):
    """Version 1 of digits is champion, version 2 was deleted."""
    for job in (V1, V2):
        assert sluice("register", job, "--model", "digits").code == 0
    assert sluice("alias", "set", "digits@1", "champion").code == 0
    assert sluice("delete", "digits@2", "--role", "admin").code == 0
    return workspace


def test_what_is_not_there_is_told_and_writes_nothing(refusal, digits, new_bucket):
    other, keys, head = new_bucket(), digits.keys(), digits.head()
    for arguments, said in NOT_THERE:
        assert said in refusal(3, *(str(one).format(other=other) for one in arguments)), arguments
    assert (digits.keys(), digits.head()) == (keys, head)


def test_what_is_refused_or_overrun(sluice, refusal, digits, new_bucket):
    assert "digits@1 is digits@champion" in refusal(4, "delete", "digits@1", "--role", "admin")
    assert "remove the aliases" in refusal(4, "delete", "digits", "--yes", "--role", "admin")
    said = refusal(5, "alias", "set", "digits@1", "champion", "--expect", 0)
    assert "names version 1" in said
    assert "names version 1, not 2" in refusal(5, "alias", "remove", "digits@champion", "--expect", 2)
    assert sluice("sign-off", "digits@1", "--note", "a", "--role", "approver").code == 0
    assert "another sign-off" in refusal(5, "sign-off", "digits@1", "--note", "b", "--role", "approver")
    assert "own bucket" in refusal(2, "export", "digits", "--to", f"s3://{digits.bucket}")
    assert "versions can be compared, not 1" in refusal(2, "compare", "digits@1")
    other = new_bucket()
    assert sluice("register", V2, "--model", "digits", "--bucket", other).code == 0
    ran = sluice("export", "digits", "--to", f"s3://{other}")
    assert ran.code == 5
    assert "other bucket" in ran.err


def test_an_mlflow_that_does_not_answer(refusal, workspace, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert "127.0.0.1" in refusal(6, "import", "fraud", "--from-mlflow", f"http://127.0.0.1:{port}")


def test_a_role_that_is_none(refusal, workspace, monkeypatch):
    monkeypatch.setenv("SLUICE_ROLE", "boss")
    assert "The setting role does not fit" in refusal(2, "models")
