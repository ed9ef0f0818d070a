"""What a server takes and how long it works on it, and the refusal of anything beyond."""

from dataclasses import dataclass

from modicum.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Attributes:
        max_upload: bytes of one request's body, all files together.
        max_pixels: pixels that one file declares, in all slices.
        max_files: files in one request.
        timeout: seconds for one request, from its first byte to its answer.
        queue: requests to one run that are under way at a time, waiting ones included.
        batch_size: images that share a forward pass; None for that of the training.
        wait: seconds that a batch waits for further requests.
    """

    max_upload: int = 64_000_000
    max_pixels: int = 100_000_000
    max_files: int = 32
    timeout: float = 60.0
    queue: int = 32
    batch_size: int | None = None
    wait: float = 0.005

    def __post_init__(self) -> None:
        for name in ("max_upload", "max_pixels", "max_files", "queue"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise InputError(f"--{option} is {getattr(self, name)}", "give a number from 1 on")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"--batch-size is {self.batch_size}", "give a number of images from 1 on")
        if not self.timeout > 0:
            raise InputError(f"--timeout is {self.timeout:g}", "give seconds above 0, such as 60")
        if not 0 <= self.wait <= 10:
            raise InputError(
                f"--wait-ms is {1000 * self.wait:g}", "give milliseconds from 0 to 10000, such as 5"
            )


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        reason: one word for the metrics.
        message: one line for the client: what is wrong, and what to do.
        retry_after: seconds after which another try may help.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: int | None = None) -> None:
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after
        super().__init__(message)

    @property
    def headers(self) -> dict[str, str]:
        """Further headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
