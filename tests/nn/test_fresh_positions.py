"""A transformer made anew has the positions that masked autoencoders have, also outside of a masked encoder."""

import torch
from torch import nn

from modicum.nn import vision_transformer


def test_positions_of_a_fresh_transformer_are_sines_and_cosines_with_a_class_row_of_zeros():
    table = vision_transformer(image_size=32, patch_size=8, width=16, depth=1, heads=2).pos_embed.detach()[0]
    assert table.shape == (17, 16)
    assert not table[0].any()
    # A quarter of the features is a sine of one coordinate, the next its cosine, and both again for the other one.
    parts = table[1:].unflatten(1, (2, 2, 4))
    torch.testing.assert_close(parts[:, :, 0] ** 2 + parts[:, :, 1] ** 2, torch.ones(16, 2, 4))


def test_position_embeddings_do_not_come_from_memory_that_nobody_wrote(monkeypatch):
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: empty(*shape, **options).fill_(torch.nan))
    made = vision_transformer(image_size=16, patch_size=8, width=16, depth=1, heads=2)
    assert isinstance(made.pos_embed, nn.Parameter)
    assert all(tensor.isfinite().all() for tensor in made.state_dict().values())
