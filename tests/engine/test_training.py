"""The training loop against hand-written loops, closed forms and scripted validations."""

import copy
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_stages import TASK, Perceptron, Scripted, reader_of, same, stage_data, trainer, weights_of
from torch import nn
from torch.nn import functional as F

from modicum.data.sampling import epoch_order
from modicum.engine.checkpoint import newest_checkpoint
from modicum.engine.inputs.batches import loader
from modicum.engine.training.stage_module import StageModule
from modicum.errors import InputError


def epochs_of(folder):
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "epoch"]


def steps_of(folder):
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "step"]


def images_in(data):
    """The training images in the order in which they were shown."""
    return [image for batch in reader_of(data).training(data) for image in batch]


@pytest.mark.parametrize("fused", [True, False])
def test_equals_a_hand_written_loop(tmp_path, fused):
    """Bit for bit with the same AdamW, closely with the one of plain loops of operations."""
    data, stage = stage_data(), Perceptron()
    network = copy.deepcopy(stage.network)
    trainer(stage, tmp_path, data, epochs=3, clip_norm=0.3, schedule="constant").run()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.05, fused=fused)
    features, labels = torch.from_numpy(reader_of(data).records), torch.from_numpy(data.targets["label"])
    scores = []
    for epoch in range(3):
        for rows in epoch_order(data.sampling_labels, seed=0, epoch=epoch).reshape(-1, 4):
            optimizer.zero_grad()
            F.cross_entropy(network(features[rows]), labels[rows]).backward()
            assert nn.utils.clip_grad_norm_(network.parameters(), 0.3) > 0.3
            optimizer.step()
        with torch.no_grad():
            outputs = network(features[data.val_rows])
        scores.append(F.cross_entropy(outputs, labels[data.val_rows]).item())
    assert [record["val"]["loss"] for record in epochs_of(tmp_path)] == pytest.approx(scores, rel=1e-5)
    learned = newest_checkpoint(tmp_path / "checkpoints", "tune").tensors["learned"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(learned[f"network.{name}"], value, atol=0 if fused else 1e-6, rtol=0)


def test_accumulated_batches_step_like_one_large_batch(tmp_path):
    whole, parts = stage_data(), stage_data()
    stages = [Perceptron(), Perceptron()]
    trainer(stages[0], tmp_path / "a", whole, batch_size=8, epochs=3, clip_norm=0.3).run()
    trainer(stages[1], tmp_path / "b", parts, batch_size=4, accumulate=2, epochs=3, clip_norm=0.3).run()
    for one, other in zip(stages[0].parameters(), stages[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert images_in(whole) == images_in(parts)
    assert [s["lr"] for s in steps_of(tmp_path / "a")] == [s["lr"] for s in steps_of(tmp_path / "b")]


def test_a_group_cut_short_by_the_epochs_end_is_a_step_of_its_own(tmp_path):
    """Five batches accumulated by two are three steps, the last of one batch with its full gradient."""
    data, stage = stage_data(train=20), Perceptron()
    network = copy.deepcopy(stage.network)
    settings = {"accumulate": 2, "epochs": 1, "optimizer": "sgd", "momentum": 0, "weight_decay": 0}
    result = trainer(stage, tmp_path, data, clip_norm=0, schedule="constant", **settings).run()
    assert result.time["steps"] == 3
    features, labels = torch.from_numpy(reader_of(data).records), torch.from_numpy(data.targets["label"])
    order = epoch_order(data.sampling_labels, seed=0, epoch=0)
    for rows in (order[:8], order[8:16], order[16:]):
        network.zero_grad()
        F.cross_entropy(network(features[rows]), labels[rows]).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 1e-2 * parameter.grad
    for one, other in zip(network.parameters(), stage.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("images", [1, 3, 4, 7, 8, 21])
def test_the_batches_counted_are_the_batches_drawn(tmp_path, images):
    data = stage_data(train=images)
    run = trainer(Perceptron(), tmp_path, data, epochs=2)
    result = run.run()
    drawn = reader_of(data).training(data)
    assert len(drawn) == result.time["epochs"] * run.module.batches_per_epoch() == result.time["steps"]
    assert {len(batch) for batch in drawn} == {min(images, 4)}


def test_balanced_sampling_is_visible_in_the_batches(tmp_path):
    data = stage_data(train=120, shares=(10, 1, 1))
    labels = data.targets["label"]
    assert np.bincount(labels[data.train_rows])[0] == 100
    trainer(Perceptron(), tmp_path, data, epochs=8, sampling="balanced").run()
    drawn = np.bincount(labels[images_in(data)]) / (8 * 120)
    assert drawn == pytest.approx([1 / 3] * 3, abs=0.06)  # four standard deviations of 960 draws


def test_same_recipe_same_weights_and_another_seed_others(tmp_path):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        stage = Perceptron()
        trainer(stage, tmp_path / str(number), epochs=2, seed=seed, ema_decay=0.5).run()
        found.append(weights_of(stage))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_batches_are_the_same_in_any_process_and_in_any_order():
    data = stage_data()
    batches = data.in_order(data.train_rows, 8)
    elsewhere = pickle.loads(pickle.dumps(batches))
    for number in reversed(range(len(batches))):
        assert same(batches[number], elsewhere[number])


@pytest.mark.slow
def test_loader_processes_change_nothing():
    data = stage_data()
    batches = data.in_order(data.train_rows, 8)
    for alone, helped in zip(loader(batches, 0, pin=False), loader(batches, 1, pin=False), strict=True):
        assert same(alone, helped)


def test_averaged_weights_are_the_ones_selected(tmp_path):
    path = []

    class Watched(Perceptron):
        def validate(self, batch):
            if self.training:
                path.append(weights_of(self.network))
            return super().validate(batch)

    stage = Watched()
    run = trainer(stage, tmp_path, epochs=3, ema_decay=0.8)
    run.run()
    steps = run.module.progress.best["step"]
    path.append(None)  # the weights after the last step were never used
    average, decays = path[0], [min(0.8, (1 + n) / (10 + n)) for n in range(steps)]
    if steps == len(path) - 1:
        learned = newest_checkpoint(tmp_path / "checkpoints", "tune").tensors["learned"]
        path[-1] = {name.removeprefix("network."): value for name, value in learned.items()}
    for n, decay in enumerate(decays):
        average = {name: decay * average[name] + (1 - decay) * path[n + 1][name] for name in average}
    for name, value in stage.network.state_dict().items():
        torch.testing.assert_close(value, average[name])


def test_averaged_weights_without_validation_survive_a_kill_at_the_end(tmp_path):
    data = stage_data(val=0)
    stage, again = Perceptron(), Perceptron()
    trainer(stage, tmp_path, data, ema_decay=0.9).run()
    trainer(again, tmp_path, data, ema_decay=0.9).run()  # finds the finished checkpoint
    assert same(weights_of(stage), weights_of(again))


def test_early_stopping_keeps_the_best_and_stops_after_patience(tmp_path):
    stage = Scripted([3, 2, 1, 5, 1, 0, 0])
    result = trainer(stage, tmp_path, epochs=7, monitor="loss", patience=2).run()
    assert result.time["epochs"] == 5
    assert result.selection == {
        "metric": "loss",
        "mode": "min",
        "split": "val",
        "value": 1.0,
        "epoch": 3,
        "step": 18,
    }
    assert stage.weight.item() == stage.at_validation[2]
    assert [record["val"]["loss"] for record in epochs_of(tmp_path)] == [3, 2, 1, 5, 1]


def test_a_metric_that_is_not_a_number_never_selects(tmp_path):
    nan = float("nan")
    stage = Scripted([nan, 2, nan, 1, nan])
    result = trainer(stage, tmp_path / "some", epochs=5, monitor="loss").run()
    assert (result.selection["value"], result.selection["epoch"]) == (1.0, 4)
    assert stage.weight.item() == stage.at_validation[3]
    stage = Scripted([nan] * 3)
    result = trainer(stage, tmp_path / "none", epochs=3, monitor="loss").run()
    assert result.selection == {"metric": None, "epoch": 3, "step": 18}
    assert stage.weight.item() == stage.at_validation[-1]


def test_a_stage_without_validation_losses_has_no_loss_to_select_by(tmp_path):
    class Silent(Scripted):
        def validate(self, batch):
            return self(batch), {}

    result = trainer(Silent([]), tmp_path, epochs=2, monitor="loss").run()
    assert result.selection["metric"] is None


def test_validation_every_other_epoch_and_at_the_end(tmp_path):
    trainer(Scripted([3, 2, 1]), tmp_path, epochs=5, validate_every=2).run()
    assert [record["epoch"] for record in epochs_of(tmp_path) if "val" in record] == [2, 4, 5]


@pytest.mark.parametrize("cause", ["learning rate", "images"])
def test_a_diverging_run_says_so_in_one_line(tmp_path, cause):
    data = stage_data()
    if cause == "images":
        reader_of(data).records[7] = np.nan
    settings = {"lr": 1e30, "clip_norm": 0, "optimizer": "sgd"} if cause == "learning rate" else {}
    with pytest.raises(
        InputError, match=r"loss 'classification' became (nan|inf) near step \d+; lower the l"
    ):
        trainer(Perceptron(), tmp_path, data, epochs=6, **settings).run()


def test_bfloat16_trains_on_the_cpu_with_class_weights(tmp_path):
    data, stage = stage_data(shares=(3, 2, 1)), None
    targets = {"label": data.targets["label"][data.train_rows]}
    stage = Perceptron(TASK.loss(targets, {"class_weights": "balanced", "label_smoothing": 0.1}))
    trainer(stage, tmp_path, data, epochs=2, precision="bf16").run()
    losses = [record["losses"]["classification"] for record in steps_of(tmp_path)]
    assert np.isfinite(losses).all()
    assert all(parameter.dtype == torch.float32 for parameter in stage.parameters())


def test_a_stage_starts_in_training_mode_whatever_was_before(tmp_path):
    modes = []

    class Watched(Perceptron):
        def validate(self, batch):
            modes.append(self.network[1].training)
            return super().validate(batch)

    stage = Watched()
    stage.eval()
    trainer(stage, tmp_path, stage_data(val=0), epochs=1).run()
    assert modes == [True] * 6


def test_memory_account_after_accumulation_holds_the_optimisers_state(tmp_path):
    stage = Perceptron()
    result = trainer(stage, tmp_path, epochs=1, accumulate=2, ema_decay=0.9).run()
    learned = 4 * (5 * 8 + 8 + 8 * 3 + 3)
    # Two moments, four step counters, the average.
    assert result.memory["optimizer_bytes"] == 2 * learned + 4 * 4 + learned
    # First layer's input, tanh's output (also the next layer's input), log-softmax's output, labels, a total weight.
    activations = 4 * (4 * 5 + 4 * 8 + 4 * 3) + 8 * 4
    assert activations <= result.memory["activations_bytes"] <= activations + 8
    assert result.memory["peak_bytes"] == sum(
        result.memory[f"{part}_bytes"] for part in ("weights", "gradients", "optimizer", "activations")
    )
    assert result.memory["weights_bytes"] == result.memory["gradients_bytes"] == learned
    assert 0 <= result.time["data_wait_share"] <= 1
    assert result.time["images_per_second"] * result.time["train_seconds"] == pytest.approx(24)


def test_a_probe_reaches_the_optimum_that_scikit_learn_finds(tmp_path):
    from sklearn.linear_model import LogisticRegression

    from modicum.methods.linear import ProbeStage

    data = stage_data(train=60, val=0)
    reader_of(data).records[:] += 2 * np.random.default_rng(1).normal(
        size=reader_of(data).records.shape
    ).astype(np.float32)
    features, labels = reader_of(data).records, data.targets["label"]
    stage = ProbeStage(nn.Linear(5, 3), TASK.loss({}, {}))
    trainer(stage, tmp_path, data, epochs=150, batch_size=60, lr=0.3, weight_decay=0, clip_norm=0).run()
    theirs = LogisticRegression(C=np.inf, max_iter=1000).fit(features, labels)
    optimum = -np.log(theirs.predict_proba(features)[np.arange(60), labels]).mean()
    assert optimum > 0.1  # the classes overlap
    assert optimum - 1e-6 < epochs_of(tmp_path)[-1]["train"]["loss"] < optimum + 1e-3


@pytest.mark.parametrize(
    ("frozen", "expected"), [(True, "1 frozen tensors have values"), (False, "lower the learning rate")]
)
def test_a_loss_that_is_not_a_number_is_told_from_weights_that_came_so(frozen, expected):
    stage = torch.nn.Linear(2, 2).requires_grad_(not frozen)
    with torch.no_grad():
        stage.weight[0, 0] = float("nan")
    module = SimpleNamespace(stage=stage, progress=SimpleNamespace(step=3), settings=SimpleNamespace(lr=0.1))
    assert expected in str(StageModule._diverged(module, "classification", float("nan")))
