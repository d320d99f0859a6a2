"""What is read of Argo CD: an Application as its controller last left it, and the pods that it runs.

The names of fields are those of Argo CD's resource (argo-cd, pkg/apis/application/v1alpha1/types.go, `Application`,
`ApplicationStatus`, `OperationState`), whichever way it is read: over its HTTP API or as a Kubernetes resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from registry.errors import InvalidInput

IN_CLUSTER = ("https://kubernetes.default.svc", "in-cluster")
"""How Argo CD names the cluster that it runs in: by server, and by name."""
_RUNNING = ("Running", "Terminating")
_FAILED = ("Failed", "Error")
_ENDED = ("Succeeded", "Failed")
_GONE = ("Terminating", "Unknown", "Completed", *_ENDED)
"""What a resource tree gives as a pod's reason; "Unknown" where its node was lost while it was being deleted."""
_TEXT_MAX = 300


class _Read(BaseModel):
    """A part of an answer, of which only what is named is read. Go writes `null` for much that is empty."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def _nothing_for_null(value: object) -> object:
    return {} if value is None else value


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Condition(_Read):
    """Something that the controller has to say; its type ends in `Error` where it is one."""

    type: Text = ""
    message: Text = ""


class _Revision(_Read):
    revision: Text = ""


class Operation(_Read):
    """The last sync, or the one that is running."""

    phase: Text = ""
    message: Text = ""
    started_at: datetime | None = Field(None, alias="startedAt")
    finished_at: datetime | None = Field(None, alias="finishedAt")
    result: Annotated[_Revision, BeforeValidator(_nothing_for_null)] = Field(_Revision(), alias="syncResult")

    @property
    def running(self) -> bool:
        """Whether it is not at its end."""
        return self.phase in _RUNNING or (bool(self.phase) and self.finished_at is None)

    @property
    def failed(self) -> bool:
        """Whether it came to a bad end, after every retry."""
        return self.phase in _FAILED


class Sync(_Read):
    """How what runs compares with a commit."""

    status: Text = ""
    revision: Text = ""


class Health(_Read):
    """How what runs is doing, all of it together."""

    status: Text = ""
    message: Text = ""
    since: datetime | None = Field(None, alias="lastTransitionTime")


class Destination(_Read):
    """Where it runs."""

    server: Text = ""
    name: Text = ""
    namespace: Text = ""

    @property
    def in_cluster(self) -> bool:
        """Whether that is the cluster that Argo CD runs in."""
        return self.server == IN_CLUSTER[0] or self.name == IN_CLUSTER[1]


class Application(_Read):
    """One Application. What a short listing leaves out is empty, and `whole` is false."""

    name: Annotated[str, Field(min_length=1)]
    whole: bool = True
    """Whether the revision that was compared, the time of that and the conditions were read."""
    pending: bool = False
    """Whether a sync was asked for that has not begun."""
    destination: Destination = Destination()
    operation: Operation = Operation()
    sync: Sync = Sync()
    health: Health = Health()
    reconciled_at: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    images: frozenset[str] = frozenset()
    """Of all pods, also of those that are about to go."""

    @property
    def revision(self) -> str:
        """The commit that what runs was compared with; that of the last sync, where only this is known."""
        return self.sync.revision or self.operation.result.revision

    @property
    def errors(self) -> tuple[Condition, ...]:
        """The conditions that say what is wrong."""
        return tuple(condition for condition in self.conditions if condition.type.endswith("Error"))

    @classmethod
    def of(cls, raw: object, *, whole: bool = True) -> Application:
        """Read an Application from its JSON.

        Raises:
            InvalidInput: it is none.
        """
        status = _part(raw, "status")
        operation = _part(status, "operationState")
        if "syncResult" not in operation:  # in a short listing it is found under this name (forwarder_overwrite.go)
            operation = {**operation, "syncResult": _part(operation, "operation").get("sync")}
        try:
            return cls(
                name=_part(raw, "metadata").get("name", ""),
                whole=whole,
                pending=bool(_part(raw, "operation")),
                destination=Destination.model_validate(_part(_part(raw, "spec"), "destination")),
                operation=Operation.model_validate(operation),
                sync=Sync.model_validate(_part(status, "sync")),
                health=Health.model_validate(_part(status, "health")),
                reconciled_at=status.get("reconciledAt"),
                conditions=tuple(Condition.model_validate(one) for one in status.get("conditions") or ()),
                images=frozenset(_part(status, "summary").get("images") or ()),
            )
        except (ValidationError, TypeError) as error:
            raise InvalidInput("What Argo CD gave is not an Application: check its version and address.") from error


class Pod(_Read):
    """A pod of an Application."""

    labels: Mapping[str, str] = {}
    images: frozenset[str] = frozenset()
    gone: bool = False
    """Whether it came to its end or is being deleted: it may answer what it was asked, and is asked no more."""

    @classmethod
    def of_node(cls, raw: object) -> Pod | None:
        """Read a node of a resource tree (argo-cd, controller/cache/info.go, `populatePodInfo`); None for no pod."""
        node = _mapping(raw)
        if node.get("kind") != "Pod" or node.get("group"):
            return None
        told = {_mapping(one).get("name"): _mapping(one).get("value") for one in node.get("info") or ()}
        return cls(
            labels=_part(_part(raw, "networkingInfo"), "labels"),
            images=frozenset(node.get("images") or ()),
            gone=told.get("Status Reason") in _GONE or _part(raw, "health").get("status") == "Degraded",
        )

    @classmethod
    def of_pod(cls, raw: object) -> Pod:
        """Read a pod (Kubernetes API, core/v1 Pod)."""
        metadata, spec = _part(raw, "metadata"), _part(raw, "spec")
        used = [_mapping(one).get("image") for one in spec.get("containers") or ()]
        used += [_part(one, "image").get("reference") for one in spec.get("volumes") or ()]
        return cls(
            labels=_part(metadata, "labels"),
            images=frozenset(image for image in used if isinstance(image, str)),
            gone=metadata.get("deletionTimestamp") is not None or _part(raw, "status").get("phase") in _ENDED,
        )


def brief(text: str) -> str:
    """What a controller says, as a part of a sentence: one line, of bounded length, without a full stop."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return (line if len(line) <= _TEXT_MAX else line[:_TEXT_MAX] + "…").rstrip(".")


def _mapping(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _part(raw: object, name: str) -> Mapping[str, Any]:
    return _mapping(_mapping(raw).get(name))
