"""Which file each prediction becomes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_dense import write_volume

from modicum.data.layouts.given_images import images_of
from modicum.engine.inference.dense_jobs import planned, without_own_output
from modicum.errors import InputError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    return path


def files(*given) -> list[str]:
    names, refs = images_of(given)
    return [str(job.file) for job in planned(given, names, refs)]


def test_several_files_lie_below_what_they_share(tmp_path):
    a, b = picture(tmp_path / "in/x/a.png"), picture(tmp_path / "in/y/b.jpg")
    assert files(a, b) == ["x/a_predicted.png", "y/b_predicted.png"]
    assert files(a) == ["a_predicted.png"]
    assert files(tmp_path / "in") == ["x/a_predicted.png", "y/b_predicted.png"]


def test_sources_of_one_name_keep_their_endings(tmp_path):
    picture(tmp_path / "a.png"), picture(tmp_path / "a.jpg"), picture(tmp_path / "b.png")
    assert files(tmp_path) == ["a.jpg_predicted.png", "a.png_predicted.png", "b_predicted.png"]
    assert files(tmp_path / "b.png", tmp_path / "b.png") == ["b.png_predicted.png", "b.png_predicted_2.png"]


def test_a_volume_is_one_file_its_slice_a_picture_a_series_several(tmp_path):
    write_volume(tmp_path / "v.nii.gz", np.zeros((4, 5, 6), np.int16))
    write_volume(tmp_path / "s.nii", np.zeros((4, 5, 6, 2), np.int16))
    whole = str(tmp_path / "v.nii.gz")
    assert files(whole) == ["v_predicted.nii.gz"]
    assert files(f"{whole}#axis=1&index=3") == ["v_axis1_index3_predicted.png"]
    assert files(tmp_path / "s.nii") == ["s_frame000_predicted.nii", "s_frame001_predicted.nii"]
    names, refs = images_of([f"{whole}#axis=0"])
    assert len(planned([f"{whole}#axis=0"], names, refs)[0].refs) == 4


def test_names_never_lead_out_of_the_folder(tmp_path, monkeypatch):
    picture(tmp_path / "a.png"), (tmp_path / "here").mkdir()
    (tmp_path / "here/t.csv").write_text("image\n../a.png\n")
    given = [tmp_path / "here/t.csv"]
    names, refs = images_of(given, allow_outside=True)
    assert str(planned(given, names, refs)[0].file) == "a_predicted.png"


def test_earlier_predictions_inside_the_folder_are_not_predicted_again(tmp_path):
    picture(tmp_path / "a.png"), picture(tmp_path / "predictions/a_predicted.png")
    names, refs = images_of([tmp_path])
    kept, _ = without_own_output([tmp_path], names, refs, tmp_path / "predictions")
    assert kept == ["a.png"]
    with pytest.raises(InputError, match="is the folder of the images itself"):
        without_own_output([tmp_path], names, refs, tmp_path)
