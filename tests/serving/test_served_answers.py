"""Answers over HTTP are those of ``modicum predict``, whatever the format and whoever shares the batch."""

import base64

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from served import Served
from served_files import dicom, picture, volume

from modicum.run import Run
from modicum.serving.answers import ImageAnswer, Wanted
from modicum.serving.metrics import Metrics
from modicum.serving.server import warm_up
from modicum.serving.uploads import Upload
from modicum.serving.worker import Job, Worker


@pytest.fixture(scope="module")
def server(runs, tmp_path_factory):
    with Served(list(runs.values()), tmp_path_factory.mktemp("private") / "p") as served:
        yield served


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One of each format, on disk."""
    folder = tmp_path_factory.mktemp("files")
    contents = {
        "a.png": picture("PNG"),
        "b.jpg": picture("JPEG", seed=1),
        "c.tif": picture("TIFF", seed=2),
        "d.dcm": dicom(),
    }
    contents["e.nii.gz"] = volume(folder)
    (folder / "made.nii.gz").unlink()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def sent(server, run, paths, **query):
    answer = server.post(run, *((path.name, path.read_bytes()) for path in paths), **query)
    assert answer.status_code == 200, answer.text
    return answer.json()["images"]


@pytest.mark.parametrize("run", ["classes", "findings", "eyes"])
def test_rows_are_those_of_predict(server, run_folders, files, tmp_path, run):
    Run.open(run_folders[run]).predict(list(files.values()), tmp_path / "predictions.csv")
    table = pd.read_csv(tmp_path / "predictions.csv", dtype={"prediction": str}, keep_default_na=False)
    images = sent(server, run, files.values())
    assert [image["image"] for image in images] == list(files)
    for image, (_, expected) in zip(images, table.iterrows(), strict=True):
        (row,) = image["rows"]
        assert set(row) == set(table.columns) - {"image", "error"}
        for name, value in row.items():
            if isinstance(value, float):
                assert value == pytest.approx(float(expected[name]), abs=1e-6)
            else:
                assert str(value) == str(expected[name])


def test_masks_are_the_files_of_predict(server, run_folders, files, tmp_path):
    singles = [files["a.png"], files["b.jpg"], files["c.tif"]]
    Run.open(run_folders["masks"]).predict(singles, tmp_path / "out")
    for path in singles:
        expected = (tmp_path / "out" / f"{path.stem}_predicted.png").read_bytes()
        for query in ({"form": "png"}, {"form": "file"}):
            answer = server.post("masks", (path.name, path.read_bytes()), **query)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert answer.content == expected
        by_accept = server.post("masks", (path.name, path.read_bytes()), headers={"Accept": "image/png"})
        assert by_accept.content == expected
    (image,) = sent(server, "masks", singles[:1])
    assert base64.b64decode(image["pictures"][0]["base64"]) == (tmp_path / "out/a_predicted.png").read_bytes()
    assert image["pictures"][0]["kind"] == "mask"


def test_a_volume_comes_back_as_the_volume_of_predict(server, run_folders, files, tmp_path):
    path = files["e.nii.gz"]
    Run.open(run_folders["translation"]).predict(path, tmp_path / "out")
    answer = server.post("translation", (path.name, path.read_bytes()), form="file")
    assert 'filename="e_predicted.nii.gz"' in answer.headers["content-disposition"]
    (tmp_path / "served.nii.gz").write_bytes(answer.content)
    expected = nib.load(tmp_path / "out/e_predicted.nii.gz")
    served = nib.load(tmp_path / "served.nii.gz")
    np.testing.assert_array_equal(served.get_fdata(), expected.get_fdata())
    np.testing.assert_array_equal(served.affine, expected.affine)


def test_a_dicom_mask_as_png_has_the_pixels_that_predict_writes_of_the_same_picture(server, files):
    content = server.post("masks", ("d.dcm", files["d.dcm"].read_bytes()), form="png").content
    codes = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert codes.shape == (128, 128)
    assert set(np.unique(codes)) <= {0, 255}


def test_maps_are_those_of_predict(server, run_folders, files, tmp_path):
    Run.open(run_folders["translation"]).predict(files["a.png"], tmp_path / "out", maps=tmp_path / "maps")
    (image,) = sent(server, "translation", [files["a.png"]], maps=True)
    pictures = {one["name"]: base64.b64decode(one["base64"]) for one in image["pictures"]}
    assert pictures["change"] == (tmp_path / "maps/a_change.png").read_bytes()


def test_where_a_classifier_looked_has_the_size_of_the_image(server, files):
    (image,) = sent(server, "classes", [files["a.png"]], maps=True, preview=True)
    sizes = {}
    for one in image["pictures"]:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(one["base64"]), np.uint8), cv2.IMREAD_UNCHANGED)
        sizes[one["kind"]] = decoded.shape[:2]
    assert sizes == {"image": (40, 48), "map": (40, 48)}


def jobs_of(runs, name, contents, folder):
    jobs = []
    for number, content in enumerate(contents):
        place = folder / str(number)
        place.mkdir(parents=True)
        (place / "same.png").write_bytes(content)
        upload = Upload("same.png", place / "same.png", "png")
        jobs.append(Job(place, [upload], Wanted(), runs[name].shares(upload)))
    return jobs


@pytest.mark.parametrize(("name", "batches"), [("classes", 1), ("masks", 1), ("eyes", 3)])
def test_answers_do_not_depend_on_who_shares_the_batch(runs, tmp_path, name, batches):
    contents = [picture("PNG", seed=seed) for seed in (3, 4, 5)]
    counts = []
    answers = []
    for group, together in ((contents, True), *(([content], False) for content in contents)):
        metrics = Metrics()
        folder = tmp_path / f"{len(counts)}"
        worker = Worker(runs[name], folder / "work", 0.0, metrics)
        jobs = jobs_of(runs, name, group, folder)
        for job in jobs:  # before the thread starts, so that all are there
            worker.submit(job)
        worker.start()
        found = [job.future.result(60)[0] for job in jobs]
        worker.stop()
        counts.append(metrics.text().split(f'modicum_batches_total{{run="{name}"}} ')[1].split("\n")[0])
        answers += [found] if together else found
    shared, *alone = answers
    assert counts == [str(batches), "1", "1", "1"]
    for one, other in zip(shared, alone, strict=True):
        assert [picture.content for picture in one.pictures] == [
            picture.content for picture in other.pictures
        ]
        for row, expected in zip(one.rows, other.rows, strict=True):
            row.pop("file", None), expected.pop("file", None)
            assert row == {
                key: pytest.approx(value, abs=1e-5) if isinstance(value, float) else value
                for key, value in expected.items()
            }


def test_what_breaks_a_batch_is_nobody_elses_trouble(tmp_path):
    class Fragile:
        name, batch_size = "fragile", 4

        def predict(self, uploads, wanted, scratch):
            if any(b"bad" in upload.path.read_bytes() for upload in uploads):
                raise RuntimeError("Miller, Anna")
            return [ImageAnswer(upload.path.read_text()) for upload in uploads]

        def shares(self, upload):
            return True

    jobs = jobs_of({"fragile": Fragile()}, "fragile", [b"good", b"bad", b"fine"], tmp_path)
    worker = Worker(Fragile(), tmp_path / "work", 0.0, Metrics())
    for job in jobs:
        worker.submit(job)
    worker._answer(jobs)
    assert jobs[0].future.result() == [ImageAnswer("good")]
    assert jobs[2].future.result() == [ImageAnswer("fine")]
    error = jobs[1].future.exception()
    assert error.status == 500
    assert "Miller" not in error.message


def test_warming_up_leaves_nothing_behind(runs, tmp_path):
    for run in runs.values():
        warm_up(run, tmp_path)
    assert not list(tmp_path.iterdir())
