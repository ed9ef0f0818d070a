"""Two processes with half a batch each learn what one learns from the whole, whatever a loss's divisor is."""

from pathlib import Path

import pytest
import torch
from losses_of_a_batch import LOSSES, batch, gradient

from warm_process import launch

SCRIPT = """
import sys, warnings
import torch
warnings.simplefilter("error", FutureWarning)  # of functions that PyTorch is about to drop
from torch import distributed
sys.path.insert(0, {here!r})
from losses_of_a_batch import LOSSES, batch, gradient
distributed.init_process_group("gloo")
rank = distributed.get_rank()
found = {{}}
for name in LOSSES:
    own = {{key: rows[rank * 4 : rank * 4 + 4] for key, rows in batch().items()}}
    mean = gradient(name, own)
    distributed.all_reduce(mean)  # what data-parallel training does with gradients
    found[name] = mean / 2
if rank == 0:
    torch.save(found, {out!r})
distributed.barrier()
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    out = folder / "gradients.pt"
    for done in launch(2, "-c", SCRIPT.format(here=str(Path(__file__).parent), out=str(out))):
        assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out)


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_have_the_gradient_of_the_whole_batch(of_two, name):
    torch.testing.assert_close(of_two[name], gradient(name, batch()), rtol=1e-5, atol=1e-7)
    halves = [gradient(name, {key: rows[part] for key, rows in batch().items()}) for part in HALVES]
    if name != "cross_entropy":  # a plain mean is that of its halves; every other loss here is not
        assert not torch.allclose(sum(halves) / 2, gradient(name, batch()), rtol=1e-3)


HALVES = (slice(0, 4), slice(4, 8))
