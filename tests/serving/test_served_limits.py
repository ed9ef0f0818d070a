"""What a server refuses, how it says so, and that nothing of it stays."""

import asyncio
import io
import re

import numpy as np
import pytest
from served import Served
from served_files import dicom, huge_png, inflating_dicom, inflating_volume, picture, volume

from modicum.serving.gate import Access
from modicum.serving.limits import Limits, Refused
from modicum.serving.uploads import harmless, received

GOOD = picture("PNG")
MULTIPART = "multipart/form-data; boundary=b"


@pytest.fixture
def serve(runs, tmp_path):
    """A server of the classifier with settings of a test's own; nothing may be left of any request."""
    made = []

    def start(access=None, names=("classes",), **limits):
        server = Served([runs[name] for name in names], tmp_path / "p", Limits(**limits), access or Access())
        made.append(server)
        return server

    yield start
    for server in made:
        assert server.left() == []


def test_broken_files_are_named_with_a_remedy(serve):
    with serve() as server:
        answer = server.post("classes", ("scan 7.png", GOOD[:200]))
        assert answer.status_code == 422
        assert re.fullmatch(r"scan 7\.png: .+; send .+", answer.json()["error"])
        assert "\n" not in answer.json()["error"]


def test_a_broken_file_among_good_ones_has_its_own_error(serve):
    with serve() as server:
        answer = server.post("classes", ("bad.png", b"no image"), ("good.png", GOOD))
        assert answer.status_code == 200
        bad, good = answer.json()["images"]
        assert (bad["rows"], good["error"]) == ([], None)
        assert bad["error"].startswith("bad.png: ")
        assert len(good["rows"]) == 1


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("big.png", lambda folder: huge_png(), "3,600,000,000 pixels"),
        ("long.nii.gz", inflating_volume, "inflates to far more"),
        ("deep.dcm", lambda folder: inflating_dicom(), "inflates to more"),
        ("big.nii.gz", lambda folder: volume(folder, (300, 300, 20)), "1,800,000 pixels"),
        ("a.zip", lambda folder: b"PK\x03\x04" + bytes(600), "only PNG"),
    ],
)
def test_bombs_are_refused_before_they_are_decoded(serve, tmp_path, name, make, said):
    content = make(tmp_path)
    with serve(max_pixels=1_000_000) as server:
        answer = server.post("classes", (name, content))
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_a_body_is_read_no_further_than_its_limit(tmp_path):
    taken = []

    async def body():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for number in range(1000):
            taken.append(number)
            yield bytes(1000)

    with pytest.raises(Refused) as refused:
        asyncio.run(
            received(body(), "multipart/form-data; boundary=b", None, tmp_path, Limits(max_upload=10_000))
        )
    assert refused.value.status == 413
    assert len(taken) == 10
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.png")) <= 10_000


def test_too_large_and_too_many_are_413(serve):
    with serve(max_upload=5000, max_files=2) as server:
        assert server.post("classes", ("a.png", bytes(6000))).status_code == 413
        answer = server.post("classes", *[(f"{number}.png", b"x") for number in range(3)])
        assert answer.status_code == 413
        assert "2 files" in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x", "image/png", 415),
        (b"x", MULTIPART, 400),
        (b"--b\r\n\r\nends", MULTIPART, 400),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--b--\r\n', MULTIPART, 422),
        (b'--b\r\nContent-Disposition: form-data; filename="a"; x="' + bytes(9000), MULTIPART, 400),
    ],
)
def test_bodies_without_files_are_refused(serve, content, kind, status):
    with serve() as server:
        answer = server.client.post("/runs/classes/predict", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]


def test_unknown_runs_are_404_and_forms_that_do_not_fit_406(serve):
    with serve() as server:
        answer = server.post("nobody", ("a.png", GOOD))
        assert (answer.status_code, "classes" in answer.json()["error"]) == (404, True)
        assert server.client.get("/runs/nobody").status_code == 404
        assert server.post("classes", ("a.png", GOOD), form="png").status_code == 406


def test_a_full_queue_is_503_with_retry_after(serve):
    with serve(queue=2) as server:
        server.service.under_way["classes"] = 2
        answer = server.post("classes", ("a.png", GOOD))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        server.service.under_way["classes"] = 0
        assert server.post("classes", ("a.png", GOOD)).status_code == 200
        assert server.service.under_way["classes"] == 0


def test_slow_answers_are_504_and_their_files_go_when_the_worker_is_done(serve, runs, monkeypatch):
    import threading

    going, gone = threading.Event(), threading.Event()

    def slow(uploads, wanted, scratch):
        going.set()
        gone.wait(20)
        return []

    monkeypatch.setattr(runs["classes"], "predict", slow)
    with serve(timeout=2.0) as server:
        answer = server.post("classes", ("a.png", GOOD))
        assert answer.status_code == 504
        assert going.is_set()
        assert len(server.left()) == 1  # still being worked on
        gone.set()
    assert server.left() == []


def test_no_name_reaches_a_log(serve, capfd):
    with serve() as server:
        server.post("classes", ("miller_anna.png", GOOD))
        server.post("classes", ("miller_anna.png", b"broken"))
        server.post("classes", ("miller_anna.dcm", dicom()), patient="miller")
        server.client.get("/miller_anna.png")
    written = "\n".join([*server.log, *capfd.readouterr()])
    assert "miller" not in written.lower()
    for line in server.log:
        assert re.fullmatch(r"(GET|POST) (/runs/classes/predict|\(unknown path\)) \d{3} \d+ ms", line)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\scans\\a b.png", "a b.png"),
        ("x#axis=2&index=1.nii", "x_axis=2_index=1.nii"),
        (".hidden", "hidden"),
        ("", "image"),
        ("Ärzte-ü.png", "Ärzte-ü.png"),
        ("a\0b.png", "a_b.png"),
    ],
)
def test_file_names_are_made_harmless(name, kept):
    assert harmless(name) == kept
    assert len(harmless("n" * 500 + ".nii.gz")) <= 120


def test_a_name_cannot_make_an_image_another_kind_of_data(serve, runs):
    with serve() as server:
        for name in ("a.csv", "a.json", "a.npz", "a.parquet", "noname"):
            assert server.post("classes", (name, GOOD)).status_code == 200
        table = server.post("classes", ("a.csv", b"image\n/etc/passwd\n"))
        assert table.status_code == 422


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "10.1.2.3:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "eyes.example.org"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "https://eyes.example.org"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_hosts_and_origins_are_refused(serve, headers, status):
    with serve(Access(frozenset({"eyes.example.org"}))) as server:
        answer = server.client.get("/runs", headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers


def test_a_token_is_needed_where_there_is_one(serve):
    with serve(Access(token=b"0123456789abcdef")) as server:
        for path in ("/runs", "/runs/classes", "/metrics"):
            assert server.client.get(path).status_code == 401
        assert server.post("classes", ("a.png", GOOD)).status_code == 401
        wrong = {"Authorization": "Bearer 0123456789abcdeF"}
        assert server.client.get("/runs", headers=wrong).status_code == 401
        right = {"Authorization": "Bearer 0123456789abcdef"}
        assert server.post("classes", ("a.png", GOOD), headers=right).status_code == 200
        for path in ("/", "/page.js", "/page.css", "/docs", "/docs.js", "/openapi.json", "/health", "/ready"):
            assert server.client.get(path).status_code == 200


def test_pages_ask_nobody_else(serve):
    with serve() as server:
        for path in ("/", "/page.js", "/page.css", "/docs", "/docs.js"):
            answer = server.client.get(path)
            assert not re.search(r"https?://|@import|//cdn", answer.text)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "Not a medical device" in server.client.get("/").text
        api = server.client.get("/openapi.json").json()
        body = api["paths"]["/runs/{name}/predict"]["post"]["requestBody"]["content"]
        assert "multipart/form-data" in body


def test_metrics_are_prometheus_text(serve):
    with serve() as server:
        server.post("classes", ("a.png", GOOD), ("b.png", GOOD))
        server.post("classes", ("a.png", b"broken"))
        answer = server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            name, value = re.fullmatch(
                r'([a-z_]+(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) (\S+)', line
            ).groups()
            samples[name] = float(value)
    assert samples['modicum_requests_total{run="classes",status="200"}'] == 1
    assert samples['modicum_requests_total{run="classes",status="422"}'] == 1
    assert samples['modicum_failures_total{reason="unreadable"}'] == 1
    assert samples['modicum_images_total{run="classes"}'] == 2
    assert samples['modicum_queue_length{run="classes"}'] == 0
    buckets = [value for name, value in samples.items() if name.startswith("modicum_request_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == samples['modicum_request_seconds_count{run="classes"}'] == 2
    assert samples["process_resident_memory_bytes"] > 1e7


def test_a_compressed_volume_is_read_by_a_classifier(serve, tmp_path):
    with serve() as server:
        answer = server.post("classes", ("v.nii.gz", volume(tmp_path))).json()["images"][0]
    assert answer["notes"] == ["one of its 5 slices, the middle one, stands for all"]


def test_what_is_read_is_forgotten(serve):
    from modicum.data.readers.recent import Recent, forget_recent

    cache = Recent(1000, len)
    cache.get("key", lambda: b"pixels")
    forget_recent()
    assert cache.get("key", lambda: b"others") == b"others"


def test_sizes_come_from_headers(tmp_path):
    from modicum.data.readers import declared_size

    (tmp_path / "a.nii.gz").write_bytes(volume(tmp_path))
    found = declared_size(tmp_path / "a.nii.gz")
    assert (found.height, found.width, found.slices) == (14, 12, 5)
    (tmp_path / "a.tif").write_bytes(picture("TIFF"))
    (tmp_path / "a.dcm").write_bytes(dicom())
    assert (declared_size(tmp_path / "a.tif").height, declared_size(tmp_path / "a.tif").width) == (40, 48)
    assert declared_size(tmp_path / "a.dcm").pixels == 128 * 128
    assert np.prod(declared_size(tmp_path / "a.nii.gz").pixels) == 14 * 12 * 5
    assert io.BytesIO(GOOD).getbuffer().nbytes < 5000
