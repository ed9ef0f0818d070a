"""The study: Optuna's tree-structured Parzen estimator, in a journal of JSON lines that a kill cannot spoil.

Proposals depend on the seed, the trial's number and the trials that have ended, and on nothing else: a search that was
stopped goes on as if it had not been.

Sources: Bergstra et al., Algorithms for Hyper-Parameter Optimization (NeurIPS 2011); Akiba et al., Optuna (KDD 2019).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.errors import InputError
from modicum.tuning.space import Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

JOURNAL = "study.journal"
NAME = "search"


class Study:
    """A study in a folder; made or opened.

    Args:
        folder: of the search.
        space: what is searched.
        seed: of the proposals.
        maximise: whether more of the metric is better.

    Raises:
        InputError: Optuna is not installed.
    """

    def __init__(self, folder: Path, space: Sequence[Dimension], seed: int, maximise: bool) -> None:
        self._optuna = imported_optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        self._seed = seed
        self.direction = "maximize" if maximise else "minimize"
        self._distributions = {one.key: self._distribution(one) for one in space}
        path = str(folder / JOURNAL)
        self._study = self._optuna.create_study(
            storage=JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))),
            study_name=NAME,
            direction=self.direction,
            load_if_exists=True,
        )

    def _distribution(self, dimension: Dimension) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if dimension.choices is not None:
            return CategoricalDistribution(list(dimension.choices))
        assert dimension.low is not None
        assert dimension.high is not None
        if dimension.whole:
            return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)

    @property
    def trials(self) -> list["FrozenTrial"]:
        """All trials, by number."""
        return list(self._study.get_trials(deepcopy=False))

    def unfinished(self) -> list["FrozenTrial"]:
        """Trials that were proposed and have not ended: a search was stopped in them."""
        return [trial for trial in self.trials if not trial.state.is_finished()]

    def propose(self) -> "FrozenTrial":
        """A new trial: its number and its values by key."""
        number = len(self.trials)
        state = np.random.SeedSequence([self._seed, number]).generate_state(1)
        self._study.sampler = self._optuna.samplers.TPESampler(seed=int(state[0]), constant_liar=True)
        trial = self._study.ask(dict(self._distributions))
        return next(one for one in self.trials if one.number == trial.number)

    def tell(self, number: int, value: float | None) -> None:
        """How a trial ended: the metric's value on validation, or None where it failed."""
        state = self._optuna.trial.TrialState
        if value is None:
            self._study.tell(number, state=state.FAIL)
        else:
            self._study.tell(number, value)

    def best(self) -> "FrozenTrial | None":
        """The best trial that has ended; None without any."""
        if not any(trial.value is not None for trial in self.trials):
            return None
        return self._study.best_trial


def imported_optuna() -> Any:
    """Optuna, which is quiet. Raises :class:`InputError` where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "a search needs Optuna", "pip install 'modicum[tune]', and give the same command again"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
