"""Serves a TorchScript model over JSON: {"instances": [[…], …]} in, {"predictions": [[…], …]} out."""

import json
import os

import torch

# TorchServe sends the phrase with its length in characters, not in bytes: another one than ASCII kills the worker.
NOT_UNDERSTOOD = "Bad Request"


class SluiceHandler:
    """The two calls that TorchServe makes of a handler."""

    def __init__(self):
        self.model = None
        self.device = None

    def initialize(self, context):
        """Load the file that the manifest names, on the GPU this worker was given, else on the CPU."""
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        self.device = torch.device(f"cuda:{gpu}" if torch.cuda.is_available() and gpu is not None else "cpu")
        path = os.path.join(properties["model_dir"], context.manifest["model"]["serializedFile"])
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
