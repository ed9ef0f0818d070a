"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[str, typer.Argument(help="A table (CSV, TSV, Parquet), folder, MONAI datalist or NPZ file.")]
RunPath = Annotated[Path, typer.Argument(help="A run folder, for instance runs/NAME.")]
Label = Annotated[str | None, typer.Option(help="Column with the class of each image.")]
Labels = Annotated[
    str | None, typer.Option(help="Columns with findings (1, 0, -1/blank: unknown), by commas.")
]
Patient = Annotated[str | None, typer.Option(help="Column with the patient of each image.")]
ImageColumn = Annotated[str | None, typer.Option("--image", help="Column with the image paths.")]
Images = Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")]
SplitLists = Annotated[Path | None, typer.Option(help="Folder of train/val/test lists that set the split.")]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Allow image paths outside the data folder.")
]
Workers = Annotated[int | None, typer.Option(help="Processes that decode images; one a core by default.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
