"""Identifiers outside DICOM headers are counted by their place, and never shown."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from modicum.console.inspection import inspect_data
from modicum.data.checks.identifiers import find_identifiers, identifier_warnings, kinds_in
from modicum.data.layouts import load_manifest

SECRET = "Meier^Anna 12.03.1952 780312-1234"


def picture(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8))


def with_exif(path, tag):
    exif = Image.Exif()
    exif[tag] = SECRET
    picture().save(path, exif=exif)


def with_user_comment(path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + SECRET.encode()
    picture().save(path, exif=exif)


def with_png_text(path, **options):
    info = PngImagePlugin.PngInfo()
    (info.add_itxt if options.get("utf8") else info.add_text)(
        "Comment", SECRET, zip=options.get("zip", False)
    )
    picture().save(path, pnginfo=info)


WRITERS = {
    "JPEG comment": ("a.jpg", lambda path: picture().save(path, comment=SECRET.encode())),
    "EXIF": ("a.jpg", lambda path: with_exif(path, 0x010E)),
    "EXIF artist": ("a.jpg", lambda path: with_exif(path, 0x013B)),
    "EXIF comment": ("a.jpg", with_user_comment),
    "EXIF of TIFF": ("a.tif", lambda path: with_exif(path, 0x010E)),
    "PNG text": ("a.png", with_png_text),
    "PNG text, packed": ("a.png", lambda path: with_png_text(path, zip=True)),
    "PNG text, international": ("a.png", lambda path: with_png_text(path, utf8=True)),
    "GIF comment": ("a.gif", lambda path: picture().quantize().save(path, comment=SECRET.encode())),
}


@pytest.mark.parametrize("where", WRITERS)
def test_text_inside_a_picture_is_found_and_not_shown(where, tmp_path):
    name, write = WRITERS[where]
    write(tmp_path / name)
    (tmp_path / "set.csv").write_text(f"image,label\n{name},x\n")
    found = find_identifiers(load_manifest(tmp_path / "set.csv"))
    place = where.partition(",")[0].partition(" of")[0].partition(" artist")[0]
    place = "EXIF" if place.startswith("EXIF") else place
    assert found.counts == {f"{place}: {kind}": 1 for kind in ("date", "identity number", "name")}
    shown = " ".join(str(vars(warning)) for warning in identifier_warnings(found))
    assert name in shown
    assert not any(part in shown for part in ("Meier", "1952", "780312"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("19520312.png", "date"), ("scan_12.03.1952.png", "date"), ("1952-03-12_L.png", "date"),
        ("780312-1234.png", "identity number"), ("4711081512345.png", "identity number"), ("Meier^Anna.png", "name"),
        ("Meier, Anna.png", "name"),
    ],
)  # fmt: skip
def test_names_that_look_like_people_are_counted_by_number(name, kind, tmp_path):
    (tmp_path / "x").mkdir()
    picture().save(tmp_path / "x" / name)
    picture(1).save(tmp_path / "x" / "ok.png")
    (tmp_path / "set.csv").write_text(f'image,label\n"x/{name}",a\nx/ok.png,b\n')
    found = find_identifiers(load_manifest(tmp_path / "set.csv"))
    assert found.counts == {f"file name: {kind}": 1}
    assert found.examples == {f"file name: {kind}": ["image 1"]}


@pytest.mark.parametrize(
    "name",
    [
        "ISIC_0024306", "00019970_001", "000c1434d8d7", "im0001", "IMG-0001-00032", "patient08465_study1_view2_lateral",
        "1.2.276.0.7230010.3.1.4.8323329.28530.1517874485.775526", "21_training", "Image_01L", "IDRiD_055", "D2012-11",
    ],
)  # fmt: skip
def test_names_of_published_sets_are_no_identifiers(name, tmp_path):
    picture().save(tmp_path / f"{name}.png")
    (tmp_path / "set.csv").write_text(f"image,label,patient\n{name}.png,a,{name}\n")
    assert find_identifiers(load_manifest(tmp_path / "set.csv")).counts == {}


@pytest.mark.parametrize(
    "text",
    [
        "CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90",
        "LEAD Technologies Inc. V1.01",
        "Lavc58.134.100",
        "Created with GIMP",
        "",
    ],
)
def test_what_programs_write_into_pictures_is_no_identifier(text):
    assert kinds_in(text) == []


def test_inspect_warns_and_keeps_it_to_itself(tmp_path):
    for number in range(4):
        picture(number).save(
            tmp_path / f"{number}.jpg", comment=SECRET.encode() if number else b"made by a program"
        )
    rows = [f"{number}.jpg,{'ab'[number % 2]},19520312-{number}" for number in range(4)]
    (tmp_path / "set.csv").write_text("\n".join(["image,label,patient", *rows]))
    inspect_data(str(tmp_path / "set.csv"), {}, tmp_path / "facts.json", 0)
    warnings = json.loads((tmp_path / "facts.json").read_text())["warnings"]
    texts = {warning["text"] for warning in warnings}
    assert "JPEG comment with what may identify a person (name): 3" in texts
    assert any(text.startswith("patient id with what may identify") for text in texts)
    shown = json.dumps([w for w in warnings if "may identify" in w["text"]])
    assert not any(part in shown for part in ("Meier", "1952", "780312"))


@pytest.mark.parametrize("kind", ["no entries", "cut in an entry", "many pixels"])
def test_a_picture_that_pillow_warns_of_is_looked_at_in_silence(tmp_path, kind):
    entries = {"no entries": b"\x05\x00", "cut in an entry": b"\x01\x00\x0e\x01\x02\x00"}
    if kind in entries:
        picture().save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + entries[kind])
    else:  # beyond Pillow's limit for a warning, below that for an error
        Image.new("1", (10_000, 9_500)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(f"image,label\n{next(tmp_path.glob('a.*')).name},x\n")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Image.open(next(tmp_path.glob("a.*"))) as image:
            image.getexif().get_ifd(0x8769)
        assert said
        said.clear()
        assert not find_identifiers(load_manifest(tmp_path / "t.csv")).counts
        assert not said
