"""Tiled prediction: the partition of unity, borders, and how much is held."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modicum.errors import InputError
from modicum.nn.tiles import tiled, tiled_bands


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.integers(1, 5),
)
def test_the_identity_gives_the_image_back(height, width, tile, shares, batch):
    overlap = tuple(int(share * (side - 1)) for share, side in zip(shares, tile, strict=True))
    image = torch.rand(2, height, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tiled(lambda x: x, image, tile, overlap, batch), image, atol=1e-6, rtol=0)


def test_a_pointwise_predictor_gives_what_it_gives_on_the_whole():
    image = torch.rand(3, 70, 45)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid())
    torch.testing.assert_close(
        tiled(net, image, 32, 12, batch=3), net(image[None])[0].detach(), atol=2e-6, rtol=0
    )


def test_the_inside_of_a_convolution_is_that_of_the_whole_image():
    """A 3x3 mean sees one pixel around: only where it looks past a border can tiles differ from the whole."""
    net = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    image = torch.rand(1, 60, 60)
    difference = (tiled(net, image, 24, 12) - net(image[None])[0]).abs()
    # At a tile's own edge the flank's weight is sin^2(pi / 48), 0.4 %.
    assert difference[:, 1:-1, 1:-1].max() < 0.01
    blocky = (tiled(net, image, 24, 0) - net(image[None])[0]).abs()
    assert blocky[:, 1:-1, 1:-1].max() > 0.02, "without an overlap there are seams"


def test_an_image_that_one_tile_covers_is_predicted_once_and_reflected():
    seen = []
    image = torch.arange(12.0).reshape(1, 3, 4)
    out = tiled(lambda x: seen.append(x) or x, image, (7, 4), (3, 2))
    assert [tuple(x.shape) for x in seen] == [(1, 1, 7, 4)]
    assert seen[0][0, 0, :, 0].tolist() == [8, 4, 0, 4, 8, 4, 0], "rows mirrored at the first and the last"
    torch.testing.assert_close(out, image)


def test_bands_come_in_order_and_make_up_the_whole():
    image = torch.rand(1, 53, 31)
    bands = list(tiled_bands(lambda x: 2 * x, image, 16, 4))
    assert [start for start, _ in bands] == [0, *torch.tensor([b.shape[1] for _, b in bands]).cumsum(0)[:-1]]
    assert max(band.shape[1] for _, band in bands) <= 16
    torch.testing.assert_close(torch.cat([band for _, band in bands], 1), 2 * image, atol=1e-6, rtol=0)


def test_only_one_row_of_tiles_is_asked_for_at_a_time():
    rows = []
    bands = tiled_bands(lambda x: rows.append(len(x)) or x, torch.rand(1, 400, 40), 16, 4, batch=2)
    next(bands)
    assert sum(rows) <= 5, "no more tiles than the first row has"


def test_no_gradients_are_kept_and_low_precision_is_blended_in_float32():
    net = nn.Conv2d(1, 1, 1)
    out = tiled(lambda x: net(x).bfloat16(), torch.rand(1, 30, 30), 16, 8)
    assert not out.requires_grad
    assert out.dtype == torch.float32


@pytest.mark.parametrize(
    ("tile", "overlap", "said"),
    [(8, 8, "cannot overlap by 8 x 8"), (0, 0, "tiles of 0 x 0"), (8, -1, "overlap")],
)
def test_tiles_that_cannot_be_are_refused(tile, overlap, said):
    with pytest.raises(InputError, match=said):
        tiled(lambda x: x, torch.rand(1, 30, 30), tile, overlap)


def test_a_predictor_that_changes_the_size_is_refused():
    with pytest.raises(InputError, match=r"gave outputs of \(1, 1, 4, 4\)"):
        tiled(lambda x: x[:, :, ::2, ::2], torch.rand(1, 30, 30), 8, 2)
