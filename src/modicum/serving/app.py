"""The HTTP API."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from modicum.serving.answers import ImageAnswer, Wanted
from modicum.serving.api_words import DESCRIPTION, PREDICT_BODY, RESPONSES, Prediction, RunFacts
from modicum.serving.limits import Limits, Refused
from modicum.serving.metrics import MEDIA_TYPE, Metrics, resident_bytes
from modicum.serving.pages import add_pages
from modicum.serving.served_run import ServedRun
from modicum.serving.uploads import Upload, checked, received
from modicum.serving.worker import Job, Worker, remove
from modicum.version import __version__

VOLUME_AGE = 2.1
"""Seconds after which a file counts as at rest: readers keep a compressed volume inflated only then."""


class Service:
    """Runs, their workers and what is counted.

    Args:
        runs: that answer.
        limits: of each request.
        private: an empty folder that nobody else can read.
    """

    def __init__(self, runs: Sequence[ServedRun], limits: Limits, private: Path) -> None:
        self.runs = {run.name: run for run in runs}
        self.limits, self.private, self.metrics = limits, private, Metrics()
        self.workers = {run.name: Worker(run, private / "work", limits.wait, self.metrics) for run in runs}
        self.under_way = dict.fromkeys(self.runs, 0)
        self.ready = False
        self._checking = ThreadPoolExecutor(2, "check")
        for name, worker in self.workers.items():
            self.metrics.watch("modicum_queue_length", worker.__len__, run=name)
            self.metrics.watch(
                "modicum_requests_in_progress", partial(self.under_way.__getitem__, name), run=name
            )
        self.metrics.watch("process_resident_memory_bytes", resident_bytes)

    def start(self) -> None:
        """Starts the workers."""
        for worker in self.workers.values():
            worker.start()
        self.ready = True

    def stop(self) -> None:
        """Answers what is waiting, and ends the workers."""
        self.ready = False
        for worker in self.workers.values():
            worker.stop()
        self._checking.shutdown()

    def run(self, name: str) -> ServedRun:
        """A run by its name. Raises :class:`Refused` where there is none."""
        if name not in self.runs:
            raise Refused(404, "unknown_run", f"no such run; there are: {', '.join(self.runs)}")
        return self.runs[name]

    async def predict(self, name: str, request: Request, wanted: Wanted) -> list[ImageAnswer]:
        """Receives a request's files and answers for each.

        Raises:
            Refused: unknown run, queue full, too large, too slow, or nothing that can be read.
        """
        run = self.run(name)
        if self.under_way[name] >= self.limits.queue:
            raise Refused(503, "queue_full", "too many requests are waiting; try again in a second", 1)
        self.under_way[name] += 1
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self.limits.timeout):
                return await self._answered(run, request, wanted)
        except TimeoutError as error:
            problem = f"no answer within {self.limits.timeout:g} seconds; send fewer files, or try later"
            raise Refused(504, "timeout", problem) from error
        finally:
            self.under_way[name] -= 1
            self.metrics.took(name, time.perf_counter() - began)

    async def _answered(self, run: ServedRun, request: Request, wanted: Wanted) -> list[ImageAnswer]:
        folder = self.private / uuid4().hex
        folder.mkdir()
        job = None
        try:
            headers = request.headers
            uploads = await received(
                request.stream(),
                headers.get("content-type", ""),
                headers.get("content-length"),
                folder,
                self.limits,
            )
            loop = asyncio.get_running_loop()
            uploads = [
                await loop.run_in_executor(self._checking, checked, upload, self.limits) for upload in uploads
            ]
            good = [upload for upload in uploads if upload.error is None]
            answers: list[ImageAnswer] = []
            if good:
                if run.dense and any(upload.compressed for upload in good):
                    await asyncio.sleep(VOLUME_AGE)
                job = Job(folder, good, wanted, all(map(run.shares, good)))
                self.workers[run.name].submit(job)
                answers = await asyncio.wrap_future(job.future)
            return self._in_order(uploads, answers)
        finally:
            if job is None:
                remove(folder)
            else:
                job.release()

    def _in_order(self, uploads: Sequence[Upload], answers: Sequence[ImageAnswer]) -> list[ImageAnswer]:
        """An answer for each file, as they came; raises where none could be read."""
        left = iter(answers)
        every = [
            ImageAnswer(upload.name, error=upload.error) if upload.error is not None else next(left)
            for upload in uploads
        ]
        errors = [answer.error for answer in every if answer.error is not None]
        for _ in errors:
            self.metrics.count("modicum_failures_total", reason="unreadable")
        if len(errors) == len(every):
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise Unusable(f"{errors[0]}{more}", every)
        return every


class Unusable(Refused):
    """None of a request's files could be read."""

    def __init__(self, message: str, answers: list[ImageAnswer]) -> None:
        super().__init__(422, "unreadable_request", message)
        self.answers = answers


def make_app(service: Service) -> FastAPI:
    """The application, whose workers live as long as it does; :class:`~modicum.serving.gate.Gate` goes around it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="modicum serve",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_state(app, service)
    _add_runs(app, service)
    add_pages(app)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        service.metrics.count("modicum_failures_total", reason=error.reason)
        content: dict[str, Any] = {"error": error.message}
        if isinstance(error, Unusable):
            content["images"] = [answer.as_dict() for answer in error.answers]
        return JSONResponse(content, error.status, error.headers)

    return app


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether the process is alive", tags=["state"])
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready", summary="Whether it answers predictions", tags=["state"], responses={503: {}})
    async def ready() -> JSONResponse:
        if service.ready and all(worker.alive for worker in service.workers.values()):
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503, {"Retry-After": "1"})

    @app.get("/metrics", summary="Counts in Prometheus' text format", tags=["state"], response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=MEDIA_TYPE)


def _add_runs(app: FastAPI, service: Service) -> None:
    def limits() -> dict[str, int | float]:
        bounds = service.limits
        return {
            "max_upload": bounds.max_upload,
            "max_pixels": bounds.max_pixels,
            "max_files": bounds.max_files,
            "timeout": bounds.timeout,
        }

    @app.get("/runs", response_model=list[RunFacts], summary="The runs", tags=["runs"])
    async def runs() -> list[Mapping[str, Any]]:
        return [{**run.describe(), "limits": limits()} for run in service.runs.values()]

    @app.get("/runs/{name}", response_model=RunFacts, summary="One run", tags=["runs"], responses=RESPONSES)
    async def one_run(name: str) -> Mapping[str, Any]:
        return {**service.run(name).describe(), "limits": limits()}

    @app.post(
        "/runs/{name}/predict",
        response_model=Prediction,
        summary="Predict images",
        tags=["runs"],
        responses=RESPONSES,
        openapi_extra=PREDICT_BODY,
    )
    async def predict(
        name: str,
        request: Request,
        maps: Annotated[bool, Query(description="Add pictures of what the answer rests on.")] = False,
        preview: Annotated[
            bool, Query(description="Add the image as it was read, at most 768 pixels.")
        ] = False,
        form: Annotated[
            Literal["json", "png", "file"],
            Query(
                description="Of masks and pictures: json has them in base64 beside the rows; png (as Accept: image/png) "
                "is the PNG of one image alone; file is the file that `modicum predict` writes (NIfTI, DICOM, PNG)."
            ),
        ] = "json",
    ) -> Response:
        if form == "json" and _first_choice(request) == "image/png":
            form = "png"
        status = 200
        try:
            run = service.run(name)
            if form != "json" and not run.dense:
                raise Refused(
                    406, "form", f"run '{run.name}' answers with rows, not pictures; leave form out"
                )
            answers = await service.predict(name, request, Wanted(maps, preview, form == "file"))
            if form != "json":
                return _alone(answers)
            return JSONResponse(
                {"run": name, "task": run.task.name, "images": [one.as_dict() for one in answers]}
            )
        except ClientDisconnect:
            status = 499
            return Response(status_code=400)
        except Refused as error:
            status = error.status
            raise
        except Exception:
            status = 500
            raise
        finally:
            known = name if name in service.runs else ""
            service.metrics.count("modicum_requests_total", run=known, status=str(status))


def _first_choice(request: Request) -> str:
    return request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip().lower()


def _alone(answers: Sequence[ImageAnswer]) -> Response:
    """The one prediction of the one image as it is."""
    pictures = [one for answer in answers for one in answer.pictures if one.name == "prediction"]
    if len(answers) != 1 or len(pictures) != 1:
        raise Refused(
            406, "form", f"{len(pictures)} pictures do not go into one answer; send one image, or form=json"
        )
    name = (
        pictures[0].file_name.encode("ascii", "replace").decode("ascii").replace('"', "_").replace("?", "_")
    )
    headers = {"Content-Disposition": f'inline; filename="{name}"'}
    return Response(pictures[0].content, media_type=pictures[0].media_type, headers=headers)
