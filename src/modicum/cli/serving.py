"""The command that serves runs over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from modicum.console.options import Device


def serve(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, for instance runs/NAME.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any that is free.")] = 8000,
    batch_size: Annotated[
        int | None, typer.Option(help="Images that share a forward pass; as in training by default.")
    ] = None,
    wait_ms: Annotated[
        float, typer.Option(help="Milliseconds that a batch waits for further requests.")
    ] = 5.0,
    max_upload: Annotated[str, typer.Option(help="Largest request, all files together.")] = "64MB",
    max_pixels: Annotated[int, typer.Option(help="Most pixels of one file, in all slices.")] = 100_000_000,
    max_files: Annotated[int, typer.Option(help="Most files in one request.")] = 32,
    timeout: Annotated[float, typer.Option(help="Seconds for one request.")] = 60.0,
    queue: Annotated[
        int, typer.Option(help="Most requests to one run at a time; others are told to come back.")
    ] = 32,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with a token that requests must bear (Authorization: Bearer ...)."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name by which others call this server (repeatable); addresses need none."),
    ] = None,
    device: Device = None,
) -> None:
    """Serve runs over HTTP: an API, and a page to drop images on. Needs the extra \\[serve].

    Answers are those of [bold]modicum predict[/bold]. Nothing that is sent is kept or logged. Ends with Ctrl-C or
    SIGTERM, when what is under way is answered. Not a medical device.

    [bold]Examples[/bold]

      modicum serve runs/images-linear

      modicum serve runs/eyes runs/vessels --port 9000 --batch-size 16

      modicum serve runs/eyes --host 0.0.0.0 --token-file token.txt --allow-host eyes.example.org

      curl -F files=@image.png http://127.0.0.1:8000/runs/images-linear/predict
    """
    from modicum.serving import check_extra

    check_extra()
    from modicum.planning.batch_size import parse_memory
    from modicum.serving.limits import Limits
    from modicum.serving.server import serve as serve_runs

    bounds = Limits(
        parse_memory(max_upload), max_pixels, max_files, timeout, queue, batch_size, wait_ms / 1000
    )
    serve_runs(
        runs,
        host=host,
        port=port,
        limits=bounds,
        token_file=token_file,
        allow_hosts=allow_host or (),
        device=device,
    )
