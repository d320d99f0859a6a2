"""How a model runs: what people may write of it, what it comes to, and the sentence they get when it is wrong."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from gitops.config import Batching, Model, Settings, default_model_file, parse_environment, parse_model
from gitops.config.merged import settings_for
from registry.errors import InvalidInput


def model(text: str) -> Model:
    return parse_model(("name: fraud\n" + text).encode(), "models/fraud/model.yaml")


def settings(text: str) -> Settings:
    return model(text).for_environment("prod")


def names(part: type[BaseModel]) -> set[str]:
    """What can be written in a section and in those within it."""
    found = set()
    for name, field in part.model_fields.items():
        found.add(field.alias or name)
        found |= {each for kind in kinds(field.annotation) for each in names(kind)}
    return found


def kinds(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [kind for part in getattr(annotation, "__args__", ()) for kind in kinds(part)]


def test_every_setting_is_explained_in_the_first_file() -> None:
    text = default_model_file("fraud").decode()
    assert {"maxBatchSize", "spot", "env", "prometheus"} <= names(Model)
    missing = {name for name in names(Model) if not re.search(rf"\b{name}:", text)}
    assert missing == {"value"}  # of a toleration, as Kubernetes explains it


def test_what_the_first_file_shows_can_be_written_and_is_what_goes_without() -> None:
    lines = default_model_file("fraud").decode().split("# environments:")[0].splitlines()
    # settings are indented or end with their colon, and prose does neither
    shown = [line.removeprefix("# ") for line in lines if re.match(r"# (?:  |[a-zA-Z]+:$)", line)]
    found, plain = settings("\n".join(shown)), settings("")
    assert found.resources == plain.resources
    assert found.scaling == plain.scaling.model_copy(update={"scale_down_seconds": 300})
    assert found.monitoring == plain.monitoring
    assert found.node_selector == plain.node_selector
    assert list(found.tolerations) == list(plain.tolerations)
    assert (found.node.spot, found.node.spread) == (plain.node.spot, plain.node.spread)
    assert found.server == plain.server.model_copy(update={"env": {"OMP_NUM_THREADS": "2"}})
    batching = found.tensorflow_serving.batching
    assert batching is not None
    assert batching.model_copy(update={"allowed_batch_sizes": ()}) == Batching()


def test_the_first_file_leaves_it_to_the_environment() -> None:
    text = "name: prod\nnamespace: m\ndomain: a.b\ndefaults: {scaling: {max: 2, via: keda}, resources: {gpu: 0}}"
    place = parse_environment(text.encode(), "environments/prod.yaml")
    found = settings_for(parse_model(default_model_file("fraud"), "models/fraud/model.yaml"), place)
    assert (found.scaling.max, found.scaling.via, found.resources.gpu) == (2, "keda", 0)


def test_a_section_in_a_section_is_put_together_too() -> None:
    found = model(
        "tensorflowServing: {batching: {maxBatchSize: 8, numBatchThreads: 2}}\n"
        "server: {env: {A: x, B: y}}\n"
        "environments: {prod: {tensorflowServing: {batching: {maxBatchSize: 16}}, server: {env: {A: z}}}}"
    )
    there = found.for_environment("prod")
    assert there.tensorflow_serving.batching is not None
    assert there.tensorflow_serving.batching.max_batch_size == 16
    assert there.tensorflow_serving.batching.num_batch_threads == 2
    assert there.server.env == {"A": "z"}  # a mapping is replaced as a whole
    assert found.for_environment("dev").server.env == {"A": "x", "B": "y"}
    off = model("tensorflowServing: {batching: {}}\nenvironments: {prod: {tensorflowServing: {batching: null}}}")
    assert off.for_environment("prod").tensorflow_serving.batching is None


@pytest.mark.parametrize(
    "name", ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.10gb.shared"]
)
def test_gpus_go_by_the_device_plugins_names(name: str) -> None:
    assert settings(f"resources: {{gpuResource: {name}}}").resources.gpu_resource == name


def test_what_looks_like_a_secret_but_is_none() -> None:
    env = "{TOKENIZERS_PARALLELISM: 'false', MAX_TOKENS: 512, KEYBOARD: x, MONKEY: 'a b', URL: 'http://a.b:80/c@d'}"
    assert len(settings(f"server: {{env: {env}}}").server.env) == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "resources: {gpuResource: amd.com/gpu}",
            "resources.gpuResource is wrong: 'amd.com/gpu' is not a GPU's",
        ),
        ("resources: {gpuResource: nvidia.com/mig-5gb}", "resources.gpuResource is wrong"),
        ("resources: {gpuResource: nvidia.com/gpu.shared, gpu: 2}", "resources.gpu is 2, but two shares are no more"),
        ("resources: {gpu: 0}\nscaling: {metric: gpu}", "scaling.metric is gpu, but resources.gpu is 0"),
        (
            "resources: {gpuResource: nvidia.com/gpu.shared}\nscaling: {metric: gpu}",
            "how busy a shared GPU is says noth",
        ),
        ("scaling: {metric: queue}\nmonitoring: {kind: none}", "scaling.metric is queue, but monitoring.kind none"),
        ("scaling: {metric: memory}", "scaling.metric is wrong: input should be 'cpu', 'gpu' or 'queue'"),
        ("scaling: {via: vpa}", "scaling.via is wrong"),
        ("scaling: {queueDepth: 0}", "scaling.queueDepth is wrong"),
        ("scaling: {gpuUtilization: 101}", "scaling.gpuUtilization is wrong"),
        ("scaling: {scaleDownSeconds: 3601}", "scaling.scaleDownSeconds is wrong"),
        ("environments: {dev: {scaling: {metric: gpu}, resources: {gpu: 0}}}", "but resources.gpu is 0 in dev"),
        ("node: {spot: sometimes}", "node.spot is wrong: input should be 'never', 'canary' or 'always'"),
        ("node: {spot: always, selector: {a: b}}", "node.spot always chooses the nodes, and so does node.selector"),
        ("node: {spread: [rack]}", "node.spread.0 is wrong"),
        ("node: {spread: [zone, zone]}", "node.spread is wrong: zone is there twice"),
        ("server: {startupSeconds: 30}", "server.startupSeconds is wrong"),
        ("server: {env: {'1A': x}}", "server.env.1A is wrong: '1A' is not an environment variable's name"),
        ("server: {env: {A-B: x}}", "server.env.A-B is wrong"),
        ("server: {env: {A: true}}", "server.env.A is wrong: input should be a valid string"),
        ('server: {env: {A: "b\\nc"}}', "server.env.A is wrong: it must be one line"),
        ('server: {env: {A: "\\0"}}', "server.env.A is wrong: it must be one line"),
        ("server: {env: {HF_TOKEN: x}}", "server.env.HF_TOKEN is wrong: it sounds like a secret, which everybody"),
        ("server: {env: {AWS_SECRET_ACCESS_KEY: x}}", "AWS_SECRET_ACCESS_KEY is wrong: it sounds like a secret"),
        ("server: {env: {db_password: x}}", "db_password is wrong: it sounds like a secret"),
        (
            "server: {env: {DB: 'postgres://me:pass@host/db'}}",
            "server.env.DB is wrong: it is an address with a password",
        ),
        ("server: {env: {NVIDIA_VISIBLE_DEVICES: all}}", "would give the server GPUs that are not its own"),
        ("monitoring: {kind: serviceMonitor}", "monitoring.kind is wrong"),
        ("monitoring: {labels: {'a b': c}}", "monitoring.labels.a b is wrong"),
        ("monitoring: {prometheus: 'http://me:secret@p:9090'}", "monitoring.prometheus is wrong"),
        ("monitoring: {prometheus: 'file:///etc/passwd'}", "monitoring.prometheus is wrong"),
        ("tensorflowServing: {batching: {maxBatchSize: 0}}", "tensorflowServing.batching.maxBatchSize is wrong"),
        ("tensorflowServing: {batching: {allowedBatchSizes: [8, 16]}}", "must rise, and end with the maxBatchSize 32"),
        (
            "tensorflowServing: {batching: {allowedBatchSizes: [32, 8, 32]}}",
            "must rise, and end with the maxBatchSize 32",
        ),
        ("tensorflow_serving: {}", "tensorflow_serving is not a setting here"),
    ],
)
def test_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(says)) as caught:
        model(text)
    assert str(caught.value).startswith("models/fraud/model.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "server: {env: {DB: 'postgres://me:hunter2@host/db'}}",
        'server: {env: {A: "-----BEGIN KEY-----\\nhunter2"}}',
        "monitoring: {prometheus: 'http://me:hunter2@p:9090'}",
    ],
)
def test_a_password_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        model(text)
    assert "hunter2" not in str(caught.value)
