"""What is said of an old run whose replacement failed: nothing of one that had never learned."""

import pytest

from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.replaced_run import old_run_aside
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError


def fail(recipe, folder):
    with old_run_aside(recipe, folder):
        folder.path.mkdir()
        raise InputError("a mistake", "mend it")


@pytest.mark.parametrize("learned", [True, False])
def test_an_old_run_is_named_only_where_it_had_learned_something(tmp_path, capsys, learned):
    recipe = make_recipe("data", "full", {})
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.recipe.write_text("method: full\n")
    if learned:
        folder.history.write_text("{}\n")
    with pytest.raises(InputError, match="a mistake"):
        fail(recipe, folder)
    assert folder.recipe.read_text() == "method: full\n"
    assert ("the old run 'run' is as it was" in capsys.readouterr().err) == learned
