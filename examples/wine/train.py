"""Train a classifier of wines and export it as a SavedModel for TensorFlow Serving.

A SageMaker script-mode entry point: hyperparameters are arguments, SM_MODEL_DIR says where the model goes.
The data is scikit-learn's bundled wine set: 178 wines, 13 chemical measurements each, three growers.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
FEATURES = 13
CLASSES = 3


class Server(tf.Module):
    """What is served: float32 [N, 13] raw `features` to float32 [N, 3] `probabilities`."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    @tf.function(input_signature=[tf.TensorSpec([None, FEATURES], tf.float32, name="features")])
    def predict(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": self.model(features, training=False)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the wine classifier.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model-dir", type=Path, default=Path(os.environ.get("SM_MODEL_DIR", "model")))
    return parser.parse_args()


def data() -> Split:
    """Measurements and growers to train on and to validate on."""
    features, labels = load_wine(return_X_y=True)
    train_x, valid_x, train_y, valid_y = train_test_split(
        features.astype(np.float32), labels, test_size=0.25, random_state=0, stratify=labels
    )
    return train_x, valid_x, train_y, valid_y


def build(train_x: np.ndarray, hidden: int) -> keras.Model:
    """The net; its first layer holds the mean and variance of the training data, so it takes raw numbers."""
    normalise = keras.layers.Normalization()
    normalise.adapt(train_x)
    inputs = keras.Input((FEATURES,), name="features")
    inner = keras.layers.Dense(hidden, activation="relu")(normalise(inputs))
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(inner))


def export(model: keras.Model, path: Path) -> None:
    """Write a SavedModel with the one signature `serving_default`, without debug nodes or stack traces."""
    server = Server(keras.Model(model.inputs, model.outputs))  # the same weights, without the optimizer's
    options = tf.saved_model.SaveOptions(experimental_debug_stripper=True)
    tf.saved_model.save(server, str(path), signatures={"serving_default": server.predict}, options=options)


def measure(path: Path, features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy of an exported model, through its serving signature."""
    loaded = tf.saved_model.load(str(path))  # kept in a variable: it owns the weights that the signature reads
    answer = loaded.signatures["serving_default"](features=tf.constant(features))
    probabilities = answer["probabilities"].numpy().astype(np.float64)
    chosen = probabilities[np.arange(len(labels)), labels]
    loss = -np.log(np.clip(chosen, 1e-12, 1.0)).mean()
    return float(loss), float((probabilities.argmax(axis=1) == labels).mean())


def main() -> None:
    options = arguments()
    keras.utils.set_random_seed(options.seed)
    tf.config.experimental.enable_op_determinism()
    train_x, valid_x, train_y, valid_y = data()
    model = build(train_x, options.hidden)
    optimizer = keras.optimizers.Adam(options.learning_rate)
    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    model.fit(train_x, train_y, epochs=options.epochs, batch_size=options.batch_size, verbose=2)
    path = options.model_dir / "1"  # TensorFlow Serving wants a numbered folder
    export(model, path)
    train_loss, _ = measure(path, train_x, train_y)
    valid_loss, valid_accuracy = measure(path, valid_x, valid_y)
    print(f"train_loss={train_loss:.6f}")
    print(f"validation_loss={valid_loss:.6f}")
    print(f"validation_accuracy={valid_accuracy:.6f}")


if __name__ == "__main__":
    main()
