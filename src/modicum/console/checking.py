"""What came of the checks of a method, as a table."""

from rich.table import Table
from rich.text import Text

from modicum.methods.checks import check_method


def results_table(name: str) -> Table:
    """Runs all checks of a method; a row a check.

    Raises:
        MethodCheckError: a promise is not kept.
    """
    table = Table("check", "result", "what it holds", box=None, pad_edge=False, header_style="bold")
    for result in check_method(name):
        outcome = "passed" if result.passed else f"not applicable: {result.not_applicable}"
        table.add_row(result.check, Text(outcome), Text(result.promise))
    return table
