"""Registered models of an MLflow tracking server or store, as they are read for an import.

The formats are MLflow's REST API 2.0 (MLflow documentation, "REST API": RegisteredModel, ModelVersion, Run) and, for
MLflow 3, logged models, which a version's source names as `models:/m-…`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict

from registry.aws import Clients
from registry.errors import InvalidInput, NotFound, Refused
from registry.mlflow.artifacts import Places, archive, tree_at
from registry.mlflow.rest import API, Metric, Milliseconds, Pair, Rest, Wire
from registry.mlflow.server import LocalStore, OwnServer, parse_store
from registry.names import VersionNumber

_PAGE = 100
_HOPS = 5
"""Addresses that a source may lead through before it names a place."""
_PROMPT = "mlflow.prompt.is_prompt"
_COMMIT, _USER = "mlflow.source.git.commit", "mlflow.user"
_LOGGED = re.compile(r"models:/(m-[0-9a-zA-Z]+)")
_VERSION = re.compile(r"models:/([^/@]+)/([1-9][0-9]{0,9})")
_RUN = re.compile(r"runs:/([0-9a-zA-Z_-]+)/(.+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MlflowModel(BaseModel):
    """A registered model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    tags: Mapping[str, str] = {}
    aliases: Mapping[str, int] = {}
    created_at: AwareDatetime


class MlflowVersion(BaseModel):
    """A version of a registered model, with what its run and its logged model add to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    number: VersionNumber
    created_at: AwareDatetime
    user: str = ""
    """Who registered it, or else who ran the training; empty where MLflow does not know."""
    description: str = ""
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    """The run's last values, and over them the logged model's own."""
    parameters: Mapping[str, str] = {}
    run_id: str = ""
    source: str = ""
    git_commit: str = ""
    aliases: tuple[str, ...] = ()
    stage: str = ""
    """`Staging`, `Production` or `Archived`, which MLflow had before aliases; empty where it has none."""


class _Alias(Wire):
    alias: str
    version: VersionNumber


class _RegisteredModel(Wire):
    name: str
    description: str = ""
    creation_timestamp: Milliseconds = 0
    tags: tuple[Pair, ...] = ()
    aliases: tuple[_Alias, ...] = ()


class _Models(Wire):
    registered_models: tuple[_RegisteredModel, ...] = ()
    next_page_token: str = ""


class _OneModel(Wire):
    registered_model: _RegisteredModel


class _ModelVersion(Wire):
    name: str
    version: VersionNumber
    creation_timestamp: Milliseconds = 0
    user_id: str = ""
    description: str = ""
    source: str = ""
    run_id: str = ""
    model_id: str = ""
    current_stage: str = ""
    tags: tuple[Pair, ...] = ()


class _Versions(Wire):
    model_versions: tuple[_ModelVersion, ...] = ()
    next_page_token: str = ""


class _Info(Wire):
    artifact_uri: str = ""
    user_id: str = ""


class _Data(Wire):
    metrics: tuple[Metric, ...] = ()
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class _Trained(Wire):
    """A run or a logged model: both have these two."""

    info: _Info = _Info()
    data: _Data = _Data()


class _OneRun(Wire):
    run: _Trained


class _OneLogged(Wire):
    model: _Trained


class _Place(Wire):
    artifact_uri: str = ""


P = TypeVar("P", _Models, _Versions)


class Mlflow:
    """A tracking server at http(s)://…, or a store that one is started over: `sqlite:///…`, `postgresql://…`, a folder.

    Credentials come only from MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and
    for sources in S3 from `clients`; none may lie in the bucket `barred`. `tell` hears one line before a server is
    started, which takes some seconds. Close it, or use it with `with`.

    Raises:
        InvalidInput: no such kind of address, or there is no `mlflow` to start a server with.
        NotFound: there is no such file or folder.
        Unavailable: the server could not be started over the store.
    """

    def __init__(
        self,
        uri: str,
        *,
        clients: Clients | None = None,
        tell: Callable[[str], None] | None = None,
        barred: str = "",
    ) -> None:
        self._server: OwnServer | None = None
        store: LocalStore | None = None
        if not uri.lower().startswith(("http:", "https:")):
            store = parse_store(uri)
            self._server = OwnServer(store, tell=tell)
        self.uri = store.shown if store else uri
        """The address as it was given, without a password."""
        self._rest = Rest(self._server.url if self._server else uri, own=self._server is not None)
        self._places = Places(self._rest, clients, store.folder if store else None, barred)
        self._last_run: tuple[str, _Trained] = ("", _Trained())

    def close(self) -> None:
        """Give the connections back, and end the server where one was started."""
        self._rest.close()
        if self._server:
            self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def models(self) -> Iterator[MlflowModel]:
        """All registered models that are no prompts, by name; a request for each hundred.

        Raises:
            InvalidInput, Refused, Unavailable: as `registry.mlflow.rest.Rest.get`.
        """
        for page in self._pages("registered-models/search", _Models, {}):
            for found in page.registered_models:
                if _pairs(found.tags).get(_PROMPT, "").lower() != "true":
                    yield _model(found)

    def versions(self, name: str) -> Iterator[MlflowVersion]:
        """The versions of a model that were not deleted, by rising number; a request or two for each version's run.

        Raises:
            NotFound: there is no such model.
            InvalidInput, Refused, Unavailable: as `registry.mlflow.rest.Rest.get`.
        """
        aliases = _model(
            self._rest.get(API + "registered-models/get", _OneModel, {"name": name}).registered_model
        ).aliases
        asked: dict[str, str | int] = {"order_by": "version_number ASC", **_named(name)}
        pages = self._pages("model-versions/search", _Versions, asked)
        found = {each.version: each for page in pages for each in page.model_versions if each.name == name}
        for _, each in sorted(found.items()):
            yield self._version(each, tuple(sorted(a for a, number in aliases.items() if number == each.version)))

    def archive(self, version: MlflowVersion) -> Iterator[bytes]:
        """The version's files as a .tar.gz, those of the model's folder at its root; same files, same bytes.

        Raises:
            NotFound: MLflow does not have the version, or nothing is where it says the model is.
            Refused: a place that may not be read, or a name that no file may have; see `registry.mlflow.artifacts`.
            InvalidInput: the model is in a kind of store that Sluice does not read.
            Conflict: a file was replaced meanwhile.
            Unavailable: the server or the store did not answer, until the attempts ran out.
        """
        return archive(tree_at(self._places, self._place(f"models:/{version.name}/{version.number}")))

    def _place(self, uri: str) -> str:
        for _ in range(_HOPS):
            if logged := _LOGGED.fullmatch(uri):
                uri = self._logged(logged[1]).info.artifact_uri
            elif run := _RUN.fullmatch(uri):
                uri = f"{self._run(run[1]).info.artifact_uri.rstrip('/')}/{run[2]}"
            elif version := _VERSION.fullmatch(uri):
                asked = {"name": version[1], "version": version[2]}
                uri = self._rest.get(API + "model-versions/get-download-uri", _Place, asked).artifact_uri
            else:
                return uri
        raise Refused(f"MLflow sends from one address to the next without naming a place ({uri[:200]}): leave it out.")

    def _version(self, found: _ModelVersion, aliases: tuple[str, ...]) -> MlflowVersion:
        run = self._known(self._run, found.run_id)
        logged = _LOGGED.fullmatch(found.source)
        model = self._known(self._logged, found.model_id or (logged[1] if logged else ""))
        run_tags = _pairs(run.data.tags)
        return MlflowVersion(
            name=found.name,
            number=found.version,
            created_at=_time(found.creation_timestamp),
            user=found.user_id or run_tags.get(_USER, "") or run.info.user_id,
            description=found.description,
            tags=_pairs(found.tags),
            metrics=_latest(run.data.metrics) | _latest(model.data.metrics),
            parameters=_pairs(run.data.params) | _pairs(model.data.params),
            run_id=found.run_id,
            source=found.source,
            git_commit=run_tags.get(_COMMIT, ""),
            aliases=aliases,
            stage="" if found.current_stage == "None" else found.current_stage,
        )

    def _known(self, ask: Callable[[str], _Trained], identity: str) -> _Trained:
        """What `ask` tells, or nothing where it was deleted for good since the version was registered."""
        try:
            return ask(identity) if identity else _Trained()
        except NotFound:
            return _Trained()

    def _run(self, identity: str) -> _Trained:
        if self._last_run[0] != identity:
            self._last_run = identity, self._rest.get(API + "runs/get", _OneRun, {"run_id": identity}).run
        return self._last_run[1]

    def _logged(self, identity: str) -> _Trained:
        return self._rest.get(f"{API}logged-models/{identity}", _OneLogged).model

    def _pages(self, path: str, answer: type[P], asked: Mapping[str, str | int]) -> Iterator[P]:
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            page = self._rest.get(API + path, answer, {"max_results": _PAGE, **asked, **more})
            yield page
            if page.next_page_token == token and token:
                raise InvalidInput(f"MLflow at {self.uri} gives the same page again and again: check its version.")
            token = page.next_page_token
            if not token:
                return


def _named(name: str) -> dict[str, str]:
    """The filter for a model's name. MLflow knows no escape in quotes, so a name with both kinds has no filter."""
    quote = next((each for each in "'\"" if each not in name), None)
    return {"filter": f"name={quote}{name}{quote}"} if quote else {}


def _model(found: _RegisteredModel) -> MlflowModel:
    return MlflowModel(
        name=found.name,
        description=found.description,
        tags=_pairs(found.tags),
        aliases={each.alias: each.version for each in found.aliases},
        created_at=_time(found.creation_timestamp),
    )


def _pairs(given: Iterable[Pair]) -> dict[str, str]:
    return {pair.key: pair.value for pair in given}


def _latest(given: Iterable[Metric]) -> dict[str, float]:
    return {each.key: each.value for each in sorted(given, key=lambda each: (each.timestamp, each.step))}


def _time(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
