"""Reports of a manifest: cells and files, encodings, what is set aside, and the real reports."""

import csv
import doctest

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.data.reports import decoding, normalise_placeholders, placeholders, read_reports, texts
from modicum.data.reports.decoding import LONGEST, decode_report
from modicum.errors import InputError


def manifest_of(reports: list[str | None], root, **columns) -> Manifest:
    images = [f"{row}.png" for row in range(len(reports))]
    table = pd.DataFrame({"image": images, "report": reports, **columns})
    return Manifest(
        table, root, source="reports.csv", origins=[f"row {row + 2}" for row in range(len(reports))]
    )


@pytest.mark.parametrize("module", [decoding, placeholders, texts])
def test_docstring_examples_run(module):
    assert doctest.testmod(module).failed == 0


# --- where a report is ------------------------------------------------------------------------------------------------


def test_a_cell_is_the_text_or_names_a_file_of_it(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "s1.txt").write_text("FINDINGS: Clear lungs.")
    found = read_reports(manifest_of(["No effusion.", "files/s1.txt", None], tmp_path))
    assert found.texts == ["No effusion.", "FINDINGS: Clear lungs.", None]
    assert found.set_aside == found.changed == []


def test_a_text_that_mentions_a_file_is_a_text(tmp_path):
    text = "Effusion. Compare report.txt"
    assert read_reports(manifest_of([text], tmp_path)).texts == [text]


def test_another_column_can_hold_the_reports(tmp_path):
    manifest = manifest_of(["a"], tmp_path, clinical_notes=["Fever and cough."])
    assert read_reports(manifest, "clinical_notes").texts == ["Fever and cough."]


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(InputError, match=r"reports.csv: no column 'notes'.*image, report"):
        read_reports(manifest_of(["a"], tmp_path), "notes")


# --- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["../secret.txt", "link.txt", "{absolute}"])
def test_a_file_outside_the_folder_of_the_data_is_not_read_whichever_way_leads_there(tmp_path, way):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.txt").write_text("Of somebody else.")
    (tmp_path / "data" / "link.txt").symlink_to(tmp_path / "secret.txt")
    cell = way.format(absolute=tmp_path / "secret.txt")
    found = read_reports(manifest_of([cell, "Normal."], tmp_path / "data"))
    assert found.texts == [None, "Normal."]
    assert [unusual.reason for unusual in found.set_aside] == ["its file is outside the data's folder"]


def test_unusable_reports_are_set_aside_with_their_place_and_reason(tmp_path):
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(32)) * 8)
    (tmp_path / "blank.txt").write_text(" \n\t\n")
    (tmp_path / "huge.txt").write_bytes(b"a" * (1 << 21))
    (tmp_path / "folder.txt").mkdir()
    cells = ["gone.txt", "picture.txt", "blank.txt", "huge.txt", "folder.txt", "  ", "___ __", "Normal."]
    found = read_reports(manifest_of(cells, tmp_path))
    assert found.texts == [None] * 7 + ["Normal."]
    assert [(unusual.row, unusual.origin, unusual.reason) for unusual in found.set_aside] == [
        (0, "reports.csv row 2", "its file is missing"),
        (1, "reports.csv row 3", "its file is not text"),
        (2, "reports.csv row 4", "it is empty"),
        (3, "reports.csv row 5", "its file is larger than 1 MB"),
        (4, "reports.csv row 6", "its file cannot be read (IsADirectoryError)"),
        (5, "reports.csv row 7", "it is empty"),
        (6, "reports.csv row 8", "it is empty"),
    ]


def test_notes_say_each_reason_once_with_places_and_no_content(tmp_path):
    found = read_reports(manifest_of(["gone.txt", " ", "also_gone.txt", "Smith has a mass."], tmp_path))
    assert found.notes() == [
        "2 reports set aside: its file is missing (reports.csv row 2, reports.csv row 4)",
        "1 report set aside: it is empty (reports.csv row 3)",
    ]


def test_a_report_of_40000_characters_is_cut_at_a_blank_and_listed(tmp_path):
    found = read_reports(manifest_of(["effusion " * 4445], tmp_path))
    (text,) = found.texts
    assert len(text) <= LONGEST
    assert set(text.split()) == {"effusion"}
    assert [unusual.reason for unusual in found.changed] == ["it was cut at 20,000 characters"]


def test_a_report_of_40000_characters_without_a_blank_is_cut(tmp_path):
    (text,) = read_reports(manifest_of(["x" * 40_000], tmp_path)).texts
    assert len(text) == LONGEST


def test_progress_is_shown_where_there_are_files_to_read(tmp_path, monkeypatch):
    tracked = []
    monkeypatch.setattr(texts, "track", lambda items, what: tracked.append((len(items), what)) or items)
    assert read_reports(manifest_of(["Clear.", None], tmp_path)).present() == ["Clear."]
    assert tracked == []
    assert len(read_reports(manifest_of(["Clear.", "gone.txt", None], tmp_path))) == 3
    assert tracked == [(3, "Reading reports")]


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_comes_back_from_every_encoding(encoding):
    text = "Prof. Müller: 38° “rounded” opacity – no effusion"
    assert decode_report(text.encode(encoding))[0] == text


@pytest.mark.parametrize("big", [False, True])
def test_a_byte_order_mark_says_which_end_is_first(big):
    mark, encoding = (b"\xfe\xff", "utf-16-be") if big else (b"\xff\xfe", "utf-16-le")
    assert decode_report(mark + "Pleuraerguß".encode(encoding)) == ("Pleuraerguß", "utf-16")


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
def test_any_utf8_text_is_read_as_it_is(text):
    if not text.startswith("\ufeff"):
        assert decode_report(text.encode()) == (text, "utf-8")


def test_a_file_that_is_not_utf8_is_read_and_listed(tmp_path):
    (tmp_path / "old.txt").write_bytes("Pleuraerguß rechts".encode("cp1252"))
    found = read_reports(manifest_of(["old.txt"], tmp_path))
    assert found.texts == ["Pleuraerguß rechts"]
    assert [unusual.reason for unusual in found.changed] == ["it is not UTF-8 and was read as Windows-1252"]


def test_bytes_that_windows_1252_does_not_know_are_no_text():
    with pytest.raises(UnicodeError):
        decode_report(b"effusion \x81\x8d")


def test_line_breaks_are_one_kind_and_control_characters_blanks(tmp_path):
    (text,) = read_reports(manifest_of(["FINDINGS: Clear.\r\nIMPRESSION:\x0bNor\x07mal.\r"], tmp_path)).texts
    assert text == "FINDINGS: Clear.\nIMPRESSION:\nNor mal."


# --- encodings of a table ---------------------------------------------------------------------------------------------

GUESSED = "it is not UTF-8 and was read as Windows-1252"


def table_of(lines: list[bytes], folder, end: bytes = b"\n"):
    """A manifest of a table of these lines, whose images are not there."""
    (folder / "notes.csv").write_bytes(end.join([b"image,report,physician", *lines]) + end)
    return load_manifest(folder / "notes.csv", missing="keep")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_only_the_lines_that_are_not_utf8_are_read_as_windows_1252_and_their_reports_listed(tmp_path, end):
    lines = [
        "a.png,Müller Herz groß,x".encode(),
        "b.png,Erguß rechts,x".encode("cp1252"),
        b"c.png,Normal.,x",
    ]
    manifest = table_of(lines, tmp_path, end)
    found = read_reports(manifest)
    assert found.texts == ["Müller Herz groß", "Erguß rechts", "Normal."]
    assert [(unusual.origin, unusual.reason) for unusual in found.changed] == [("notes.csv row 3", GUESSED)]
    assert "notes.csv: 1 line is not UTF-8 and was read as Windows-1252 (line 3)" in manifest.notes


def test_a_report_over_several_lines_is_listed_where_one_of_them_is_not_utf8(tmp_path):
    lines = [
        'a.png,"Müller\nHerz groß\n\nklar",x'.encode(),
        b'b.png,"Herz normal\n' + "Erguß rechts\n".encode("cp1252") + 'Narbe möglich",x'.encode(),
        "c.png,Überlagert,x".encode(),
    ]
    found = read_reports(table_of(lines, tmp_path))
    assert found.texts == [
        "Müller\nHerz groß\n\nklar",
        "Herz normal\nErguß rechts\nNarbe möglich",
        "Überlagert",
    ]
    assert [(unusual.origin, unusual.reason) for unusual in found.changed] == [("notes.csv row 3", GUESSED)]


def test_a_report_is_not_listed_for_another_cell_of_its_row(tmp_path):
    found = read_reports(table_of(["a.png,Normal.,Müller".encode("cp1252")], tmp_path))
    assert (found.texts, found.changed, found.set_aside) == (["Normal."], [], [])


def test_reports_of_bytes_that_windows_1252_does_not_know_are_set_aside_and_their_lines_noted(tmp_path):
    lines = [
        b"a.png,Erg\x81u\xdf,x",
        "b.png,Erguß \ufffd,x".encode(),
        b"c.png,Normal.,x\x8d",
        b"d.png,Gro\xdf,x",
    ]
    manifest = table_of(lines, tmp_path)
    found = read_reports(manifest)
    assert found.texts == [None, "Erguß \ufffd", "Normal.", "Groß"]
    assert [(unusual.origin, unusual.reason) for unusual in found.set_aside] == [
        ("notes.csv row 2", "it is not text")
    ]
    assert [unusual.origin for unusual in found.changed] == ["notes.csv row 5"]
    assert "notes.csv: bytes that are not valid in Windows-1252 were replaced (lines 2, 4)" in manifest.notes


def test_what_is_known_of_encodings_goes_with_the_rows_that_are_kept(tmp_path):
    lines = [f"{name}.png,Erguß,x".encode("cp1252" if name in "bd" else "utf-8") for name in "abcd"]
    kept = table_of(lines, tmp_path).subset([3, 0])
    assert [(unusual.row, unusual.origin) for unusual in read_reports(kept).changed] == [
        (0, "notes.csv row 5")
    ]


# --- removed words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("XXXX", "___"),
        ("XXX year old", "___ year old"),
        ("There are no XXXX of a pleural effusion", "There are no ___ of a pleural effusion"),
        ("chest x-XXXX", "chest x-___"),
        ("by Dr. ___ at _____", "by Dr. ___ at ___"),
        ("[**2101-3-4**] 5:10 PM", "___ 5:10 PM"),
        ("seen by [**First Name8 (NamePattern2) **]", "seen by ___"),
        ("stage XX, MAXXXIMUM, snake_case", "stage XX, MAXXXIMUM, snake_case"),
    ],
)
def test_removed_words_have_one_spelling(written, expected):
    assert normalise_placeholders(written) == expected


@given(st.text(alphabet="aX_[]* \n", max_size=40))
def test_normalising_placeholders_twice_is_normalising_once(text):
    once = normalise_placeholders(text)
    assert normalise_placeholders(once) == once


# --- sections of many reports -----------------------------------------------------------------------------------------


def test_reports_without_findings_and_impression_are_set_aside_when_these_are_selected(tmp_path):
    cells = ["FINDINGS: Clear.\nIMPRESSION: Normal.", "INDICATION: Cough.", None, "Impression: Mass."]
    chosen = read_reports(manifest_of(cells, tmp_path)).select()
    assert chosen.texts == ["Clear.\nNormal.", None, None, "Mass."]
    (lost,) = chosen.set_aside
    assert (lost.origin, lost.reason) == ("reports.csv row 3", "it has no section findings or impression")


# --- real reports -----------------------------------------------------------------------------------------------------


def test_all_clinical_notes_that_lie_beside_the_covid_images_are_read(real_images):
    folder = real_images("cxr_covid")
    table = pd.read_csv(folder / "clinical_notes.csv", dtype=str)
    found = read_reports(Manifest(table, folder, source="clinical_notes.csv"), "clinical_notes")
    assert len(found.present()) == len(found) == 353
    assert found.set_aside == []


def test_no_removed_word_of_the_indiana_reports_keeps_its_spelling(real_images):
    folder = real_images("cxr_reports")
    with (folder / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    written = [f"{row['findings']}\n{row['impression']}" for row in rows]
    found = read_reports(manifest_of(written, folder))
    removed = sum(text.count("XXXX") for text in written)
    assert removed > 2_000
    assert not any("XXXX" in text for text in found.present())
    assert sum(text.count("___") for text in found.present()) >= 0.98 * removed
    assert len(found.set_aside) >= sum(not row["findings"] and not row["impression"] for row in rows) == 22
