"""LesionPaste against the figures of its specification, and the defects of its release."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from modicum.errors import InputError
from modicum.transforms import LesionAugmentation, LesionBank, LesionPaste, LesionRule
from modicum.transforms.lesion_draws import NO_AUGMENTATION, Organ, PasteDraws, Pastes, usual_rules
from modicum.transforms.lesion_paste import disc, recoloured

SIDE = 64


def ellipses(places, radii=(3, 2), side=SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    marked = [((x - cx) / radii[0]) ** 2 + ((y - cy) / radii[1]) ** 2 <= 1 for cx, cy in places]
    return np.any(marked, axis=0)[None] if marked else np.zeros((1, side, side), bool)


def image(value=0.2, side=SIDE, channels=3) -> torch.Tensor:
    return torch.full((1, channels, side, side), value)


@pytest.fixture(scope="module")
def bank() -> LesionBank:
    masks = {
        "MA": ellipses([(10 + 8 * i, 10) for i in range(6)]),
        "HE": ellipses([(12, 40), (30, 40)], (4, 3)),
        "EX": ellipses([(50, 50)]),
        "SE": ellipses([(20, 55)]),
    }
    return LesionBank.from_masks(image(), masks)


# --- the bank ---------------------------------------------------------------------------------------------------------


def test_components_are_those_of_scipy_with_eight_neighbours_and_bring_no_neighbour_along():
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 2:5, 2:5] = True
    mask[0, 5, 5] = True  # touches by a corner
    mask[0, 10, 2:15] = mask[0, 10:15, 14] = True  # an L around the next one
    mask[0, 12, 8] = True
    labels, count = ndimage.label(mask[0], np.ones((3, 3)))
    made = LesionBank.from_masks(image(0.5, 20), {"lesion": mask})
    assert len(made) == count == 3
    supports = [made.patch(n)[1].numpy() for n in range(count)]
    assert sorted(s.sum() for s in supports) == sorted((labels == n).sum() for n in range(1, count + 1))
    pixels, support = made.patch(1)
    assert support.shape == (5, 13)
    assert not pixels[:, ~support].any(), "what else lies in the box is black"


def test_every_lesion_is_drawn_and_a_single_one_works(bank):
    draws = PasteDraws(bank, [LesionRule()] * 4)
    found = draws.draw(range(60), (SIDE, SIDE), [Organ((SIDE, SIDE))] * 60)
    assert set(found.lesion) == set(range(len(bank))), "the release never draws the first of a type"
    assert draws.counts(2) == (1, 1)


def test_dark_lesions_are_kept_and_empty_types_are_left_out_with_a_notice(capsys):
    black = LesionBank.from_masks(image(0.0), {"MA": ellipses([(20, 20)]), "HE": ellipses([])})
    assert black.types == ("MA",)
    assert int(black.support.sum()) == ellipses([(20, 20)]).sum(), "the release loses black pixels"
    assert "'HE'" in "".join(capsys.readouterr())


def test_a_bank_of_several_images_pastes_as_many_as_one_image_has():
    two = LesionBank.from_masks(
        torch.cat([image(), image()]),
        {"MA": np.concatenate([ellipses([(10, 10), (30, 30)]), ellipses([(20, 20), (40, 40)])])},
    )
    assert two.per_image(0) == 2
    assert PasteDraws(two, [LesionRule()]).counts(0) == (3, 3)


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (image(), {"MA": ellipses([])}, "mark no lesion"),
        (image(), {"MA": ellipses([(5, 5)], side=32)}, "its height and width"),
        (image(float("nan")), {"MA": ellipses([(20, 20)])}, "NaN"),
    ],
)
def test_what_is_no_bank_is_refused_in_one_line(images, masks, words):
    with pytest.raises(InputError, match=words) as error:
        LesionBank.from_masks(images, masks)
    assert "\n" not in str(error.value)


# --- how many, and where ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(bank) -> tuple[PasteDraws, Pastes]:
    draws = PasteDraws(bank, usual_rules(bank))
    return draws, draws.draw(range(2000), (512, 512), [Organ((512, 512))] * 2000)


def test_severity_decides_which_types_an_image_gets(many):
    _, found = many
    shares = [(found.severity <= 80).mean(), ((found.severity > 80) & (found.severity <= 90)).mean()]
    for share, expected in zip(shares, (81 / 101, 10 / 101), strict=True):
        assert abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / 2000)
    kind = found_kinds(many)
    for severity, types in ((80, {0}), (81, {0, 1}), (91, {0, 1, 2}), (96, {0, 1, 2, 3})):
        images = np.flatnonzero(found.severity == severity)
        assert len(images)
        assert all(set(kind[found.image == one]) == types for one in images)


def found_kinds(many) -> np.ndarray:
    draws, found = many
    return draws.bank.of_type[found.lesion]


def test_counts_are_uniform_between_their_limits(many):
    draws, found = many
    counts = np.bincount(found.image[found_kinds(many) == 0], minlength=2000)
    assert draws.counts(0) == (3, 9)
    assert (counts.min(), counts.max()) == (3, 9)
    assert stats.chisquare(np.bincount(counts)[3:]).pvalue > 0.001
    drawn = np.bincount(found.lesion[found_kinds(many) == 0])
    assert stats.chisquare(drawn).pvalue > 0.001, "every component alike"


def test_middles_are_uniform_over_the_disc(many):
    _, found = many
    kind = found_kinds(many)
    away = np.hypot(*(found.centre - 256).T)
    for number, margin in enumerate((10, 20, 20, 15)):
        radius = 256 - margin
        inside = away[kind == number]
        assert inside.max() <= radius
        assert abs((inside < radius / np.sqrt(2)).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(inside)), (
            "half the area"
        )


def test_images_and_types_have_streams_of_their_own(bank):
    draws = PasteDraws(bank, [LesionRule()] * 4)
    organs = [Organ((512, 512))] * 201
    found = draws.draw(range(201), (512, 512), organs)
    kind = bank.of_type[found.lesion]
    first = {
        number: np.array([found.centre[(found.image == i) & (kind == number)][0, 0] for i in range(201)])
        for number in (0, 1)
    }
    # In the release HE of an image repeats the random numbers of MA of the next one.
    assert abs(np.corrcoef(first[0][1:], first[1][:-1])[0, 1]) < 0.2
    alone = draws.draw([7], (512, 512), organs[:1])
    assert np.array_equal(alone.centre, found.centre[found.image == 7])


def test_an_organ_keeps_its_distance_and_where_there_is_none_nothing_is_pasted():
    mask = np.zeros((40, 60), bool)
    mask[5:35, 10:50] = True
    points = Organ((40, 60), mask).points(np.random.default_rng(0), 2000, 4.0)
    assert points[:, 0].min() >= 13
    assert points[:, 1].max() <= 31
    assert len(np.unique(points, axis=0)) > 600
    assert len(Organ((40, 60), np.zeros((40, 60), bool)).points(np.random.default_rng(0), 5, 4.0)) == 0


def test_rules_follow_how_common_unknown_types_are():
    masks = {"nodule": ellipses([(10, 10)]), "opacity": ellipses([(30, 30), (45, 45), (50, 10)])}
    rules = usual_rules(LesionBank.from_masks(image(), masks))
    assert [rule.above for rule in rules] == [80, -1]
    with pytest.raises(InputError, match="no lesion of type 'cyst'"):
        usual_rules(LesionBank.from_masks(image(), masks), {"cyst": LesionRule()})


# --- pasting ----------------------------------------------------------------------------------------------------------


def one_paste(bank, lesion=0, centre=(30, 30), blend=0.7, inverse=None, size=None) -> Pastes:
    height, width = int(bank.heights[lesion]), int(bank.widths[lesion])
    return Pastes(
        image=np.zeros(1, int),
        rank=np.zeros(1, int),
        lesion=np.array([lesion]),
        centre=np.array([centre]),
        inverse=np.eye(2)[None] if inverse is None else inverse,
        extent=np.array([[width / 2, height / 2]]) if size is None else size,
        colour=np.array([[1.0, 1, 1, 1, 0, 0, 0]]),
        blend=np.array([blend]),
        severity=np.zeros(1, int),
    )


@pytest.mark.parametrize("radii", [(9, 3), (3, 9), (4, 4)])
def test_a_paste_is_the_formula_where_the_lesion_is_and_nothing_elsewhere(radii):
    generator = torch.Generator().manual_seed(0)
    source, normal = (torch.rand(1, 3, SIDE, SIDE, generator=generator) for _ in range(2))
    mask = ellipses([(30, 34)], radii)
    bank = LesionBank.from_masks(source, {"lesion": mask})
    made = LesionPaste(bank, keep_inside=False).paste(normal, one_paste(bank, centre=(20, 40)))
    rows, columns = np.nonzero(made.mask[0].numpy())
    assert abs(rows.mean() - 40) <= 0.5
    assert abs(columns.mean() - 20) <= 0.5, "the release swaps width and height here"
    assert len(rows) == mask.sum()
    outside = (made.mask == 0)[:, None].expand_as(normal)
    assert torch.equal(made.image[outside], normal[outside])
    expected = 0.7 * source[0, :, rows - 6, columns + 10] + 0.3 * normal[0, :, rows, columns]
    assert torch.allclose(made.image[0, :, rows, columns], expected, atol=1 / 255)


@pytest.mark.parametrize(("blend", "value"), [(1.0, 0.8), (0.0, 0.2)])
def test_a_share_of_one_is_a_hard_paste_and_of_nothing_gives_the_image(blend, value):
    bank = LesionBank.from_masks(image(0.8), {"lesion": ellipses([(30, 30)], (6, 4))})
    paste = LesionPaste(bank, blend=blend, augmentation=NO_AUGMENTATION)
    normal = image(0.2).repeat(3, 1, 1, 1)
    made = paste(normal, torch.arange(3))
    assert (made.mask > 0).any()
    assert torch.allclose(made.image[:, 0][made.mask > 0], torch.tensor(value))
    assert blend or torch.equal(made.image, normal), "then no classifier can tell them apart"


def test_what_is_cut_by_the_border_and_later_lesions_over_earlier_ones(bank):
    paste = LesionPaste(bank, keep_inside=False)
    corner = paste.paste(image(), one_paste(bank, centre=(0, 63), blend=1.0))
    assert corner.mask[0, 63, 0] == 1
    assert 0 < int((corner.mask > 0).sum()) < int(bank.patch(0)[1].sum())
    two = [one_paste(bank, lesion, (30, 30), 0.5) for lesion in (0, 6)]
    joined = {name: np.concatenate([getattr(one, name) for one in two]) for name in vars(two[0])}
    joined["rank"] = np.array([0, 1])
    made = paste.paste(image(0.6), Pastes(**joined))
    assert made.mask[0, 30, 30] == 2
    assert made.image[0, 0, 30, 30].item() == pytest.approx(0.5 * 0.2 + 0.5 * (0.5 * 0.2 + 0.5 * 0.6))


def test_nothing_lies_outside_the_organ(bank):
    made = LesionPaste(bank, rules={"MA": LesionRule(-1, 0.0)})(image().repeat(20, 1, 1, 1), torch.arange(20))
    assert not made.mask[:, ~disc((SIDE, SIDE))].any()
    organ = torch.zeros(20, SIDE, SIDE, dtype=torch.bool)
    organ[:, 20:40, 5:60] = True
    made = LesionPaste(bank)(image().repeat(20, 1, 1, 1), torch.arange(20), organ)
    assert (made.mask > 0).any()
    assert not made.mask[~organ].any()


def test_mask_and_lesion_move_together():
    bank = LesionBank.from_masks(image(0.9), {"lesion": ellipses([(30, 30)], (12, 6))})
    paste = LesionPaste(
        bank,
        blend=1.0,
        augmentation=LesionAugmentation(gamma=(1.0, 1.0), brightness=(1.0, 1.0), shift=0.0, colour=0.0),
    )
    made = paste(torch.zeros(20, 3, SIDE, SIDE), torch.arange(20))
    shown = made.image[:, 0] > 0
    assert torch.equal(shown, made.mask > 0)


def test_areas_shrink_as_the_closed_form_says():
    side = 128
    bank = LesionBank.from_masks(image(0.9, side), {"lesion": ellipses([(60, 60)], (21, 15), side)})
    area = int(bank.patch(0)[1].sum())
    share = []
    for rim in (0.5, 180 / 255):
        paste = LesionPaste(bank, rim=rim, keep_inside=False)
        drawn = paste.draws.draw(range(120), (side, side), [Organ((side, side))] * 120)
        first = {n: v[drawn.rank == 0] if n != "severity" else v for n, v in vars(drawn).items()}
        first["centre"] = np.full_like(first["centre"], side // 2)
        made = paste.paste(torch.zeros(120, 3, side, side), Pastes(**first))
        share.append(float((made.mask > 0).float().mean((1, 2)).mean()) * side * side / area)
    assert share[0] == pytest.approx(0.5625, abs=0.04), "0.75 squared"
    assert share[1] < share[0], "the release's threshold takes the rim away"


def test_the_same_seed_gives_the_same_image_in_any_batch(bank):
    paste = LesionPaste(bank)
    images = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    together = paste(images, torch.tensor([5, 6, 7, 8]))
    alone = paste(images[2:3], torch.tensor([7]))
    assert torch.equal(together.image[2:3], alone.image)
    assert torch.equal(together.mask[2:3], alone.mask)
    assert not torch.equal(together.mask[0], together.mask[1])


def test_colours_change_within_their_limits_and_grey_images_can_be_pasted_into():
    patch = torch.rand(4, 3, 5, 5)
    assert torch.allclose(recoloured(patch, torch.tensor([[1.0, 1, 1, 1, 0, 0, 0]] * 4)), patch, atol=1e-6)
    brighter = recoloured(patch, torch.tensor([[1.0, 1, 1, 1, 0.1, 0, 0]] * 4))
    assert torch.allclose(brighter.amax(1), (patch.amax(1) + 0.1).clamp_max(1), atol=1e-5)
    grey = LesionBank.from_masks(image(0.9, channels=1), {"lesion": ellipses([(30, 30)])})
    assert LesionPaste(grey)(image(channels=1), torch.tensor([0])).image.shape == (1, 1, SIDE, SIDE)
    with pytest.raises(InputError, match="channels"):
        LesionPaste(grey)(image(), torch.tensor([0]))


def test_lesions_of_grey_images_stay_grey_and_coloured_ones_change_their_colour(bank):
    # The release tints each channel by itself: a tint alone then tells pasted images from normal ones.
    made = LesionPaste(bank)(image(0.6).repeat(8, 1, 1, 1), torch.arange(8))
    assert torch.equal(made.image, made.image[:, :1].expand_as(made.image))
    assert made.image[:, 0][made.mask > 0].unique().numel() > 8, "brightness and gamma still vary"
    red = image(0.2)
    red[:, 0] = 0.7
    coloured = LesionPaste(LesionBank.from_masks(red, {"lesion": ellipses([(30, 30)])}))
    drawn = coloured.draws.draw(range(4), (SIDE, SIDE), [Organ((SIDE, SIDE))] * 4).colour
    assert (drawn[:, 5:] != 0).all()
    assert (drawn[:, 1] != drawn[:, 0]).all()


def test_borders_can_fade(bank):
    sharp, soft = (LesionPaste(bank, feather=width, blend=1.0, keep_inside=False) for width in (0, 1))
    pasted = [one.paste(image(0.8), one_paste(bank, 6)) for one in (sharp, soft)]
    assert torch.equal(pasted[0].mask, pasted[1].mask)
    assert pasted[0].image.unique().numel() == 2
    assert pasted[1].image.unique().numel() > 3
