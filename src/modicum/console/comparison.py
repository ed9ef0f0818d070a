"""A comparison as a table on the terminal, and parsing of its options."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from modicum.comparison.results import Comparison
from modicum.comparison.table import Column, columns, rows_of
from modicum.errors import InputError


def comparison_table(done: Comparison, console: Console) -> Table:
    """The table of a comparison with the columns that fit the terminal; ``table.md`` has all columns.

    Methods that no other one beats in both score and memory are bold.
    """
    every = columns(done.measure)
    whole = _table(done, every)
    if Measurement.get(console, console.options, whole).maximum < console.width:
        return whole
    return _table(done, [column for column in every if column.essential])


def _table(done: Comparison, shown_columns: list[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = rows_of(done.table)
    for column in shown_columns:
        # Headings may break; cells do not.
        width = max(len(column.text(row)) for row in rows)
        table.add_column(column.title, justify="right" if column.numeric else "left", min_width=width)
    for row in rows:
        cells = (Text(column.text(row), no_wrap=True) for column in shown_columns)
        table.add_row(*cells, style="bold" if row["pareto"] else "")
    return table


def learning_rates(rates: str | None) -> list[float]:
    """Parses learning rates separated by commas. Raises :class:`~modicum.errors.InputError` if one is not a number."""
    try:
        return [float(rate) for rate in (rates or "").split(",") if rate.strip()]
    except ValueError as error:
        raise InputError(
            f"--lr '{rates}' is not a list of numbers", "pass for instance --lr 1e-4,1e-3"
        ) from error
