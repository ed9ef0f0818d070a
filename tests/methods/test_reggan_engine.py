"""RegGAN's stage in the engine: trained as by a plain loop, and going on after a kill."""

import numpy as np
import pytest
import torch
from reggan_loop import BASES, SIDE, TINY, noise, optimizers_of, pairs, step

from modicum.data.sampling import epoch_order
from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.errors import ResourceError
from modicum.methods.reggan import TRAINING, RegGanConfig, RegGanStage
from modicum.tasks import Classification


class Paused(RegGanStage):
    """Stops at a given step of the generators."""

    stop_at = -1
    steps = 0

    def generator_losses(self, batch):
        self.steps += 1
        if self.steps == self.stop_at:
            raise ResourceError("the power is gone", "")
        return super().generator_losses(batch)


def in_engine(stage: RegGanStage, folder, count: int = 12, **changed) -> StageTrainer:
    """The engine's trainer on random pairs in memory, with the published settings but for their length."""
    images, targets = (noise(count, 1, SIDE, SIDE, seed=seed).numpy() for seed in (0, 1))
    rows = np.arange(count)
    data = StageData(
        {"image": Stored(images.__getitem__, rows[None])},
        {"target": targets},
        rows,
        rows[:0],
        np.zeros(count, np.int64),
    )
    settings = {
        **TRAINING,
        "image_size": SIDE,
        "epochs": 2,
        "batch_size": 3,
        "checkpoint_steps": 3,
        **changed,
    }
    task = Classification("multi-class", ["a", "b"])  # scores nothing: there are no rows to validate on
    return StageTrainer(
        stage, make_recipe("data", "full", settings), RunFolder(folder), data, task, torch.device("cpu")
    )


@pytest.mark.parametrize(
    ("base", "mode"), [("resnet", "nc+r"), *((base, "c") for base in BASES), ("unit", "nc+r")]
)
def test_the_engine_trains_it_as_the_plain_loop_and_goes_on_after_a_kill_bit_by_bit(base, mode, tmp_path):
    def fresh() -> Paused:
        torch.manual_seed(0)
        return Paused(RegGanConfig(mode=mode, base=base, **TINY, pool_size=4), (SIDE, SIDE))

    whole, killed, again = fresh(), fresh(), fresh()
    in_engine(whole, tmp_path / "whole").run()
    killed.stop_at = 8
    with pytest.raises(ResourceError, match="power"):
        in_engine(killed, tmp_path / "killed").run()
    in_engine(again, tmp_path / "killed").run()
    assert (whole.steps, again.steps) == (8, 2)  # from the checkpoint of step 6
    states = whole.state_dict(), again.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    if (base, mode) == ("resnet", "nc+r"):
        plain, images, targets = fresh(), noise(12, 1, SIDE, SIDE), noise(12, 1, SIDE, SIDE, seed=1)
        optimizers = optimizers_of(plain, TRAINING["lr"])
        for epoch in range(2):
            for rows in epoch_order(np.zeros(12, np.int64), seed=0, epoch=epoch).reshape(-1, 3):
                step(plain, {"image": images[rows], "target": targets[rows]}, optimizers)
        # By what they do: a bias in front of a norm has no gradient but rounding, of which Adam makes whole steps.
        batch = pairs()
        for outputs in (RegGanStage.forward, RegGanStage.displacement):
            expected, untrained = outputs(plain, batch), outputs(fresh(), batch)
            assert (outputs(whole, batch) - expected).abs().max() < 0.02 * (untrained - expected).abs().max()


def test_pairs_are_moved_alike_with_any_number_of_loader_processes(tmp_path):
    """Acceptance check 8: what a pair is moved by follows from seed, epoch and step."""
    learned = []
    for workers in (0, 2):
        torch.manual_seed(0)
        stage = RegGanStage(RegGanConfig(**TINY), (SIDE, SIDE))
        moved = [{"name": "misalign", "level": 5}]
        in_engine(stage, tmp_path / str(workers), augment=moved, workers=workers, epochs=1).run()
        learned.append(stage.state_dict())
    assert all(torch.equal(value, learned[1][name]) for name, value in learned[0].items())
    torch.manual_seed(0)
    still = RegGanStage(RegGanConfig(**TINY), (SIDE, SIDE))
    in_engine(still, tmp_path / "still", epochs=1).run()
    assert any(not torch.equal(value, learned[0][name]) for name, value in still.state_dict().items())


def test_the_anchor_goes_on_after_a_kill_bit_by_bit(tmp_path):
    def fresh() -> Paused:
        torch.manual_seed(0)
        return Paused(RegGanConfig(anchor_weight=0.4, **TINY), (SIDE, SIDE))

    whole, killed, again = fresh(), fresh(), fresh()
    in_engine(whole, tmp_path / "whole").run()
    killed.stop_at = 8
    with pytest.raises(ResourceError, match="power"):
        in_engine(killed, tmp_path / "killed").run()
    in_engine(again, tmp_path / "killed").run()
    assert whole.mean_displacement.abs().max() > 0
    states = whole.state_dict(), again.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
