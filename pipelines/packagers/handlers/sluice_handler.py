"""Serves a PyTorch model over JSON: {"instances": [[…], …]} in, {"predictions": [[…], …]} out."""

import importlib
import json
import os

import torch

# TorchServe sends the phrase with its length in characters, not in bytes: another one than ASCII kills the worker.
NOT_UNDERSTOOD = "Bad Request"
SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class SluiceHandler:
    """The two calls that TorchServe makes of a handler."""

    def __init__(self):
        self.model = None
        self.device = None

    def initialize(self, context):
        """Load the file that the manifest names, on the GPU this worker was given, else on the CPU."""
        properties, told = context.system_properties, context.manifest["model"]
        gpu = properties.get("gpu_id")
        self.device = torch.device(f"cuda:{gpu}" if torch.cuda.is_available() and gpu is not None else "cpu")
        path = os.path.join(properties["model_dir"], told["serializedFile"])
        if "modelFile" in told:
            self.model = _eager(told["modelFile"], path, self.device)
        else:
            self.model = torch.jit.load(path, map_location=self.device).eval()

    def handle(self, requests, context):
        """Answer each request on its own, so that a bad one spoils no other.

        What cannot be read is the caller's fault: 400. What the model makes of numbers is the model's: where it
        raises, or answers with something that JSON cannot hold, TorchServe answers 503.
        """
        return [self._answer(request, at, context) for at, request in enumerate(requests)]

    def _answer(self, request, at, context):
        context.set_response_content_type(at, "application/json")
        try:
            inputs = _instances(request)
        except (LookupError, TypeError, ValueError, OverflowError, RuntimeError):
            context.set_response_status(400, NOT_UNDERSTOOD, at)
            return json.dumps({"error": 'The body must be {"instances": [[numbers], ...]}, each row of the same length.'})
        with torch.inference_mode():
            outputs = self.model(inputs.to(self.device))
        return json.dumps({"predictions": outputs.tolist()}, allow_nan=False)


def _eager(file, weights, device):
    """An instance of the one class in the model's file, made without arguments, with the weights in it."""
    module = importlib.import_module(file.removesuffix(".py"))
    (kind,) = (
        value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__
    )
    model = kind()
    model.load_state_dict(_weights(weights, device))
    return model.to(device).eval()


def _weights(path, device):
    """The tensors in a file, by name; whatever else a checkpoint could hold is refused by torch."""
    if path.endswith(".safetensors"):
        return _safetensors(path)
    found = torch.load(path, map_location=device, weights_only=True)
    # a training loop's checkpoint keeps the weights beside the optimizer's state
    for name in ("state_dict", "model_state_dict"):
        if isinstance(found.get(name), dict):
            return found[name]
    return found


def _safetensors(path):
    """The tensors in a safetensors file: the header's length, the header in JSON, the bytes (safetensors, "Format")."""
    tensors = {}
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, told in header.items():
            begin, end = told["data_offsets"]
            file.seek(8 + length + begin)
            kind, data = SAFETENSORS[told["dtype"]], bytearray(file.read(end - begin))
            flat = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
            tensors[name] = flat.reshape(told["shape"])
    return tensors


def _instances(request):
    """The float32 rows of a request; any of the errors that `_answer` catches where there are none.

    A RecursionError, of JSON nested too deep, is a RuntimeError, as is what torch makes of a number out of range.
    """
    body = request.get("body") or request.get("data")
    if isinstance(body, (bytes, bytearray, str)):
        body = json.loads(body)
    inputs = torch.tensor(body["instances"], dtype=torch.float32)
    if not inputs.numel() or not inputs.ndim or not inputs.isfinite().all():
        raise ValueError("no rows of finite numbers")
    return inputs
