"""A cluster as far as traffic goes: what is live, and where a load balancer is told to send requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Live = dict[tuple[str, str], Any]
_ACTION = "alb.ingress.kubernetes.io/actions."


class Cluster:
    """Objects that are applied and pruned one at a time."""

    def __init__(self) -> None:
        self.live: Live = {}
        self._balanced: Mapping[str, int] = {}
        self._given_up: set[tuple[str, str]] = set()

    def apply(self, manifest: Any) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self.live[key] = manifest
        self._given_up.discard(key)
        self._balance()

    def give_up(self, keys: set[tuple[str, str]]) -> None:
        """These are no longer in git: a way in among them need not lead anywhere, until it is applied again."""
        self._given_up |= keys
        self._balance()

    def prune(self, key: tuple[str, str]) -> None:
        del self.live[key]
        self._balance()

    def _rules(self, wanted: str) -> Iterator[Any]:
        return (
            found for (kind, name), found in self.live.items() if kind == wanted and (kind, name) not in self._given_up
        )

    def _balance(self) -> None:
        """An Ingress that makes no sense leaves its load balancer as it is."""
        told = [self._told(found) for found in self._rules("Ingress")]
        self._balanced = {} if not told else told[0] if told[0] is not None else self._balanced

    def _told(self, ingress: Any) -> Mapping[str, int] | None:
        (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
        named = path["backend"]["service"]["name"]
        action = ingress["metadata"]["annotations"].get(f"{_ACTION}{named}")
        if action:
            groups = json.loads(action)["forwardConfig"]["targetGroups"]
            return {group["serviceName"]: group["weight"] for group in groups}
        for (kind, _), found in self.live.items():
            if kind == "Rollout":  # whose controller writes the action, for a Service of that name only
                canary = found["spec"]["strategy"]["canary"]
                assert canary["trafficRouting"]["alb"]["rootService"] == named
                assert ("Service", named) in self.live
                return {canary["pingPong"]["pingService"]: 100, canary["pingPong"]["pongService"]: 0}
        return None

    def splits(self) -> Iterator[Mapping[str, int]]:
        """For each way in, the weight of each Service that a rule names."""
        if self._balanced:
            yield self._balanced
        for found in self._rules("HTTPRoute"):
            yield {ref["name"]: ref["weight"] for ref in found["spec"]["rules"][0]["backendRefs"]}

    def predictors(self) -> Iterator[Sequence[tuple[Any, int]]]:
        """For each InferenceService, its predictors with their weights; KServe makes the Services, and in order."""
        for found in self._rules("InferenceService"):
            trials = [(one["predictor"], one["trafficPercent"]) for one in found["spec"].get("canary", ())]
            yield [(found["spec"]["predictor"], 100 - sum(weight for _, weight in trials)), *trials]

    def check(self) -> None:
        """Traffic has somewhere to go."""
        for split in self.splits():
            assert sum(split.values()) == 100
            for name, weight in split.items():
                assert ("Service", name) in self.live, f"a rule names {name}, which does not exist"
                assert weight == 0 or self._backed(name), f"{weight} % go to {name}, which has no pods"
        for predictors in self.predictors():
            assert sum(weight for _, weight in predictors) == 100
            assert all(weight > 0 and predictor["containers"] for predictor, weight in predictors)

    def _backed(self, service: str) -> bool:
        selector = self.live["Service", service]["spec"]["selector"]
        running = (found for (kind, _), found in self.live.items() if kind in ("Deployment", "Rollout"))
        return any(selector.items() <= one["spec"]["template"]["metadata"]["labels"].items() for one in running)
