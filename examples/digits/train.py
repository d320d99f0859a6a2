"""Train a classifier of handwritten digits and export it as TorchScript.

A SageMaker script-mode entry point: hyperparameters are arguments, SM_MODEL_DIR says where the model goes.
The data is scikit-learn's bundled digits set: 1,797 images of 8 x 8 pixels, each pixel 0..16, ten classes.
"""

from __future__ import annotations

import argparse
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class DigitsNet(nn.Module):
    """Maps float32 [N, 64] pixels of 0..16 to float32 [N, 10] logits."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels / 16.0)


class DigitsClassifier(nn.Module):
    """What is served: the same pixels to float32 [N, 10] probabilities."""

    def __init__(self, net: DigitsNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(self.net(pixels), dim=1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the digits classifier.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model-dir", type=Path, default=Path(os.environ.get("SM_MODEL_DIR", "model")))
    return parser.parse_args()


def data() -> Split:
    """Pixels and labels to train on and to validate on; the split is the same for every job."""
    pixels, labels = load_digits(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(
        pixels.astype(np.float32), labels, test_size=0.25, random_state=0, stratify=labels
    )
    return train_x, valid_x, train_y, valid_y


def fit(net: DigitsNet, pixels: Tensor, labels: Tensor, options: argparse.Namespace) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=options.learning_rate)
    shuffle = torch.Generator().manual_seed(options.seed)
    net.train()
    for epoch in range(1, options.epochs + 1):
        total = 0.0
        for batch in torch.randperm(len(pixels), generator=shuffle).split(options.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(pixels[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch}: loss {total / len(pixels):.6f}", flush=True)


def export(net: DigitsNet, path: Path) -> None:
    """Write TorchScript without its debug records: those name the files of the machine that trained."""
    raw = path.with_suffix(".raw")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is what TorchServe and Triton load
        torch.jit.script(DigitsClassifier(net).eval()).save(str(raw))
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                # The root folder of the archive is named after the file that torch wrote: always "model".
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    raw.unlink()


def measure(path: Path, pixels: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy of an exported model, as a server would load it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.load(str(path))
    with torch.no_grad():
        probabilities = model(torch.from_numpy(pixels)).double().numpy()
    chosen = probabilities[np.arange(len(labels)), labels]
    loss = -np.log(np.clip(chosen, 1e-12, 1.0)).mean()
    return float(loss), float((probabilities.argmax(axis=1) == labels).mean())


def main() -> None:
    options = arguments()
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    train_x, valid_x, train_y, valid_y = data()
    net = DigitsNet(options.hidden, options.dropout)
    fit(net, torch.from_numpy(train_x), torch.from_numpy(train_y), options)
    options.model_dir.mkdir(parents=True, exist_ok=True)
    path = options.model_dir / "model.pt"
    export(net, path)
    train_loss, _ = measure(path, train_x, train_y)
    valid_loss, valid_accuracy = measure(path, valid_x, valid_y)
    print(f"train_loss={train_loss:.6f}")
    print(f"validation_loss={valid_loss:.6f}")
    print(f"validation_accuracy={valid_accuracy:.6f}")


if __name__ == "__main__":
    main()
