"""SPMix learns what a rare class's lesion looks like where its background is another's: lesions on textures, made.

In training a texture comes with a class nine times in ten, in the test with any. A network that is trained on the images
as they come takes the texture of a rare class, of which it sees a few images, for the class.
"""

import numpy as np
import pytest
import torch

from modicum.methods.base import Context
from modicum.methods.full import Full
from modicum.methods.mixed import Mixed
from modicum.methods.spmix import SPMix
from modicum.nn import Backbone
from modicum.tasks import task_from_dict
from modicum.transforms import Augmentation, fine_grained_saliency

COUNTS = (400, 200, 80, 30, 8)
SIZE, STEPS, BATCH = 32, 500, 32
TASK = {"name": "classification", "kind": "multi-class", "classes": list("abcde"), "ordered": False,
        "specificity": 0.95}  # fmt: skip
SHAPES = [  # what is dark of a square of 4 x 4 cells
    ["1111", "1001", "1001", "1111"],
    ["0110", "1111", "1111", "0110"],
    ["1100", "1100", "0011", "0011"],
    ["1010", "1010", "1010", "1010"],
    ["1111", "0000", "0000", "1111"],
]


def lesions(labels, tied, generator):
    """Images with a shape a class on a texture, which is the class's own where ``tied`` draws say so."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images = np.empty((len(labels), 3, SIZE, SIZE), np.float32)
    for index, label in enumerate(labels):
        texture = label if generator.random() < tied else generator.integers(5)
        angle = np.pi * texture / 5
        wave = np.cos(angle) * columns + np.sin(angle) * rows
        image = 0.75 + 0.06 * np.sin(1.3 * wave + generator.uniform(0, 6.28))
        cell = 3
        shape = np.kron(np.array([[int(c) for c in line] for line in SHAPES[label]]), np.ones((cell, cell)))
        top, left = generator.integers(2, SIZE - 4 * cell - 2, 2)
        image[top : top + 4 * cell, left : left + 4 * cell] -= 0.35 * shape
        images[index] = image + 0.03 * generator.standard_normal((SIZE, SIZE))
    return torch.from_numpy(images.clip(0, 1)), torch.from_numpy(np.array(labels))


def accuracies(kind, seed, **settings):
    """Accuracy of each class on textures that say nothing of it."""
    generator = np.random.default_rng(seed)
    images, labels = lesions([c for c, n in enumerate(COUNTS) for _ in range(n)], 0.9, generator)
    test, truth = lesions([c for c in range(5) for _ in range(60)], 0.0, generator)
    torch.manual_seed(seed)
    task = task_from_dict(TASK)
    context = Context(
        task, lambda: Backbone("test_resnet", (SIZE, SIZE)), {"label": labels.numpy()}, {}, image_size=(SIZE, SIZE)
    )  # fmt: skip
    stage = kind(kind.Config(**settings), context).stages()[-1].train()
    saliency = fine_grained_saliency(images)
    weights = 1.0 / torch.bincount(labels)[labels].double()
    optimizer = torch.optim.AdamW(stage.parameters(), 2e-3)
    shift = Augmentation([{"name": "translate", "fraction": 0.1, "p": 1.0}], SIZE)
    for step in range(STEPS):
        own = torch.randint(len(images), (BATCH,))
        other = torch.multinomial(weights, BATCH, replacement=True)
        batch = {"image": images[own], "saliency": saliency[own], "label": labels[own]}
        batch |= {f"partner_{n}": v for n, v in
                  {"image": images[other], "saliency": saliency[other], "label": labels[other]}.items()}  # fmt: skip
        batch = shift(batch, torch.Generator().manual_seed(step))
        loss = sum(stage.updates()[0].losses(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    stage.eval()
    with torch.no_grad():
        said = stage.network(test).argmax(1)
    return np.array([float((said[truth == c] == c).float().mean()) for c in range(5)])


SPMIX = {
    "queue": 256,
    "projection": 32,
    "projection_width": 64,
    "query_augment": "none",
    "key_augment": "none",
    "patch": 4,
}


@pytest.fixture(scope="module")
def learned():
    kinds = {
        "cross-entropy": (Full, {}),
        "mixup": (Mixed, {"mixer": "mixup", "mix_alpha": 0.4}),
        "spmix": (SPMix, SPMIX),
    }
    return {name: accuracies(kind, 0, **settings) for name, (kind, settings) in kinds.items()}


def test_the_tail_is_found_more_often_and_the_head_as_often(learned):
    tail = {name: found[3:].mean() for name, found in learned.items()}
    assert tail["spmix"] >= tail["cross-entropy"] + 0.10
    assert tail["spmix"] >= tail["mixup"]
    assert learned["spmix"][0] >= learned["cross-entropy"][0] - 0.05
