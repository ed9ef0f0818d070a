"""The study: Optuna's tree-structured Parzen estimator, in a journal of JSON lines that a kill cannot spoil.

Proposals depend on the seed, the trial's number and the trials that have ended, and on nothing else: a search that was
stopped goes on as if it had not been.

Sources: Bergstra et al., Algorithms for Hyper-Parameter Optimization (NeurIPS 2011); Akiba et al., Optuna (KDD 2019).
"""

from collections.abc import Mapping, Sequence
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
STARTUP = 5
"""Trials that go to their end before any is pruned, as in Optuna's ``MedianPruner``."""
STAGE, REQUIRED = "stage", "required_scores"
"""Notes of a trial: the stage whose epochs are compared, and what they must reach."""


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
        self._storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
        self._study = self._optuna.create_study(
            storage=self._storage,
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

    def require(self, number: int) -> None:
        """Notes with a trial what each epoch must reach, by the trials that have ended; see :meth:`required`.

        The rule is that of Optuna's ``MedianPruner``: by the median, over trials that went to their end, of their values
        in the same epoch; of fewer than :data:`STARTUP` trials nothing is required. Kept in the journal, so that a trial
        that is gone on with has the same.
        """
        done = [
            trial for trial in self.trials if trial.state.name == "COMPLETE" and STAGE in trial.user_attrs
        ]
        if len(done) < STARTUP:
            return
        steps = range(1, 1 + max(max(trial.intermediate_values, default=0) for trial in done))
        values = [
            [one for trial in done if np.isfinite(one := trial.intermediate_values.get(step, np.nan))]
            for step in steps
        ]
        scores = [float(np.median(of_step)) if of_step else None for of_step in values]
        trial_id = self._id(number)
        self._storage.set_trial_user_attr(trial_id, STAGE, done[-1].user_attrs[STAGE])
        self._storage.set_trial_user_attr(trial_id, REQUIRED, scores)

    def report(self, number: int, stage: str, values: Mapping[int, float]) -> None:
        """A trial's values on validation by epoch, in the stage that they are of; before :meth:`tell`."""
        trial_id = self._id(number)
        self._storage.set_trial_user_attr(trial_id, STAGE, stage)
        for epoch, value in values.items():
            self._storage.set_trial_intermediate_value(trial_id, epoch, value)

    def _id(self, number: int) -> int:
        return next(trial._trial_id for trial in self.trials if trial.number == number)

    def tell(self, number: int, value: float | None, *, pruned: bool = False) -> None:
        """How a trial ended: the metric's value on validation, or None where it failed.

        Args:
            number: of the trial.
            value: of the weights that it kept.
            pruned: whether it ended before its last epoch, as it fell behind; its last reported value counts then.
        """
        state = self._optuna.trial.TrialState
        if pruned:
            self._study.tell(number, state=state.PRUNED)
        elif value is None:
            self._study.tell(number, state=state.FAIL)
        else:
            self._study.tell(number, value)

    def best(self) -> "FrozenTrial | None":
        """The best trial that went to its end; None without any."""
        if not any(trial.state.name == "COMPLETE" for trial in self.trials):
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
