"""An hour of good, broken and huge uploads to `modicum serve` on the loopback address: does its memory stay flat?

    python benchmarks/serve_soak.py --minutes 60

Starts a server of two small runs (or of those given with --run), asks it from several threads, samples its resident
memory every ten seconds, and writes benchmarks/results/serve_soak.json: latencies and counts by kind of request, memory
over time, and its slope by least squares over the second half.
"""

import argparse
import gzip
import http.client
import io
import json
import os
import platform
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parent / "results" / "serve_soak.json"
BOUNDARY = "soak"
EXPECTED = {
    "png": {200}, "jpeg": {200}, "dicom": {200}, "volume": {200}, "several": {200}, "maps": {200}, "truncated": {422},
    "text": {422}, "bomb_png": {422}, "bomb_gzip": {422}, "huge": {413}, "gone": {0}, "unknown_run": {404},
}  # fmt: skip
OFTEN = {"png": 10, "jpeg": 5, "dicom": 3, "several": 2, "maps": 2, "truncated": 3, "text": 2, "bomb_png": 2}
BUSY = {503}
"""What any request may be told while the queue is full."""


def made_runs(folder: Path) -> list[Path]:
    """A classifier and a segmenter, trained for an epoch on noise: what they say does not matter here."""
    import cv2
    import pandas as pd

    import modicum

    generator, rows = np.random.default_rng(0), []
    for number in range(24):
        picture = cv2.GaussianBlur(generator.integers(0, 255, (160, 160, 3)).astype(np.uint8), (0, 0), 4)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        cv2.imwrite(str(folder / f"{number}_mask.png"), 255 * (picture[..., 0] > 128).astype(np.uint8))
        split = "train" if number < 16 else "val"
        label, mask = "ab"[number % 2], f"{number}_mask.png"
        rows.append({"image": f"{number}.png", "label": label, "mask": mask, "split": split})
    table = pd.DataFrame(rows)
    table.drop(columns="mask").to_csv(folder / "labels.csv", index=False)
    table.drop(columns="label").to_csv(folder / "masks.csv", index=False)
    shared = {"backbone": "resnet18", "weights": "random", "epochs": 1, "runs": folder / "runs", "workers": 0}
    shared |= {"device": "cpu", "write_report": False, "image_size": 128, "batch_size": 8}
    made = [
        modicum.fit(folder / "labels.csv", method="linear", name="classes", **shared),
        modicum.fit(folder / "masks.csv", method="segment", name="masks", **shared),
    ]
    return [run.path for run in made]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def contents(folder: Path) -> dict[str, list[tuple[str, bytes]]]:
    """Files of each kind of request."""
    import nibabel as nib
    from PIL import Image
    from pydicom.data import get_testdata_file

    def picture(form: str, side: int, seed: int) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 255, (side // 8, side // 8, 3)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((side, side)).save(buffer, form)
        return buffer.getvalue()

    png, jpeg = picture("PNG", 512, 0), picture("JPEG", 2400, 1)
    nib.save(nib.Nifti1Image(np.zeros((96, 96, 20), np.int16) + 7, np.eye(4)), folder / "v.nii.gz")
    volume = (folder / "v.nii.gz").read_bytes()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    return {
        "png": [("a.png", png)],
        "jpeg": [("b.jpg", jpeg)],
        "dicom": [("c.dcm", Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())],
        "volume": [("d.nii.gz", volume)],
        "several": [(f"{number}.png", png) for number in range(4)] + [("bad.png", png[:5000])],
        "maps": [("a.png", png)],
        "truncated": [("e.png", png[: len(png) // 2])],
        "text": [("f.png", b"this is not an image\n" * 50)],
        "bomb_png": [("g.png", bomb)],
        "bomb_gzip": [("h.nii.gz", gzip.compress(gzip.decompress(volume) + bytes(200_000_000), 1))],
        "huge": [("i.png", b"")],
        "gone": [("j.png", png)],
        "unknown_run": [("a.png", png)],
    }


def body_of(files: list[tuple[str, bytes]]) -> bytes:
    parts = []
    for name, content in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class Clients:
    """Threads that ask, and what they were told."""

    def __init__(
        self, port: int, runs: list[str], files: dict[str, list[tuple[str, bytes]]], pause: float
    ) -> None:
        self.port, self.runs, self.pause = port, runs, pause
        self.bodies = {kind: body_of(some) for kind, some in files.items()}
        self.kinds = [kind for kind in files for _ in range(OFTEN.get(kind, 1))]
        self.statuses: dict[str, Counter[int]] = defaultdict(Counter)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.stop = threading.Event()
        self.lock = threading.Lock()

    def work(self, seed: int) -> None:
        """Asks until told to stop."""
        generator = random.Random(seed)
        while not self.stop.is_set():
            kind, run = generator.choice(self.kinds), generator.choice(self.runs)
            began = time.perf_counter()
            status = self._ask(kind, "nobody" if kind == "unknown_run" else run)
            with self.lock:
                self.statuses[kind][status] += 1
                self.seconds[kind].append(time.perf_counter() - began)
            self.stop.wait(self.pause * generator.random() * 2)

    def _ask(self, kind: str, run: str) -> int:
        path = f"/runs/{run}/predict" + ("?maps=true&preview=true" if kind == "maps" else "")
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        if kind == "gone":
            return self._leave(path)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            if kind == "huge":  # without a length, so that the server must count
                connection.request("POST", path, huge(), headers, encode_chunked=True)
            else:
                connection.request("POST", path, self.bodies[kind], headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except OSError:
            return -1
        finally:
            connection.close()

    def _leave(self, path: str) -> int:
        """Begins to send, and goes away."""
        body = self.bodies["gone"]
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(head.encode() + body[: len(body) // 2])
        return 0


def huge(size: int = 80_000_000):
    yield body_of([("i.png", b"")])[:-12]
    for _ in range(size // 1_000_000):
        yield bytes(1_000_000)


def resident(pid: int) -> float:
    """Resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def watched(pid: int, minutes: float, every: float, tell: Callable[[str], None]) -> list[tuple[float, float]]:
    """Seconds and MiB, sampled until the time is over."""
    began, samples = time.monotonic(), []
    while (now := time.monotonic() - began) < 60 * minutes:
        samples.append((round(now, 1), round(resident(pid), 1)))
        if len(samples) % 6 == 1:
            tell(f"{now / 60:5.1f} min  {samples[-1][1]:8.1f} MiB")
        time.sleep(min(every, max(0.1, 60 * minutes - now)))
    return samples


def summary(clients: Clients, samples: list[tuple[float, float]]) -> dict[str, object]:
    """What came of it."""
    half = samples[len(samples) // 2 :]
    times, sizes = (np.array(column) for column in zip(*half, strict=True))
    slope = float(np.polyfit(times / 3600, sizes, 1)[0]) if len(half) > 2 else None
    kinds = {}
    for kind, seconds in sorted(clients.seconds.items()):
        p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
        statuses = dict(sorted(clients.statuses[kind].items()))
        unexpected = sum(n for status, n in statuses.items() if status not in EXPECTED[kind] | BUSY)
        kinds[kind] = {
            "requests": len(seconds),
            "statuses": statuses,
            "unexpected": unexpected,
            "seconds": {
                "p50": round(p50, 4),
                "p95": round(p95, 4),
                "p99": round(p99, 4),
                "max": round(max(seconds), 4),
            },
        }
    return {
        "requests": sum(map(len, clients.seconds.values())),
        "unexpected": sum(int(one["unexpected"]) for one in kinds.values()),
        "by_kind": kinds,
        "memory_mib": {
            "first": samples[0][1],
            "half_time": half[0][1],
            "last": samples[-1][1],
            "most": max(size for _, size in samples),
            "slope_per_hour_of_second_half": None if slope is None else round(slope, 2),
        },
        "memory_samples": samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.1, help="mean seconds between a client's requests")
    parser.add_argument(
        "--run", action="append", type=Path, help="run folder (repeatable); two small ones by default"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        (folder / "private").mkdir()
        runs = settings.run or made_runs(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "modicum", "serve", *map(str, runs), "--port", str(port)]
        environment = {**os.environ, "TMPDIR": str(folder / "private")}
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        _wait(port, server)
        clients = Clients(port, [run.name for run in runs], contents(folder), settings.pause)
        threads = [threading.Thread(target=clients.work, args=(seed,)) for seed in range(settings.clients)]
        for thread in threads:
            thread.start()
        samples = watched(server.pid, settings.minutes, 10, print)
        clients.stop.set()
        for thread in threads:
            thread.join()
        left = [path for path in (folder / "private").rglob("*") if path.is_file()]
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
        gone = not list((folder / "private").glob("modicum-serve-*"))
        result = {
            "minutes": settings.minutes,
            "clients": settings.clients,
            "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "exit_code": code,
            "files_left_while_idle": len(left),
            "private_folder_removed": gone,
            **summary(clients, samples),
        }
    settings.out.parent.mkdir(exist_ok=True)
    settings.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "memory_samples"}, indent=1))


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
