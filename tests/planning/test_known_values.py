"""Values of small tensors beside an execution without values, and what code sees that asks for others."""

import pytest
import torch
from torch import distributions
from torch.distributions import Beta, Categorical, Dirichlet, Normal

from modicum.planning.dry_run import FakeCPU
from modicum.planning.known_values import MOST_QUESTIONS, KnownValues
from modicum.planning.simulated_gpu import SimulatedGPU

DEVICES = {"cpu": FakeCPU, "cuda": SimulatedGPU}


@pytest.fixture(params=DEVICES)
def device(request):
    return DEVICES[request.param]()


def known(values, device, value):
    """A tensor on the device that holds a value, as the loader's are."""
    return torch.as_tensor(value).to(device.place, copy=True)


def unknown(device, *shape, **options):
    return torch.empty(shape, device=device.place, **options)


def test_what_follows_from_known_values_is_known(device):
    with device, KnownValues() as values:
        labels = known(values, device, [2, 0, 2, 1])
        counts = torch.bincount(labels, minlength=4)
        assert counts.tolist() == [1, 1, 2, 0]
        assert labels.unique().shape == (3,)
        assert (labels == 2).nonzero().flatten().tolist() == [0, 2]
        assert torch.nn.functional.one_hot(labels).shape == (4, 3)
        assert torch.split(torch.arange(4, device=labels.device), counts[counts > 0].tolist())[
            2
        ].tolist() == [2, 3]


def test_a_known_mask_selects_of_what_is_not_known(device):
    with device, KnownValues() as values:
        features = unknown(device, 4, 6, requires_grad=True)
        values.forget(features)
        mask = known(values, device, [True, False, True, True])
        assert features[mask].shape == (3, 6)
        assert torch.masked_select(features, mask[:, None]).shape == (18,)
        assert torch.where(mask[:, None], features, 0).shape == (4, 6)
        features[mask].square().sum().backward()
        assert features.grad.shape == (4, 6)


def test_views_and_writes_are_followed_and_a_write_of_the_unknown_is_forgotten(device):
    with device, KnownValues() as values:
        table = known(values, device, [[1, 2, 3], [4, 5, 6]])
        column = table[:, 1]
        column.add_(10)
        assert table.flatten().tolist() == [1, 12, 3, 4, 15, 6]
        assert column.tolist() == [12, 15]
        other = unknown(device, 2, dtype=torch.int64)
        values.forget(other)
        table[:, 0] = other
        assert values.values(table) is None
        assert values.values(column) is None


def test_parts_of_an_ordinary_tensor_are_each_known(device):
    ordinary = torch.tensor([[1, 2], [3, 4]])
    with device, KnownValues():
        first, second = ordinary.unbind()
        assert first.tolist() == [1, 2]
        assert second.tolist() == [3, 4]


def test_draws_are_those_of_pytorchs_generator(device):
    torch.manual_seed(3)
    expected = torch.rand(5), torch.randperm(4)
    torch.manual_seed(3)
    with device, KnownValues() as values:
        drawn = torch.rand(5), torch.randperm(4)
        held = [values.values(one) for one in drawn]
    assert all(torch.equal(one, other) for one, other in zip(held, expected, strict=True))


def test_unknown_values_are_such_that_all_is_well(device):
    with device, KnownValues() as values:
        images = unknown(device, 2, 3)
        values.forget(images)
        assert (images >= 0).all()
        assert bool((images > 0).all(dim=1)[0])
        assert not images.isnan().any()
        assert images.max().item() == 0.0
        assert torch.equal(images, images.clone())


LAWS = {
    "Beta": lambda a: Beta(a, a),
    "Normal": lambda a: Normal(a, a),
    "Categorical": lambda a: Categorical(logits=a),
    "Dirichlet": lambda a: Dirichlet(a),
    "Gamma": lambda a: distributions.Gamma(a, a),
    "Bernoulli": lambda a: distributions.Bernoulli(probs=a),
    "Poisson": lambda a: distributions.Poisson(a),
    "Binomial": lambda a: distributions.Binomial(10, probs=a),
    "Multinomial": lambda a: distributions.Multinomial(10, a),
    "MultivariateNormal": lambda a: distributions.MultivariateNormal(a, torch.eye(3, device=a.device)),
    "StudentT": lambda a: distributions.StudentT(a),
    "MixtureSameFamily": lambda a: distributions.MixtureSameFamily(Categorical(logits=a), Normal(a, a)),
    "checked": lambda a: Normal(a, a, validate_args=True),
}


@pytest.mark.parametrize("law", LAWS)
def test_distributions_of_what_is_not_known_are_drawn_and_scored(law, device):
    with device, KnownValues() as values:
        parameter = unknown(device, 4, 3, requires_grad=True)
        values.forget(parameter)
        drawn = LAWS[law](parameter)
        sample = drawn.rsample() if drawn.has_rsample else drawn.sample()
        assert sample.shape[0] == 4
        drawn.log_prob(sample).sum().backward()
        assert parameter.grad.shape == (4, 3)


def test_a_distribution_of_known_values_is_drawn_as_it_is():
    torch.manual_seed(0)
    expected = Beta(0.4, 0.4).sample((3,))
    torch.manual_seed(0)
    with FakeCPU(), KnownValues() as values:
        drawn = Beta(0.4, 0.4).sample((3,))
        held = values.values(drawn)
    assert torch.equal(held, expected)


def test_a_wrong_parameter_that_is_known_is_still_refused(device):
    with device, KnownValues(), pytest.raises(ValueError, match="constraint"):
        Beta(torch.tensor([-1.0]), torch.tensor([1.0]))


def test_a_shape_that_depends_on_what_is_not_known_is_refused_by_its_operation(device):
    values = KnownValues()
    with device, values:
        logits = unknown(device, 4)
        values.forget(logits)
        with pytest.raises((RuntimeError, NotImplementedError)) as caught:
            logits[logits > 0]
    assert values.operation_of(caught.value) in {"aten.index", "aten.nonzero"}


def test_a_loop_that_waits_for_a_value_ends(device):
    with device, KnownValues() as values:
        score = unknown(device, 1)
        values.forget(score)
        asked = [score.item() for _ in range(MOST_QUESTIONS)]
        assert not any(asked)
        with pytest.raises(RuntimeError, match="again and again"):
            score.item()
        values.begin_step()
        assert score.item() == 0.0


def test_a_gpus_values_on_the_cpu_are_the_known_ones_or_zeros():
    with SimulatedGPU(), KnownValues() as values:
        features = unknown(SimulatedGPU, 2)
        values.forget(features)
        assert features.cpu().tolist() == [0.0, 0.0]
        assert torch.tensor([1, 2]).to("cuda").cpu().tolist() == [1, 2]
