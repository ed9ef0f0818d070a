"""Training that ends where nothing was learned is told, kept with the run, and in the report."""

import math

import pytest
import torch
from small_stages import WIDTH, stage_data, trainer
from torch import nn
from torch.nn import functional as F

from modicum.engine.training.chance import near_chance
from modicum.methods import TrainStage, Update


class Coin(TrainStage):
    """Tells three classes apart, or cannot: it does not see the images."""

    name = "coin"
    scored = False

    def __init__(self, blind: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(WIDTH, 3)
        self.blind = blind
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)

    def updates(self):
        return [Update("coin", list(self.parameters()), self.losses)]

    def losses(self, batch):
        seen = batch["features"] * (0 if self.blind else 1)
        return {"classification": F.cross_entropy(self.network(seen), batch["label"])}

    def chance_losses(self, batch_size):
        return {"classification": math.log(3)}


@pytest.mark.parametrize("with_val", [True, False])
@pytest.mark.parametrize("blind", [True, False])
def test_a_loss_that_ends_at_chance_is_told_and_kept(tmp_path, capsys, blind, with_val):
    data = stage_data(val=0) if not with_val else stage_data()
    result = trainer(Coin(blind), tmp_path / "run", data, epochs=4, lr=0.1).run()
    told = capsys.readouterr()
    assert ("1.099 is chance" in told.out + told.err) == blind
    assert ("on validation images" in told.out + told.err) == (blind and with_val)
    near = result.selection.get("near_chance")
    if blind:
        assert near["loss"] == "classification"
        assert near["chance"] == pytest.approx(1.0986, abs=1e-4)
        assert near["value"] >= 0.95 * near["chance"]
    else:
        assert near is None


def test_what_is_learned_by_heart_is_told_by_validation_images(capsys):
    found = near_chance({"paste": 0.3}, {"paste": 0.705}, {"paste": math.log(2)}, "paste")
    assert found == {"loss": "paste", "value": 0.705, "chance": math.log(2)}
    assert near_chance({"paste": 0.69}, {"paste": 0.3}, {"paste": math.log(2)}, "paste") is None
    assert near_chance({"other": 9.0}, {}, {"paste": 0.1}, "paste") is None
