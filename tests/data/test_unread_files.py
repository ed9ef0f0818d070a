"""Files of formats that are not read are counted by kind, with what to do, never passed over without a word."""

import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.errors import InputError


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["a.mha", "b.MHA", "c.nrrd"], "not read: 3 files (2 .mha, 1 .nrrd); convert them to NIfTI"),
        (["x/a.jp2", "x/b.heic"], "not read: 2 files (1 .jp2, 1 .heic); convert them to PNG"),
        (["a.npy"], "not read: 1 file (1 .npy); save them as .npz"),
        (["a.svs"], "not read: 1 file (1 .svs); export regions"),
        (["part2.tar.gz", "part3.zip"], "not read: 2 files (1 .tar.gz, 1 .zip); unpack them"),
        (["a.dcm.gz", "b.nii.bz2"], "not read: 2 files (1 .dcm.gz, 1 .bz2); unpack them"),
        (["a.exr", "b.jxl", "c.dng"], "not read: 3 files (1 .exr, 1 .jxl, 1 .dng); convert them to PNG"),
        (["clinical.xlsx", "more.ods"], "not read: 2 files (1 .xlsx, 1 .ods); if they describe the images"),
        (["a.jls", "b.jxr"], "not read: 2 files (1 .jls, 1 .jxr); convert them to PNG"),
        (["data-00000-of-00001.arrow"], "not read: 1 file (1 .arrow); write them as Parquet"),
        (["left.e2e", "right.fda"], "not read: 2 files (1 .e2e, 1 .fda); export them as DICOM or TIFF"),
        (["a.tif.gz", "b.csv.gz"], "not read: 2 files (1 .tif.gz, 1 .csv.gz); unpack them"),
        (["a.avi"], "not read: 1 file (1 .avi); save their frames"),
        (["readme.txt", ".hidden.mha", "notes.json"], None),
    ],
)
@pytest.mark.parametrize("images", [["k/1.png", "l/2.png"], ["1.png"], []])
def test_what_is_not_read_is_counted(tmp_path, names, note, images):
    for name in (*names, *images):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    for name in images:
        Image.new("L", (4, 4)).save(tmp_path / name)
    if images:
        said = "\n".join(load_manifest(tmp_path).notes)
    else:
        with pytest.raises(InputError, match="contains no images") as raised:
            load_manifest(tmp_path)
        said = str(raised.value)
    assert note in said if note else "not read" not in said
