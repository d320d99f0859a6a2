"""Running a tool: what it is given, what is told of it, and its end. Scripts stand in for the tools here."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.buildkit import buildah, buildctl
from pipelines.buildkit.buildah import Buildah
from pipelines.buildkit.buildctl import Buildctl
from pipelines.buildkit.running import LINE_MAX, environment, reason, run
from pipelines.buildkit.tool import Extension, Work, docker_config, host_of, plain_http
from pipelines.image.remote.credentials import TOKEN_USER, Login
from pipelines.supply.signing import PASSWORDS
from registry.errors import InvalidInput, SluiceError, Unavailable
from registry.progress import Silent

DIGEST = "sha256:" + "0" * 64
MADE = "sha256:" + "1" * 64
WANTED = Extension(
    what="base of fraud",
    why="Python packages",
    source=f"base.example.com/serve@{DIGEST}",
    target="123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice/fraud:base-ab",
    platform="linux/amd64",
    dockerfile=b"FROM x\n",
    context={"requirements.txt": b"numpy\n"},
)
WORK = Work(Path("/w/context"), Path("/w/dockerfile"), Path("/w/login"), Path("/w/result.json"))
LOGIN = Login("AWS", "hunter2:with-a-colon")


def test_buildkit_is_asked_to_build_push_and_cache() -> None:
    assert buildctl.build_arguments(WANTED, WORK) == (
        "build",
        "--progress=plain",
        "--frontend=dockerfile.v0",
        "--local=context=/w/context",
        "--local=dockerfile=/w/dockerfile",
        "--opt=platform=linux/amd64",
        "--opt=build-arg:SOURCE_DATE_EPOCH=315532800",
        "--output=type=image,name=123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice/fraud:base-ab,push=true,"
        "oci-mediatypes=true,rewrite-timestamp=true",
        "--export-cache=type=registry,ref=123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice/fraud:cache-linux-amd64,"
        "mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true",
        "--import-cache=type=registry,ref=123456789012.dkr.ecr.eu-west-1.amazonaws.com/sluice/fraud:cache-linux-amd64",
        "--metadata-file=/w/result.json",
    )


def test_certificates_are_asked_for_everywhere_but_on_this_machine() -> None:
    local = WANTED.model_copy(update={"source": f"localhost:5000/a@{DIGEST}", "target": "127.0.0.1:5000/a/b:base-ab"})
    assert any(
        "push=true" in word and word.endswith(",registry.insecure=true")
        for word in buildctl.build_arguments(local, WORK)
    )
    assert not any("insecure" in word for word in buildctl.build_arguments(WANTED, WORK))
    image, pushed = Path("/w/image"), Path("/w/digest")
    assert "--tls-verify=false" in buildah.build_arguments(local, WORK, image)
    assert "--tls-verify=true" in buildah.build_arguments(WANTED, WORK, image)
    assert buildah.push_arguments("i", local.target, pushed)[1] == "--tls-verify=false"
    assert buildah.push_arguments("i", WANTED.target, pushed) == (
        "push",
        "--tls-verify=true",
        "--digestfile=/w/digest",
        "i",
        f"docker://{WANTED.target}",
    )
    assert buildah.push_arguments("i", "oci:/a:base-ab", pushed)[-1] == "oci:/a:base-ab"


@pytest.mark.parametrize(
    ("image", "host", "local"),
    [
        ("localhost:5000/a@" + DIGEST, "localhost:5000", True),
        ("localhost/a:b", "localhost", True),
        ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000", True),
        ("127.example.com/a:b", "127.example.com", False),
        ("localhost.example.com:5000/a:b", "localhost.example.com:5000", False),
        ("oci:/a/folder:tag", "", False),
    ],
)
def test_which_registry_an_image_is_in(image: str, host: str, local: bool) -> None:
    assert (host_of(image), plain_http(image)) == (host, local)


def test_credentials_are_written_as_docker_does() -> None:
    logins = {"a.example.com": LOGIN, "docker.io": Login("x", "y"), "c.example.com": Login(TOKEN_USER, "z")}
    told = json.loads(docker_config({"a.example.com", "docker.io", "b.example.com", "c.example.com"}, logins.get))
    assert told == {
        "auths": {
            "a.example.com": {"auth": base64.b64encode(b"AWS:hunter2:with-a-colon").decode()},
            "c.example.com": {"identitytoken": "z"},
            "https://index.docker.io/v1/": {"auth": base64.b64encode(b"x:y").decode()},
        }
    }


def test_a_tool_gets_neither_sluices_settings_nor_clouds_credentials() -> None:
    ours = {"PATH": "/bin", "BUILDKIT_HOST": "tcp://b", "AWS_SECRET_ACCESS_KEY": "x"}
    secret = dict.fromkeys(PASSWORDS, "y")
    assert environment(ours | secret, {"DOCKER_CONFIG": "/w"}) == {
        "PATH": "/bin",
        "BUILDKIT_HOST": "tcp://b",
        "DOCKER_CONFIG": "/w",
    }


Script = Callable[[str], tuple[str, ...]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A program of a few lines of sh, as a command."""

    def write(text: str) -> tuple[str, ...]:
        path = tmp_path / "tool"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return (str(path),)

    return write


RECORD = """\
for word; do echo "$word"; done > {here}/argv
env > {here}/env
cat "$DOCKER_CONFIG/config.json" > {here}/config
stat -c %a "$DOCKER_CONFIG/config.json" "$DOCKER_CONFIG/../" > {here}/modes
for word; do
  case $word in
    --local=context=*) cp -r "${{word#--local=context=}}" {here}/context ;;
    --local=dockerfile=*) cp -r "${{word#--local=dockerfile=}}" {here}/dockerfile ;;
    --metadata-file=*) echo '{{"containerimage.digest": "{made}", "image.name": "x"}}' > "${{word#--metadata-file=}}" ;;
  esac
done
echo '#1 [internal] load build definition from Dockerfile' >&2
echo '#5 [2/3] RUN apt-get update' >&2
echo '#5 0.1 Get:1 …' >&2
echo '#5 [2/3] RUN apt-get update' >&2
echo '#6 [3/3] RUN python3 -m pip' >&2
"""


def test_buildkit_gets_its_files_and_credentials_and_nobody_else(script: Script, tmp_path: Path, said: Any) -> None:
    command = (*script(RECORD.format(here=tmp_path, made=MADE)), "--addr=tcp://b:1")
    ours = {"PATH": os.environ["PATH"], "AWS_SESSION_TOKEN": "x"}
    made = Buildctl(command, environ=ours).build(WANTED, lambda host: LOGIN if "ecr" in host else None, said)
    assert made == MADE
    argv = (tmp_path / "argv").read_text()
    assert argv.startswith("--addr=tcp://b:1\nbuild\n")
    assert (tmp_path / "dockerfile/Dockerfile").read_bytes() == WANTED.dockerfile
    assert (tmp_path / "context/requirements.txt").read_bytes() == b"numpy\n"
    assert [path.name for path in (tmp_path / "context").iterdir()] == ["requirements.txt"]
    assert (tmp_path / "modes").read_text() == "600\n700\n"
    assert list(json.loads((tmp_path / "config").read_bytes())["auths"]) == [host_of(WANTED.target)]
    env = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert "AWS_SESSION_TOKEN" not in env
    assert "hunter2" not in argv + str(env)
    assert not Path(env["DOCKER_CONFIG"]).exists()
    assert said.facts == ["base of fraud: [2/3] RUN apt-get update", "base of fraud: [3/3] RUN python3 -m pip"]


@pytest.mark.parametrize("result", ["", "{", "{}", '{"containerimage.digest": "x"}'])
def test_a_buildkit_that_does_not_say_what_it_pushed_is_not_believed(script: Script, result: str) -> None:
    command = script(f"""for w; do case $w in --metadata-file=*) printf %s '{result}' > "${{w#*=}}" ;; esac; done""")
    with pytest.raises(SluiceError, match=r"did not say what it pushed: install BuildKit 0\.15"):
        Buildctl(command).build(WANTED, lambda _: None, Silent())
    with pytest.raises(SluiceError, match="did not say what it pushed"):
        Buildctl(script("exit 0")).build(WANTED, lambda _: None, Silent())


@pytest.mark.parametrize("builder", [Buildctl, Buildah])
def test_a_missing_tool_is_told_with_both_ways_out(builder: Any, tmp_path: Path) -> None:
    unusable = tmp_path / "unusable"
    unusable.write_text("")
    strange = tmp_path / "strange"
    strange.write_bytes(b"\x7fELF")
    strange.chmod(0o755)
    for command in ("no-such-tool", str(tmp_path / "nothing"), str(unusable), str(strange)):
        told = r"The model needs Python packages, and .*\[buildkit\] command .* requirements: in-base in model\.yaml\."
        with pytest.raises(InvalidInput, match=told):
            builder((command,)).build(WANTED, lambda _: None, Silent())


def test_buildkit_reads_no_folders() -> None:
    for change in ({"source": "oci:/a:b"}, {"target": "oci:/a:b"}):
        with pytest.raises(InvalidInput, match="BuildKit reads bases from registries only"):
            Buildctl(("false",)).build(WANTED.model_copy(update=change), lambda _: None, Silent())


BUILDKIT_PIP = """\
#4 importing cache manifest from example.com/a:cache-linux-amd64
#4 ERROR: failed to configure registry cache importer: example.com/a:cache-linux-amd64: not found
#7 [3/3] RUN python3 -m pip install --requirement=/run/sluice/requirements.txt
#7 1.234 ERROR: Could not find a version that satisfies the requirement nosuch (from versions: none)
#7 1.235 ERROR: No matching distribution found for nosuch
#7 ERROR: process "/bin/sh -c python3 -m pip install" did not complete successfully: exit code: 1
------
 > importing cache manifest from example.com/a:cache-linux-amd64:
------
------
 > [3/3] RUN python3 -m pip install --requirement=/run/sluice/requirements.txt:
1.234 ERROR: Could not find a version that satisfies the requirement nosuch (from versions: none)
1.235 ERROR: No matching distribution found for nosuch
------
Dockerfile:4
--------------------
   4 | >>> RUN python3 -m pip install
--------------------
error: failed to solve: process "/bin/sh -c python3 -m pip install" did not complete successfully: exit code: 1
"""
BUILDKIT_APT = """\
#6 2.1 Reading package lists...
#6 2.2 E: Unable to locate package nosuch
#6 ERROR: process "/bin/sh -c apt-get update" did not complete successfully: exit code: 100
error: failed to solve: process "/bin/sh -c apt-get update" did not complete successfully: exit code: 100
"""
BUILDKIT_PUSH = """\
#9 exporting to image
#9 ERROR: failed to push example.com/a:base-1: unexpected status: 401 Unauthorized
------
 > exporting to image:
------
error: failed to solve: failed to push example.com/a:base-1: unexpected status: 401 Unauthorized
"""
BUILDAH_PIP = """\
STEP 4/6: RUN python3 -m pip install
ERROR: No matching distribution found for nosuch
error building at STEP "RUN python3 -m pip install": error while running runtime: exit status 1
time="2026-01-01T00:00:00Z" level=error msg="exit status 1"
"""
BUILDKIT_OLD = """\
#5 [2/2] RUN pip
#5 0.288 ERROR: No matching distribution found for nosuch
#5 ERROR: executor failed running [/bin/sh -c pip]: exit code: 1
------
 > [2/2] RUN pip:
------
executor failed running [/bin/sh -c pip]: exit code: 1
"""
SAID = {
    "an old BuildKit": (BUILDKIT_OLD, "ERROR: No matching distribution found for nosuch"),
    "pip in BuildKit": (BUILDKIT_PIP, "ERROR: No matching distribution found for nosuch"),
    "apt in BuildKit": (BUILDKIT_APT, "E: Unable to locate package nosuch"),
    "a push by BuildKit": (
        BUILDKIT_PUSH,
        "error: failed to solve: failed to push example.com/a:base-1: unexpected status: 401 Unauthorized",
    ),
    "pip in buildah": (BUILDAH_PIP, "ERROR: No matching distribution found for nosuch"),
    "a command that says nothing": (
        'error: failed to solve: process "false" did not complete successfully: exit code: 1',
        'error: failed to solve: process "false" did not complete successfully: exit code: 1',
    ),
    "no daemon": (
        "could not connect to unix:///run/buildkit/buildkitd.sock after 10 trials\n",
        "could not connect to unix:///run/buildkit/buildkitd.sock after 10 trials",
    ),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("text", "told"), SAID.values(), ids=SAID.keys())
def test_of_what_a_tool_says_the_line_that_says_why_is_told(text: str, told: str) -> None:
    assert reason(text.splitlines()) == told


def test_a_failure_is_one_sentence_of_what_can_be_seen(script: Script) -> None:
    command = script(r"""printf '\033[31merror: \033[0mgone \007 wrong\n'; exit 3""")
    with pytest.raises(SluiceError) as caught:
        run(command, os.environ, 60, lambda _: None, needed="The model needs x")
    assert type(caught.value) is SluiceError
    assert str(caught.value) == "The model needs x, which tool could not add to the base image: error: gone   wrong"
    with pytest.raises(SluiceError, match="base image: exit 4"):
        run(script("exit 4"), os.environ, 60, lambda _: None, needed="The model needs x")


def test_lines_are_told_as_they_come_and_cut(script: Script) -> None:
    heard: list[str] = []
    command = script("printf 'one\\ntwo'; head -c 3000000 /dev/zero | tr '\\0' x; printf '\\n\\nlast'")
    run(command, os.environ, 600, heard.append, needed="")
    assert (heard[0], heard[-1]) == ("one", "last")
    assert heard[1] == "two" + "x" * (LINE_MAX - 3)
    assert len(heard) == 4


def test_what_takes_too_long_is_ended_with_all_that_it_started(script: Script, tmp_path: Path) -> None:
    command = script(f"sleep 600 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait")
    with pytest.raises(Unavailable, match="tool was not done after 1 seconds"):
        run(command, os.environ, 1, lambda _: None, needed="")
    assert gone(int((tmp_path / "self").read_text()))
    assert gone(int((tmp_path / "child").read_text()))


def test_what_takes_too_long_is_ended_in_the_midst_of_what_it_says(script: Script) -> None:
    with pytest.raises(Unavailable):  # where it is not ended, it fails by itself, as something else
        run(script("timeout 8 yes"), os.environ, 0.5, lambda _: None, needed="")


def test_a_tool_that_closes_its_output_and_stays_is_ended(script: Script) -> None:
    with pytest.raises(Unavailable):
        run(script("exec >&- 2>&-; sleep 600"), os.environ, 0.5, lambda _: None, needed="")


def test_an_interrupted_tool_is_asked_to_end_first(script: Script, tmp_path: Path) -> None:
    command = script(f"trap 'echo asked > {tmp_path}/asked; exit 0' TERM; echo begun; while :; do sleep 0.1; done")

    def interrupt(line: str) -> None:
        assert line == "begun"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(command, os.environ, 600, interrupt, needed="")
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_tool_that_does_not_end_when_asked_is_made_to(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.buildkit.running._GRACE", 0.3)
    command = script(f"trap '' TERM; echo $$ > {tmp_path}/self; echo begun; while :; do sleep 0.1; done")
    with pytest.raises(Unavailable):
        run(command, os.environ, 2, lambda _: None, needed="")
    assert gone(int((tmp_path / "self").read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends, at latest within a minute; one that nobody has waited for yet counts as ended."""
    for _ in range(600):
        try:
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False
