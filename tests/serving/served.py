"""A client of served runs, and what their server wrote."""

from pathlib import Path

from fastapi.testclient import TestClient

from modicum.serving.app import Service, make_app
from modicum.serving.gate import Access, Gate
from modicum.serving.limits import Limits
from modicum.serving.served_run import ServedRun

LIMITS, ANYBODY = Limits(), Access()


class Served:
    """The whole application in this process."""

    def __init__(
        self, runs: list[ServedRun], private: Path, limits: Limits = LIMITS, access: Access = ANYBODY
    ) -> None:
        private.mkdir(exist_ok=True)
        self.private, self.log = private, []
        self.service = Service(runs, limits, private)
        self.gate = Gate(
            make_app(self.service),
            access,
            list(self.service.runs),
            self.service.metrics,
            limits.max_upload,
            self.log.append,
        )
        self.client = TestClient(self.gate, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)

    def __enter__(self) -> "Served":
        self.client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(*error)

    def post(self, run: str, *files: tuple[str, bytes], headers=None, **query: object):
        """Asks for predictions."""
        parts = [("files", (name, content)) for name, content in files]
        return self.client.post(f"/runs/{run}/predict", files=parts, params=query, headers=headers)

    def left(self) -> list[Path]:
        """Files that are left of requests."""
        return [path for path in self.private.rglob("*") if path.is_file()]
