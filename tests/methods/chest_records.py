"""Made radiographs with made reports for MRM: each report names the one finding of its image among words of noise.

The phantoms' own reports would not do: they deny what is absent and repeat what is present, so that a masked finding can
be told from the words around it. Here only the image tells.
"""

import itertools
from functools import cache

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from modicum.data.phantoms.chest import chest
from modicum.data.phantoms.chest_findings import choose_locations
from modicum.data.reports import ReportTokenizer, train_tokenizer
from modicum.methods.mrm import MrmConfig, MrmStage
from modicum.nn import vision_transformer

KINDS: dict[str, frozenset[str]] = {
    "normal": frozenset(),
    "cardiomegaly": frozenset({"cardiomegaly"}),
    "effusion": frozenset({"effusion_left", "effusion_right"}),
    "consolidation": frozenset({"consolidation"}),
}
"""By the word of a report what its radiograph shows."""
NOISE = (
    "chest", "radiograph", "frontal", "view", "compared", "with", "previous", "study", "examination", "of", "the",
    "patient", "today", "for", "follow", "up", "performed", "in", "upright", "position",
)  # fmt: skip
WORDS, LENGTH, SIDE = 3, 6, 64
"""Words of noise in a report, its tokens ([CLS], words, one of padding), and pixels of an image."""
TINY = {
    "decoder_width": 64, "decoder_depth": 1, "decoder_heads": 4, "report_width": 32, "report_depth": 1,
    "report_heads": 4, "report_length": LENGTH, "report_dropout": 0.0,
}  # fmt: skip


@cache
def tokenizer() -> ReportTokenizer:
    """Each word is one token."""
    return train_tokenizer([" ".join([*NOISE, *KINDS])] * 3, vocab_size=500)


@cache
def radiographs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``[count, 1, 64, 64]`` in [0, 1], and which of the four words is right for each; equally many of each.

    Effusions are moderate or large: of a small one, four visible patches of sixteen seldom show anything.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.arange(count) % len(KINDS))
    shown, patients, pictures = list(KINDS.values()), itertools.count(100_000 * seed), []
    for kind in kinds:
        findings = shown[kind]
        patient = next(p for p in patients if "small" not in choose_locations(p, findings).size_of.values())
        pictures.append(chest(patient, SIDE, findings).image)
    return torch.from_numpy(np.stack(pictures)).unsqueeze(1).float() / 255, torch.from_numpy(kinds)


def reports(kinds: Tensor, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Tokens with their mask, and where each report names its finding."""
    rng = np.random.default_rng(seed)
    names, texts, places = list(KINDS), [], []
    for kind in kinds.tolist():
        words = list(rng.choice(NOISE, WORDS))
        place = int(rng.integers(WORDS + 1))
        texts.append(" ".join([*words[:place], names[kind], *words[place:]]))
        places.append(1 + place)
    encoded = tokenizer().encode(texts, LENGTH)
    batch = {"tokens": torch.from_numpy(encoded.tokens), "tokens_mask": torch.from_numpy(encoded.mask)}
    return batch, torch.tensor(places)


def fresh(seed: int) -> MrmStage:
    """A tiny stage: 32-pixel images in patches of 8, four of sixteen visible, which are predicted at 64 pixels."""
    torch.manual_seed(seed)
    body = vision_transformer(image_size=SIDE // 2, patch_size=8, width=64, depth=2, heads=4)
    return MrmStage(MrmConfig(**TINY, mean=(0.43,), std=(0.2,)), body, tokenizer().vocabulary)


def trained(
    images: Tensor, kinds: Tensor, steps: int, seed: int, *, blind: bool = False
) -> tuple[MrmStage, float]:
    """A stage and the mean image loss of its last fifty steps. A blind one learns without being told of the image."""
    stage = fresh(seed)
    if blind:
        stage.network.image_features = lambda tokens: tokens.new_zeros(len(tokens), TINY["report_width"])
    (update,) = stage.updates()
    optimizer = torch.optim.AdamW(update.parameters, lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, last = torch.Generator().manual_seed(seed), []
    for step in range(steps):
        torch.manual_seed(step)
        rows = torch.randint(len(images), (64,), generator=generator)
        losses = update.losses({"image": images[rows], **reports(kinds[rows], 1_000 + step)[0]})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        schedule.step()
        last.append(losses["image"].item())
    return stage.eval(), sum(last[-50:]) / len(last[-50:])


@torch.no_grad()
def named(stage: MrmStage, images: Tensor, kinds: Tensor, told: str = "own", *, masked: bool = True) -> float:
    """Share of masked findings that are guessed right among the four, over four reports of each image.

    Args:
        told: of which image each report is told: its own, another (``shuffled``), or none (``zeroed``).
        masked: whether the encoder sees a quarter of the image, as in training, or all of it.
    """
    findings = [int(tokenizer().encode([name], 3).tokens[0, 1]) for name in KINDS]
    rows, right = torch.arange(len(images)), []
    for draw in range(4):
        noise = stage.noise_at(rows + draw * len(rows))
        batch, place = reports(kinds, 7 + draw)
        seen = stage.views({"image": images})[0]
        kept = stage.mask(noise, torch.device("cpu")).kept if masked else None
        tokens = stage.network.encoder(seen, kept)
        if told == "shuffled":
            tokens = tokens.roll(1 + draw, 0)
        features = stage.network.image_features(tokens)
        if told == "zeroed":
            features = torch.zeros_like(features)
        words = batch["tokens"].clone()
        words[rows, place] = tokenizer().vocabulary.mask
        hidden = stage.network.report(words, batch["tokens_mask"], features)[rows, place]
        right.append(stage.network.report.logits(hidden)[:, findings].argmax(1) == kinds)
    return torch.cat(right).float().mean().item()


@torch.no_grad()
def probed(stage: MrmStage, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Accuracy of a linear probe on the unmasked encoder's pooled features."""

    def features(images: Tensor) -> np.ndarray:
        return stage.network.encoder(stage.views({"image": images})[0])[:, 1:].mean(1).numpy()

    probe = LogisticRegression(max_iter=5_000).fit(features(train[0]), train[1])
    return float(probe.score(features(test[0]), test[1]))
