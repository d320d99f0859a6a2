"""Serves inference code that was written for SageMaker's PyTorch containers: model_fn, input_fn, predict_fn, output_fn.

The contract is that of SageMaker's inference toolkit: `input_fn(body, content_type)`, `predict_fn(data, model)` and
`output_fn(prediction, accept)`, or `transform_fn(model, body, content_type, accept)` for the three together; each may
take TorchServe's context as one more argument. For those missing there are defaults that speak JSON.
"""

import importlib
import inspect
import json
import os
import re
import sys

JSON = "application/json"
# TorchServe sends phrases and content types with their length in characters, not in bytes: another one than ASCII
# kills the worker.
MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")
PHRASES = {400: "Bad Request", 406: "Not Acceptable", 413: "Content Too Large", 415: "Unsupported Media Type"}
TEXTS = (JSON, "application/jsonlines", "application/x-www-form-urlencoded")


class SageMakerHandler:
    """The two calls that TorchServe makes of a handler."""

    def __init__(self):
        self.model = None
        self.transform = None
        self.context = None

    def initialize(self, context):
        """Import the user's code and let it load the model from this worker's folder."""
        self.context = context
        folder = context.system_properties["model_dir"]
        _use_gpu(context.system_properties.get("gpu_id"))
        os.environ.setdefault("SM_MODEL_DIR", folder)
        code, _, name = context.manifest["model"]["extensions"]["code"].rpartition("/")
        sys.path.insert(0, os.path.join(folder, code))
        module = importlib.import_module(name.removesuffix(".py"))
        if hasattr(module, "pre_model_fn"):
            self._call(module.pre_model_fn, folder)
        self.model = self._call(getattr(module, "model_fn", self._torchscript), folder)
        self.transform = getattr(module, "transform_fn", None) or self._steps(module)
        if hasattr(module, "model_warmup_fn"):
            self._call(module.model_warmup_fn, folder, self.model)

    def handle(self, requests, context):
        """Answer each request on its own, so that a bad one spoils no other.

        What `input_fn` raises is the caller's fault: 400, or the 4xx that the error has as its `status_code`. What
        comes after is the model's: where it raises, TorchServe answers 503.
        """
        self.context = context
        return [self._answer(request, at, context) for at, request in enumerate(requests)]

    def _answer(self, request, at, context):
        content_type, accept = _kinds(context.get_all_request_header(at))
        context.set_response_content_type(at, JSON)
        try:
            result = self._call(self.transform, self.model, _body(request, content_type), content_type, accept)
        except Exception as error:
            status = _status(error)
            if status is None:
                raise
            context.set_response_status(status, PHRASES.get(status, "Client Error"), at)
            return json.dumps({"error": str(error)})
        body, kind = result if isinstance(result, tuple) else (result, accept)
        context.set_response_content_type(at, kind if MEDIA_TYPE.fullmatch(str(kind)) else JSON)
        return body if isinstance(body, (str, bytes, bytearray)) else _json(body)

    def _steps(self, module):
        """A transform_fn of the three functions that the user's module has, or of their defaults."""
        read = getattr(module, "input_fn", _input)
        predict = getattr(module, "predict_fn", _predict)
        write = getattr(module, "output_fn", _output)

        def transform(model, body, content_type, accept):
            try:
                data = self._call(read, body, content_type)
            except Exception as error:
                told = f"The request was not understood ({type(error).__name__}: {str(error)[:500]})."
                raise _fault(told, _status(error) or 400) from error
            return self._call(write, self._call(predict, data, model), accept)

        return transform

    def _call(self, function, *arguments):
        """Call with the context too, where the function takes one argument more than it needs."""
        if len(inspect.signature(function).parameters) == len(arguments) + 1:
            arguments = (*arguments, self.context)
        return function(*arguments)

    def _torchscript(self, folder):
        """The default model_fn."""
        import torch

        path = os.path.join(folder, self.context.manifest["model"]["serializedFile"])
        return torch.jit.load(path, map_location=_device()).eval()


def _fault(message, status):
    """An error of the caller's; not of a class of its own, since TorchServe takes a module with one class only."""
    error = ValueError(message)
    error.status_code = status
    return error


def _status(error):
    """The 4xx that an error says it is, None where it says no such thing."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 400 <= status < 500 else None


def _use_gpu(gpu):
    """Make `cuda` without a number, which is what such code asks for, mean this worker's GPU."""
    if gpu is None:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(gpu))


def _device():
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _kinds(headers):
    """The media types that a request has and asks for, JSON where it does not say."""
    told = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    sent, wanted = (told.get(name, "").split(",")[0].split(";")[0].strip() for name in ("content-type", "accept"))
    return sent.lower() or JSON, JSON if wanted in ("", "*/*") or not MEDIA_TYPE.fullmatch(wanted) else wanted.lower()


def _body(request, content_type):
    """The body as input_fn takes it: text where that is what was sent. TorchServe has read JSON already."""
    body = request.get("body", request.get("data"))
    if not isinstance(body, (str, bytes, bytearray)):
        return json.dumps(body)
    if isinstance(body, (bytes, bytearray)) and (content_type in TEXTS or content_type.startswith("text/")):
        return bytes(body).decode("utf-8", "replace")
    return bytes(body) if isinstance(body, bytearray) else body


def _input(body, content_type):
    """The default input_fn: a float32 tensor of the JSON, which may be {"instances": …}."""
    if content_type != JSON:
        raise _fault(f"{content_type} is not read here, send {JSON}", 415)
    import torch

    rows = json.loads(body)
    return torch.tensor(rows["instances"] if isinstance(rows, dict) else rows, dtype=torch.float32).to(_device())


def _predict(data, model):
    """The default predict_fn."""
    import torch

    with torch.inference_mode():
        return model(data)


def _output(prediction, accept):
    """The default output_fn: JSON, whatever was asked for."""
    return _json(prediction), JSON


def _json(value):
    return json.dumps(value, default=lambda item: item.tolist(), allow_nan=False)
