"""Images too large for a network are predicted in tiles, in bounded memory, and tell how far they are."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.nn.tiles import tile_count, tiled
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions

LARGE = """
import json, resource, sys, time
from pathlib import Path
import modicum, torch
torch.set_num_threads(1)
from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.nn import SegmentationNetwork
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions

size = tuple(json.loads(sys.argv[2]))
codes = MaskCodes("binary", ("vessel",), {"vessel": ((1, 255),), "background": ((0, 0),)})
task = Segmentation("binary", {"mask": codes}, SegmentationOptions())
network = SegmentationNetwork("unet", "test_resnet", 1, decoder_width=16)
told = []
settings = StoreSettings(*size)
predictor = DensePredictor(network, task, settings, "32", torch.device("cpu"), 2, (512, 512), tell=told.append)
network(torch.rand(2, 3, 512, 512))  # code and buffers of the library, and what two tiles take
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
(found,) = predictor.predict([(0, ImageRef(Path(sys.argv[1])))])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "mib": (after - before) / 1024, "before": before / 1024, "seconds": time.process_time() - began,
    "shape": list(found.activated.shape), "told": [told[0], told[-1]],
}))
"""


def task() -> Segmentation:
    codes = MaskCodes("binary", ("vessel",), {"vessel": ((1, 255),), "background": ((0, 0),)})
    return Segmentation("binary", {"mask": codes}, SegmentationOptions())


def test_a_photograph_of_8_megapixels_takes_no_more_than_its_own_arrays(tmp_path):
    height, width = 2336, 3504
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[::7, ::5] = 200
    Image.fromarray(pixels).save(tmp_path / "large.png", compress_level=1)
    command = [sys.executable, "-c", LARGE, str(tmp_path / "large.png"), json.dumps([height, width])]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    image = height * width * 3 * 4 / 2**20  # 94 MiB of float32
    assert found["shape"] == [1, height, width]
    assert found["told"][1] == f"tile {10 * 7} of {10 * 7}"  # three quarters of 512 apart
    # As decoded and as the network gets it, and their 8-bit copies; the first map of a U-Net alone would be 4 x more.
    assert found["mib"] < 3.5 * image


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [((40, 70), (32, 32), (8, 8)), ((20, 20), (32, 32), (8, 8))]
)
def test_as_many_tiles_are_predicted_as_are_counted(size, tile, overlap):
    seen = 0

    def predict(tiles):
        nonlocal seen
        seen += len(tiles)
        return tiles

    tiled(predict, torch.rand(1, *size), tile, overlap, 2)
    assert seen == tile_count(size, tile, overlap)


def test_a_predictor_in_tiles_takes_one_image_at_a_time_and_tells_how_far_it_is(tmp_path):
    refs = []
    for number in range(3):
        Image.fromarray(np.full((64, 96, 3), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
        refs.append(ImageRef(tmp_path / f"{number}.png"))
    network, sizes, told = torch.nn.Conv2d(3, 1, 1), [], []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    settings = StoreSettings(64, 96)
    predictor = DensePredictor(
        network, task(), settings, "32", torch.device("cpu"), 4, (32, 32), tell=told.append
    )
    made = [found.activated for found in predictor.predict(enumerate(refs))]
    count = tile_count((64, 96), (32, 32), (8, 8))
    assert sum(size[0] for size in sizes) == 3 * count
    assert {size[1:] for size in sizes} == {(3, 32, 32)}
    assert told.count(f"tile {count} of {count}") == 3
    whole = DensePredictor(network, task(), settings, "32", torch.device("cpu"), 4)
    for tiles, found in zip(made, whole.predict(enumerate(refs)), strict=True):
        assert np.allclose(tiles, found.activated, atol=1e-5)
