"""Proof that a repository holds just what it renders, and that its settings can be used together."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from gitops.argocd.applications import application_names
from gitops.config import Environment, Model
from gitops.history import history
from gitops.holds import ensure_agrees, parse_record, records
from gitops.layout import ENVIRONMENTS, MODELS, environment_file, model_file, release_file
from gitops.release import Release
from gitops.render import render
from gitops.rollback import ChangedByHand
from gitops.state import parse_release, read_environment, read_model
from gitops.tree import Tree
from registry.errors import InvalidInput, SluiceError
from registry.names import check_label

if TYPE_CHECKING:
    from gitops.snapshot import Snapshot

_MEND = "run `sluice render` after a change of settings, or take the change back where it was made by hand"


class ProblemKind(StrEnum):
    """In what way a file is not as it should be."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERS = "differs"
    INVALID = "invalid"


class Problem(BaseModel):
    """One file that is not as it should be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    kind: ProblemKind
    message: str
    """One sentence: what is wrong and what to do."""
    diff: str = ""
    """For a text that differs, the unified diff from what is there to what is rendered."""


def check(tree: Tree) -> list[Problem]:
    """What is wrong in the repository, sorted by path; nothing where it holds just what it renders.

    Reads every settings file, whether or not something is released by it, and renders every release again.
    """
    tree.prefetch([*tree.paths(ENVIRONMENTS), *tree.paths(MODELS)])
    environments, environment_problems = _environments(tree)
    models, model_problems = _models(tree, environments)
    problems = [*environment_problems, *model_problems, *_clashes(environments), *_waits_for_nobody(tree, environments)]
    problems += [*_deep_releases(tree), *_holds(tree)]
    applications: defaultdict[str, list[str]] = defaultdict(list)
    for (model, environment), paths in _folders(tree).items():
        problems += _folder(tree, model, environment, paths, models, environments)
        for name in _applications(model, environment, environments):
            applications[name].append(release_file(model, environment))
    for name, releases in applications.items():
        problems += [
            _invalid(path, f"its Application {name} has the name of another's, rename the model")
            for path in releases[1:]
        ]
    return sorted(problems, key=lambda problem: (problem.path, problem.kind))


def _applications(model: str, environment: str, environments: Mapping[str, Environment]) -> Iterable[str]:
    known = environments.get(environment)
    return application_names(model, known).values() if known else (f"{model}-{environment}",)


def check_holds(snapshot: Snapshot) -> list[Problem]:
    """Where a file of holds does not say what the history says, sorted by path; it reads those releases' histories.

    Nothing follows from these files, so that whoever edited one expects something that does not happen.
    """
    problems = []
    for path, model, environment in records(snapshot):
        try:
            ensure_agrees(snapshot, history(snapshot, model, environment), model, environment)
        except ChangedByHand as error:
            problems.append(Problem(path=path, kind=ProblemKind.DIFFERS, message=str(error), diff=error.details + "\n"))
        except InvalidInput as error:  # its name names no model or environment
            problems.append(Problem(path=path, kind=ProblemKind.INVALID, message=str(error)))
    return sorted(problems, key=lambda problem: problem.path)


def _holds(tree: Tree) -> Iterator[Problem]:
    for path, _, environment in records(tree):
        try:
            parse_record(tree.read(path) or b"", path)
        except SluiceError as error:
            yield Problem(path=path, kind=ProblemKind.INVALID, message=str(error))
            continue
        if tree.read(environment_file(environment)) is None:
            yield _invalid(path, f"there is no {environment_file(environment)}, remove it")


def _environments(tree: Tree) -> tuple[dict[str, Environment], list[Problem]]:
    found, problems = {}, []
    for path in tree.paths(ENVIRONMENTS):
        if not path.endswith(".yaml"):
            continue
        if PurePosixPath(path).parent != PurePosixPath(ENVIRONMENTS):
            problems.append(_too_deep(path, f"an environment, move it out of {ENVIRONMENTS}/"))
            continue
        name = PurePosixPath(path).stem
        try:
            found[name] = read_environment(tree, check_label(name, "environment"))
        except SluiceError as error:
            problems.append(Problem(path=path, kind=ProblemKind.INVALID, message=str(error)))
    return found, problems


def _models(tree: Tree, environments: Mapping[str, Environment]) -> tuple[dict[str, Model], list[Problem]]:
    found, problems = {}, []
    for path in tree.paths(MODELS):
        parts = path.split("/")
        if len(parts) != 3 or parts[2] != "model.yaml":
            continue
        try:
            model = found[parts[1]] = read_model(tree, check_label(parts[1]))
        except SluiceError as error:
            problems.append(Problem(path=path, kind=ProblemKind.INVALID, message=str(error)))
            continue
        unknown = sorted(set(model.environments) - set(environments))
        problems += [_invalid(path, f"environments.{name} has no {environment_file(name)}") for name in unknown]
    return found, problems


def _clashes(environments: Mapping[str, Environment]) -> Iterator[Problem]:
    # a model's objects have the same names in every environment, so two of them in one place would fight, and so
    # would two that claim the host <model>.<domain>
    places: dict[tuple[str, str], str] = {}
    domains: dict[str, str] = {}
    for name, environment in environments.items():
        for place in environment.all_clusters:
            other = places.setdefault((place.server, environment.namespace), name)
            if other != name:
                yield _invalid(
                    environment_file(name),
                    f"{other} uses namespace {environment.namespace} of that cluster too, change one",
                )
        for domain in sorted({place.domain for place in environment.all_clusters}):
            other = domains.setdefault(domain, name)
            if other != name:
                yield _invalid(environment_file(name), f"{other} has the domain {domain} too, change one")


def _waits_for_nobody(tree: Tree, environments: Mapping[str, Environment]) -> Iterator[Problem]:
    for name, environment in environments.items():
        waits = environment.gates.healthy_in
        if waits and tree.read(environment_file(waits.environment)) is None:
            reason = f"gates.healthyIn names {waits.environment}, but there is no {environment_file(waits.environment)}"
            yield _invalid(environment_file(name), reason)


def _folders(tree: Tree) -> dict[tuple[str, str], list[str]]:
    """Every folder that is one model's in one environment, with its files."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path in tree.paths(MODELS):
        parts = path.split("/")
        if len(parts) > 3 and not _is_deep_release(path):
            found[parts[1], parts[2]].append(path)
    return found


def _is_deep_release(path: str) -> bool:
    parts = path.split("/")
    return len(parts) > 4 and parts[-1] == "release.yaml"


def _deep_releases(tree: Tree) -> list[Problem]:
    found = [path for path in tree.paths(MODELS) if _is_deep_release(path)]
    return [_too_deep(path, f"a release, remove it or move it to {MODELS}/<model>/<env>/") for path in found]


def _folder(
    tree: Tree,
    model: str,
    environment: str,
    paths: Sequence[str],
    models: Mapping[str, Model],
    environments: Mapping[str, Environment],
) -> Iterator[Problem]:
    release_path = f"{MODELS}/{model}/{environment}/release.yaml"
    data = tree.read(release_path)
    if data is None:
        message = f"{release_path} is missing beside {paths[0]}: restore it from git, or remove the folder."
        yield Problem(path=release_path, kind=ProblemKind.MISSING, message=message)
        return
    try:
        release = parse_release(data, release_path)
        settings, place = _known(tree, release, models, environments)
        found = list(compare(tree, paths, release, settings, place)) if settings and place else []
    except SluiceError as error:
        yield Problem(path=release_path, kind=ProblemKind.INVALID, message=str(error))
        return
    yield from found


def _known(
    tree: Tree, release: Release, models: Mapping[str, Model], environments: Mapping[str, Environment]
) -> tuple[Model | None, Environment | None]:
    """The release's settings; None for a file that is there but invalid, which is told already.

    Raises:
        NotFound: a file is not there.
    """
    model, environment = models.get(release.model), environments.get(release.environment)
    if environment is None and tree.read(environment_file(release.environment)) is None:
        read_environment(tree, release.environment)
    if model is None and tree.read(model_file(release.model)) is None:
        read_model(tree, release.model)
    return model, environment


def compare(
    tree: Tree, paths: Sequence[str], release: Release, model: Model, environment: Environment
) -> Iterator[Problem]:
    """Where the release's folder, which holds `paths`, is not what the release renders.

    Raises:
        InvalidInput: the settings are of another model or environment than the release.
    """
    wanted = render(release, model, environment)
    for path, expected in wanted.items():
        found = tree.read(path)
        if found is None:
            yield Problem(path=path, kind=ProblemKind.MISSING, message=f"{path} is missing: {_MEND}.")
        elif found != expected:
            message = f"{path} is not what its release renders: {_MEND}."
            yield Problem(path=path, kind=ProblemKind.DIFFERS, message=message, diff=_diff(path, expected, found))
    for path in sorted(set(paths) - set(wanted)):
        message = f"{path} is not rendered by its release: remove it, only Sluice writes in this folder."
        yield Problem(path=path, kind=ProblemKind.EXTRA, message=message)


def _diff(path: str, expected: bytes, found: bytes) -> str:
    try:
        before, after = expected.decode().splitlines(keepends=True), found.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return ""
    lines = difflib.unified_diff(after, before, f"{path} (committed)", f"{path} (rendered)")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _too_deep(path: str, taken_for: str) -> Problem:
    # A `*` of Argo CD's git file generator also matches a `/`, unless its controller runs with
    # ARGOCD_APPLICATIONSET_CONTROLLER_ENABLE_NEW_GIT_FILE_GLOBBING=true, which is not the default (operator-manual/
    # applicationset/Generators-Git-File-Globbing.md). So it would make an Application of this file, or fail on it.
    return _invalid(path, f"Argo CD looks into sub-folders too and takes it for {taken_for}")


def _invalid(path: str, reason: str) -> Problem:
    return Problem(path=path, kind=ProblemKind.INVALID, message=f"{path}: {reason}.")
