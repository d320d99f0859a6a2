"""docs/registry.md is true: its examples run, in order, in one registry, and their three ways give the same.

Shell blocks run in one shell, Python blocks in one namespace as in a notebook, and curl asks a real `sluice serve`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from pydantic import TypeAdapter

from gitops.bare import make_bare, url_of
from gitops.message import Identity
from gitops.operations import init_in
from registry import index, limits
from registry.client import RegistryClient
from registry.errors import InvalidInput
from registry.mlflow.server import EXECUTABLE, OwnServer, find_mlflow, parse_store
from registry.progress import Silent
from registry.registry import Registry
from sluice.api import tokens
from sluice.api.app import create_app
from sluice.api.config import Serve
from sluice.api.parts import Served
from sluice.cli.app import app
from sluice.demo import examples, story
from sluice.demo.endpoints import create_bucket, without_aws
from sluice.demo.stack import Stack
from sluice.settings import Settings, load
from sluice.wiring import Wiring

PAGE = (Path(__file__).parents[2] / "docs/registry.md").read_text()
SETUP, MLFLOW = "Before you begin", "From MLflow"
PATIENCE = 120.0
"""Seconds that one example may take."""
_FACTS = "/v1/models/{model}/versions/{number}/facts"
NOT_ALIKE = {"All new training jobs"}
"""Sections whose first way leaves the others nothing to do."""


class Block(NamedTuple):
    """A fenced block, under its heading."""

    section: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    found, section = [], ""
    for match in re.finditer(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        if match[1]:
            section = match[1]
        elif match[2] in languages:
            found.append(Block(section, match[2], match[3]))
    return found


def commands(text: str) -> Iterator[str]:
    """The commands of a shell block, one by one, each as long as it takes to be whole."""
    held = ""
    for line in text.splitlines():
        held += line + "\n"
        whole = subprocess.run(["sh", "-n"], input=held, text=True, capture_output=True, check=False).returncode == 0
        if whole and not line.endswith("\\"):
            if held.strip():
                yield held.strip()
            held = ""
    assert not held.strip(), f"this never ends: {held}"


class Ran(NamedTuple):
    """What one command, or one expression, gave."""

    section: str
    way: str
    """shell, python or http."""
    what: str
    given: Any

    def named(self) -> list[str]:
        """The versions that it names, each once."""
        value = self.given
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return list(dict.fromkeys(re.findall(r"\b[a-z][a-z0-9-]*@\d+\b", value)))
        else:
            value = TypeAdapter(Any).dump_python(value, mode="json")
        return list(dict.fromkeys(_named(value)))


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, dict):
        model = value.get("model")
        if isinstance(value.get("newest"), int):  # a model in a list
            yield f"{value.get('name') or model['name']}@{value['newest']}"
        elif isinstance(value.get("moves"), list):  # an alias
            yield from _named({"model": model, "number": value["moves"][-1]["number"]})
        elif isinstance(model, str) and (value.get("number") or value.get("version")):
            yield f"{model}@{value.get('number') or value['version']}"
        else:
            for each in value.values():
                yield from _named(each)


class Shell:
    """One `sh` that all shell blocks share."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            ["sh", "-u"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=environment, text=True
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, command: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{{ {command}\n}} >.out 2>.err </dev/null; echo $?\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], PATIENCE)
        assert ready, f"took longer than {PATIENCE} seconds: {command}"
        code = stdout.readline().strip()
        out, err = ((self._folder / name).read_text() for name in (".out", ".err"))
        assert code, f"ended the shell: {command}\n{err}"
        return int(code), out, err


class Place(NamedTuple):
    """The scratch folder, a shell in it, and what Python examples share."""

    folder: Path
    shell: Shell
    namespace: dict[str, Any]
    environment: dict[str, str]

    def run(self, block: Block) -> list[Ran]:
        if block.language == "python":
            return [Ran(block.section, "python", *each) for each in self._python(block.text)]
        if block.language == "console":
            for command, expected in _session(block.text):
                self._console(command, expected)
            return []
        way = "http" if "curl" in block.text else "shell"
        return [Ran(block.section, way, command, self._sh(command)) for command in commands(block.text)]

    def _sh(self, command: str) -> str:
        code, out, err = self.shell.run(command)
        assert code == 0 or (code == 28 and "--max-time" in command), f"{command}\n{code}: {out}\n{err}"
        return out

    def _console(self, command: str, expected: str) -> None:
        if command.startswith("sluice serve"):
            out = self._first_line(command)
        else:
            code, out, err = self.shell.run(command)
            out = out or err
            assert (code != 0) == expected.startswith(("sluice: ", '{"type"')), f"{command}\n{code}: {out}{err}"
        pattern = ".*".join(map(re.escape, expected.split("…")))
        assert re.fullmatch(pattern, out.strip()), f"{command}\n{out}\nis not\n{expected}"

    def _first_line(self, command: str) -> str:
        with subprocess.Popen(
            command.split(),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            assert server.stdout is not None
            line = server.stdout.readline()
            server.terminate()
        return line

    def _python(self, text: str) -> Iterator[tuple[str, Any]]:
        for statement in ast.parse(text).body:
            source = ast.get_source_segment(text, statement) or ""
            if isinstance(statement, ast.Expr):
                yield source, eval(source, self.namespace)
            else:
                exec(source, self.namespace)


def _session(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected.strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A registry, a GitOps repository, four training jobs and one model package, and a server that wants a token."""
    missing = [name for name in ("curl", "jq", "sha256sum") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"the examples need {' and '.join(missing)}, not installed here")
    folder, found = tmp_path_factory.mktemp("registry"), examples.load()
    with (
        Stack.start(folder / "stack", [each.request for each in found], progress=Silent()) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        token = _settings(folder)
        story.leave_outputs(stack.endpoints, found, Silent())
        create_bucket(stack.endpoints, "sluice-other")
        _package(stack)
        shutil.copy(found[0].archive, folder / "model.tar.gz")
        environment = {
            n: v for n, v in without_aws(os.environ).items() if not n.startswith("SLUICE_") or n == EXECUTABLE
        }
        environment |= {
            **stack.endpoints.environment(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLUICE_BUCKET": story.BUCKET,
            "OTHER_BUCKET": "sluice-other",
            "SLUICE_TOKEN": token,
        }
        for name in set(os.environ) - set(environment):
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        _gitops()
        with Serving(folder, environment) as url:
            environment["SLUICE_URL"] = url
            patch.setenv("SLUICE_URL", url)
            shell = Shell(folder, environment)
            try:
                yield Place(folder, shell, {}, environment)
            finally:
                shell.close()


def _settings(folder: Path) -> str:
    token = tokens.new_token()
    with story.write_settings(folder).open("a") as file:
        file.write(f'\n[[serve.tokens]]\nname = "docs"\nhash = "{tokens.hash_of(token)}"\n')
        file.write('\n[[serve.grants]]\nwho = "token:docs"\nrole = "admin"\n')
    return token


def _package(stack: Stack) -> None:
    container = {
        "Image": "serve:1",
        "ModelDataUrl": "s3://sluice-demo-training/output/wine-2026-11-10/output/model.tar.gz",
    }
    types = {"SupportedContentTypes": ["application/json"], "SupportedResponseMIMETypes": ["application/json"]}
    sagemaker = stack.endpoints.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="Digits")
    sagemaker.create_model_package(
        ModelPackageGroupName="Digits", InferenceSpecification={"Containers": [container], **types}
    )
    sagemaker.close()


def _gitops() -> None:
    parts = Wiring(load())
    make_bare(parts.settings.gitops, parts.settings.branch)
    author = Identity(name="Docs", email="docs@example.com")
    init_in(parts.repository, [story.STAGING, story.PROD], url_of(parts.settings.gitops), author, Silent())
    parts.close()


class Serving:
    """`sluice serve` on a free port, for as long as the block runs."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = (folder / "serve.log").open("w")
        command = [Path(sys.executable).with_name("sluice"), "serve", "--port", "0"]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("Sluice listens on "), Path(self._log.name).read_text()
        return line.split()[-1]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)
        self._log.close()


def groups(ran: Sequence[Ran]) -> Iterator[dict[str, Ran]]:
    """Examples of one thing, as many ways as it has; of each way what came last."""
    together: dict[str, Ran] = {}
    for one in ran:
        before = next(iter(together.values()), one)
        if one.section != before.section or (one.way == "shell" and together.keys() - {"shell"}):
            yield together
            together = {}
        together[one.way] = one
    yield together


def check_alike(ran: Sequence[Ran]) -> int:
    """Say how many groups were compared."""
    compared = 0
    for group in groups(ran):
        said = {way: one.named() for way, one in group.items() if one.named()}
        if len(said) > 1 and next(iter(group.values())).section not in NOT_ALIKE:
            compared += 1
            first = next(iter(said.values()))
            assert all(named == first for named in said.values()), (said, [one.what for one in group.values()])
    return compared


def of(ran: Sequence[Ran], section: str, way: str, what: str = "") -> Any:
    """What the only such example gave; JSON where it is."""
    (found,) = [one.given for one in ran if one.section == section and one.way == way and what in one.what]
    try:
        return json.loads(found) if isinstance(found, str) else found
    except ValueError:
        return found


@pytest.mark.slow
def test_the_examples_run_and_their_three_ways_give_the_same(place):
    ran: list[Ran] = []
    for block in blocks("sh", "python", "console"):
        if block.section != MLFLOW:
            ran += place.run(block)
    assert check_alike(ran) >= 15
    _check_what_names_no_version(ran)
    logged = [json.loads(line) for line in (place.folder / "serve.log").read_text().splitlines()]
    assert [line for line in logged if line["level"] != "info" or line["status"] >= 500] == []
    assert all(line["request_id"] for line in logged)


def _check_what_names_no_version(ran: list[Ran]) -> None:
    assert [row.number for row in of(ran, "Versions", "python", "islice")] == [3, 2, 1]
    assert of(ran, "All new training jobs", "shell") == "digits@2 digits-2026-11-08\ndigits@3 digits-2026-11-15\n"
    assert (of(ran, "All new training jobs", "python"), of(ran, "All new training jobs", "http")) == ([], {"jobs": []})
    assert of(ran, "The bytes", "python").good
    checks = of(ran, "The bytes", "http")["checks"]
    assert [(check["what"], check["verdict"]) for check in checks] == [("output", "good"), ("artifact", "good")]
    shown, facts = of(ran, "Facts and state", "shell", "show"), of(ran, "Facts and state", "http", 'facts"')
    assert shown["state"] == of(ran, "Facts and state", "python", ".state") == "built"
    assert shown["facts"] == facts
    then = "Who was champion on 3 March?"
    assert [move["number"] for move in of(ran, then, "http")["items"]] == [2]
    assert of(ran, then, "python", "alias_at") == of(ran, then, "python", "alias_history")[-1].number == 2
    assert of(ran, "Aliases", "python", "remove").number is of(ran, "Aliases", "http", "DELETE")["moves"][-1]["number"]
    protected = of(ran, "Protected aliases", "python").protected
    assert protected == of(ran, "Protected aliases", "http")["protected"] == {"champion": "approver"}
    decided = of(ran, "Approval", "http", 'sluice.curl "$SLUICE_URL')["items"]
    assert {of(ran, "Approval", "python", "approval("), decided[0]["approval"]} == {"approved"}
    assert [one["sequence"] for one in decided] == [3, 2, 1]
    assert "approved" in of(ran, "Approval", "shell", "decisions")
    stone, again = of(ran, "Delete", "python", "delete("), of(ran, "Delete", "http", "DELETE")
    assert (stone.reason, stone.model_dump(mode="json")) == ("trained on the wrong data", again)
    dry, swept = of(ran, "Delete", "shell", "dry-run"), of(ran, "Delete", "http", "gc")
    assert of(ran, "Delete", "python", "collect").named == swept["named"] == int(re.search(r"named +(\d+)", dry)[1])
    assert of(ran, "Lists and doctor", "python", "findings") == ()
    assert of(ran, "Compare", "python").metrics["validation:accuracy"].deltas[1] == pytest.approx(0.12)
    stream = of(ran, "Events", "http", "event-stream")
    assert len(re.findall(r"^event: registered$", stream, re.MULTILINE)) >= 5
    first, second = (of(ran, "Pages", "http", part) for part in ("CURSOR=", "&cursor="))
    assert (first, [row["number"] for row in second["items"]]) == ("", [1])
    assert of(ran, "ETags", "http", "compare") == 304
    once, twice = _documents(next(one.given for one in ran if one.section == "Sending again"))
    assert once == twice
    assert [move["number"] for move in once["moves"]] == [2]
    assert "/v1/models" in of(ran, "The service", "http")["paths"]
    metrics = of(ran, "Metrics and health", "http", "metrics")
    assert set(re.findall(r"`(sluice_http_\w+)`", PAGE)) - set(re.findall(r"^(\w+)[{ ]", metrics, re.M)) == {
        "sluice_http_request_duration_seconds"  # whose series are its buckets, its sum and its count
    }
    assert "# TYPE sluice_http_request_duration_seconds histogram" in metrics


def _documents(text: str) -> Iterator[Any]:
    while text := text.strip():
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:]


@pytest.fixture
def mlflow_url(tmp_path: Path) -> Iterator[str]:
    """A real MLflow with two versions of one model."""
    try:
        find_mlflow()
    except InvalidInput:
        pytest.skip("no mlflow: set SLUICE_MLFLOW to its executable")
    (tmp_path / "mlflow.db").touch()
    server = OwnServer(parse_store(f"sqlite:///{tmp_path}/mlflow.db"))
    try:
        with httpx.Client(base_url=f"{server.url}/api/2.0/", trust_env=False, timeout=60) as client:
            run = client.post("mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
            root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
            client.put(f"mlflow-artifacts/artifacts/{root}/model/MLmodel", content=b"flavors: {}\n").raise_for_status()
            name, source = "Fraud Model v2", f"{run['artifact_uri']}/model"
            client.post("mlflow/registered-models/create", json={"name": name}).raise_for_status()
            for _ in range(2):
                made = {"name": name, "source": source, "run_id": run["run_id"]}
                client.post("mlflow/model-versions/create", json=made).raise_for_status()
        yield server.url
    finally:
        server.close()


@pytest.mark.slow
def test_the_examples_with_mlflow(mlflow_url, place, monkeypatch):
    monkeypatch.setenv("MLFLOW_URL", mlflow_url)
    allowed = {"SLUICE_SERVE__MLFLOW_HOSTS": json.dumps([mlflow_url.removeprefix("http://")])}
    with Serving(place.folder, place.environment | allowed) as url:
        assert place.shell.run(f"export MLFLOW_URL={mlflow_url} SLUICE_URL={url}")[0] == 0
        # where this test runs alone, too
        place.run(next(block for block in blocks("python") if block.section == SETUP))
        assert [place.run(block) for block in blocks("sh") if block.section == SETUP]
        place.namespace["os"] = os
        ran = [one for block in blocks("sh", "python") if block.section == MLFLOW for one in place.run(block)]
    assert check_alike(ran) == 1
    assert ran[-1].named() == ["fraud@2", "fraud@1"]


def test_the_limits_are_those_of_the_code():
    told = {}
    for amount, where in re.findall(r"^\|[^|\n]+\| ([0-9,]+) \| `([\w.]+)` \|$", PAGE, re.MULTILINE):
        module, _, name = where.rpartition(".")
        told[where] = int(amount.replace(",", ""))
        assert told[where] == getattr(importlib.import_module(module), name), where
    assert int(re.search(r"`events/` may expire too, but not before (\d+) days", PAGE)[1]) == index.OLDEST.days + 1
    ours = {f"registry.limits.{name}" for name, value in vars(limits).items() if isinstance(value, int)}
    assert ours <= told.keys()


def _rows() -> list[list[str]]:
    table = PAGE.partition("\n## Find it\n")[2].partition("\n## ")[0]
    return [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| [")]


def _codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_names_every_command_of_the_registry_and_no_other():
    elsewhere = {"demo", "init", "release", "promote", "rollback", "status", "history", "diff", "render"}
    elsewhere |= {"attest", "sbom", "public-key"}  # in docs/packaging.md
    elsewhere |= {"abort", "hold", "unhold", "holds", "requests", "wait"}  # in docs/gitops.md
    there = {info.name or info.callback.__name__.replace("_", "-") for info in app.registered_commands} - elsewhere
    for group in app.registered_groups:
        there |= {
            f"{group.name} {info.name or info.callback.__name__}" for info in group.typer_instance.registered_commands
        }
    told = {re.match(r"sluice ((?:alias )?[a-z-]+)", code)[1] for row in _rows() for code in _codes(row[1])}
    assert told == there


def test_the_table_names_every_method_of_the_registry_and_no_other():
    there = {name for name, _ in inspect.getmembers(Registry, inspect.isfunction) if not name.startswith("_")}
    told = {
        code.removeprefix("registry.") for row in _rows() for code in _codes(row[2]) if code.startswith("registry.")
    }
    assert told - there == set()
    assert there - told == {"version_lines"}  # for a fast answer over HTTP
    assert told <= set(dir(RegistryClient))


def test_the_table_names_every_route_and_no_other():
    there, settings = set(), Settings(bucket="sluice")
    for path, methods in create_app(Served(settings), settings).openapi()["paths"].items():
        there |= {f"{method.upper()} {path}" for method in methods}
    # one route for each kind of fact, and those that are not the API's own
    there = {re.sub("(/facts)/[a-z-]+$", r"\1/{kind}", one) for one in there}
    told = {code for row in _rows() for code in _codes(row[3])}
    assert told - {"GET /healthz", "GET /readyz", "GET /metrics"} == there | {f"PUT {_FACTS}/sign-off"}


def test_what_is_no_command_is_right_too():
    (toml,) = [tomllib.loads(block.text)["serve"] for block in blocks("toml")]
    assert Serve.model_validate(toml).authenticates
    policy, lifecycle = (json.loads(block.text) for block in blocks("json"))
    actions = {action for each in policy["Statement"] for action in _listed(each["Action"])}
    named = set(re.findall(r"\b(?:s3|sagemaker):[A-Z]\w+", PAGE))
    assert named <= actions
    assert [rule["ID"] for rule in lifecycle["Rules"]] == ["broken-off uploads", "uploads", "events"]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_links_within_the_page_lead_somewhere():
    heads = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.+)$", PAGE, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= heads
