"""What a tree says: releases, which Sluice writes, beside the settings that people write."""

from __future__ import annotations

from gitops.config import Environment, Model, parse_environment, parse_model
from gitops.layout import MODELS, environment_file, model_file, release_file
from gitops.release import Release
from gitops.tree import Tree
from gitops.yamls import dump, read_as
from registry.errors import InvalidInput, NotFound
from registry.names import check_label

_HEADER = """\
Written by Sluice: which versions run here, and the canary's percentage of the traffic.
Change it with `sluice promote` and `sluice rollback`, not by hand: the manifests beside it follow from it."""


def parse_release(data: bytes, path: str) -> Release:
    """A release from the bytes of `models/<model>/<env>/release.yaml`.

    Raises:
        InvalidInput: one sentence with the file, the field and what is wrong with it.
    """
    release = read_as(Release, data, path)
    if path != release_file(release.model, release.environment):
        raise InvalidInput(
            f"{path}: it is a release of {release.model} in {release.environment}, move it to"
            f" {release_file(release.model, release.environment)} or correct it."
        )
    return release


def release_yaml(release: Release) -> bytes:
    """The bytes of release.yaml: the same release gives the same bytes."""
    return dump(release.model_dump(mode="json", exclude_none=True), _HEADER)


def read_release(tree: Tree, model: str, environment: str) -> Release | None:
    """What runs of the model there, or None where nothing was released yet.

    Raises:
        InvalidInput: the file is there and cannot be right.
    """
    path = release_file(model, environment)
    data = tree.read(path)
    return None if data is None else parse_release(data, path)


def all_releases(tree: Tree, only: str | None = None) -> list[Release]:
    """What runs of every model, or of one only, in every environment, in order of model and then of environment.

    Raises:
        InvalidInput: a file cannot be right.
    """
    parts = (path.split("/") for path in tree.paths(f"{MODELS}/{check_label(only)}" if only else MODELS))
    pairs = [(part[1], part[2]) for part in parts if len(part) == 4 and part[3] == "release.yaml"]
    tree.prefetch([f"{MODELS}/{model}/{environment}/release.yaml" for model, environment in pairs])
    return [release for pair in pairs if (release := read_release(tree, *pair))]


def read_environment(tree: Tree, environment: str) -> Environment:
    """The environment's settings.

    Raises:
        NotFound: there is no such environment.
        InvalidInput: its file cannot be right.
    """
    path = environment_file(environment)
    data = tree.read(path)
    if data is None:
        raise NotFound(f"There is no environment {environment}: add {path}, as the repository's README.md says.")
    return parse_environment(data, path)


def read_model(tree: Tree, model: str) -> Model:
    """The model's settings.

    Raises:
        NotFound: there is no such model.
        InvalidInput: its file cannot be right.
    """
    path = model_file(model)
    data = tree.read(path)
    if data is None:
        raise NotFound(f"There is no model {model} here: promote its first version, which writes {path}.")
    return parse_model(data, path)


def said_of(tree: Tree, model: str) -> Model:
    """The model's settings, or the defaults where people said nothing of it yet.

    Raises:
        InvalidInput: its file cannot be right.
    """
    data = tree.read(model_file(model))
    return Model(name=model) if data is None else parse_model(data, model_file(model))
