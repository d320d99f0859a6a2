"""Both servers asked the same, over HTTP, one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.registry.fill import fill, fill_many, index
from bench.registry.load import Client, Rate, run, timed
from bench.registry.servers import Server, fill_mlflow, mlflow, sluice
from registry import keys
from registry.storage import Storage

_API = "/api/2.0/mlflow"
Result = dict[str, Any]


def registering(ours: Client, theirs: Client, storage: Storage, *, threads: int = 8, each: int = 60) -> Result:
    """Clients that register on one model; best of three runs of each, taking turns."""
    theirs.send("POST", f"{_API}/registered-models/create", {"name": "busy"})
    found: dict[str, list[Rate]] = {"sluice": [], "mlflow": []}
    for turn in range(3):
        digests = [_upload(ours) for _ in range(threads * each)]
        before = _counts(storage)
        found["sluice"].append(
            run(
                threads,
                each,
                lambda n, digests=digests: ours.send("POST", "/v1/models/busy/versions", {"source": digests[n]}),
            )
        )
        after = _counts(storage)
        found["mlflow"].append(
            run(
                threads,
                each,
                lambda n, turn=turn: theirs.send(
                    "POST", f"{_API}/model-versions/create", {"name": "busy", "source": f"s3://t/{turn}/{n}"}
                ),
            )
        )
    events, entries = (after[name] - before[name] for name in ("events", "entries"))
    best = {name: max(rates, key=lambda rate: rate.per_second) for name, rates in found.items()}
    return {
        **best,
        "versions": threads * each,
        "entries": entries,
        # each attempt at an entry writes an event first, so what is more than the entries was wasted
        "conflicts": events - entries,
    }


def resolving(ours: Client, theirs: Client, *, each: int = 400) -> Result:
    """One client that asks what an alias names."""
    ours.send("PUT", "/v1/models/busy/aliases/champion", {"version": 3})
    theirs.send("POST", f"{_API}/registered-models/alias", {"name": "busy", "alias": "champion", "version": "3"})
    ask = f"{_API}/registered-models/alias?name=busy&alias=champion"
    found: dict[str, list[Rate]] = {"sluice": [], "mlflow": []}
    for _ in range(3):
        found["sluice"].append(run(1, each, lambda _: ours.send("GET", "/v1/models/busy/resolve/champion")))
        found["mlflow"].append(run(1, each, lambda _: theirs.send("GET", ask)))
    return {name: max(rates, key=lambda rate: rate.per_second) for name, rates in found.items()}


def listing(ours: Client, theirs: Client, count: int = 10_000) -> Result:
    """All versions of a model with many, in one request, which both allow; until the last byte, without parsing it."""
    path = f"/v1/models/many/versions?limit={count}"
    asked = f"{_API}/model-versions/search?filter=name%3D%27many%27&max_results={count}"
    first = timed(lambda: ours.send("GET", path), 1)
    found = {
        "first": first,
        "sluice": timed(lambda: ours.send("GET", path), 7),
        "mlflow": timed(lambda: theirs.send("GET", asked), 3),
    }
    assert len(json.loads(ours.send("GET", path))["items"]) == count
    assert len(json.loads(theirs.send("GET", asked))["model_versions"]) == count
    return found


def first_pages(ours: Client, sizes: tuple[int, ...]) -> Result:
    """Milliseconds of the newest hundred versions of models of all sizes: the first time, and warm."""
    found = {}
    for size in sizes:
        path = f"/v1/models/n{size}/versions?limit=100"
        cold = timed(lambda path=path: ours.send("GET", path), 1)
        found[size] = (cold * 1000, timed(lambda path=path: ours.send("GET", path), 200) * 1000)
    return found


def memory(storage: Storage, bucket: str, folder: Path, models: int = 1_000, each: int = 100) -> Result:
    """Resident bytes of a service that has shown every version of every model."""
    fill_many(storage, models, each)
    index(storage)
    with sluice(bucket, folder) as server:
        client = Client(server.port)
        idle = server.rss()
        listed = json.loads(client.send("GET", f"/v1/models?limit={models}"))["items"]
        for one in listed:
            client.send("GET", f"/v1/models/{one['model']['name']}/versions?limit={each}")
        return {"models": len(listed), "idle": idle, "rss": server.rss()}


def measure(storage: Storage, bucket: str, executable: str, folder: Path, sizes: tuple[int, ...]) -> Result:
    """Everything that both servers are asked, and what only ours is."""
    for size in sizes:
        fill(storage, f"n{size}", size)
        index(storage, f"n{size}")
    fill(storage, "many", 10_000)
    index(storage, "many")
    with mlflow(executable, folder) as their_server, sluice(bucket, folder) as our_server:
        fill_mlflow(folder / "mlflow.db", "many", 10_000)
        ours, theirs = Client(our_server.port), Client(their_server.port)
        return {
            "register": registering(ours, theirs, storage),
            "resolve": resolving(ours, theirs),
            "list": listing(ours, theirs),
            "first pages": first_pages(ours, sizes),
            "rss": {"sluice": our_server.rss(), "mlflow": _rss(their_server)},
        }


def _rss(server: Server) -> int:
    return server.rss()


def _upload(ours: Client) -> str:
    return str(json.loads(ours.send("PUT", "/v1/uploads", uuid4().bytes))["digest"])


def _counts(storage: Storage) -> dict[str, int]:
    events = [key for key in map(keys.EventKey.parse, storage.store.list(keys.EVENTS)) if key and key.model == "busy"]
    return {"events": len(events), "entries": sum(1 for _ in storage.store.list(keys.log("busy")))}
