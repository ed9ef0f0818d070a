"""Tables of an evaluation as files."""

from pathlib import Path

import pandas as pd

from modicum.atomic_files import atomic_file
from modicum.data.table_cells import safe_cells


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table as CSV, or Parquet by its file extension, atomically."""
    with atomic_file(path) as file:
        if path.suffix == ".parquet":
            table.to_parquet(file, index=False)
        else:
            safe_cells(table).to_csv(file, index=False, float_format="%.9g")
