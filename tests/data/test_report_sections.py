"""Sections and sentences of reports, made and real."""

import csv
import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.data.phantoms.chest import chest
from modicum.data.reports import (
    join_sections,
    sections,
    select_sections,
    sentences,
    split_sections,
    split_sentences,
)
from modicum.data.reports.sections import PREAMBLE, canonical_name

MIMIC_LIKE = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough.  // pneumonia?

 COMPARISON:  None.

 FINDINGS:

 PA and lateral views of the chest were provided.  There is no focal
 consolidation, effusion, or pneumothorax.

 IMPRESSION:

 No acute findings.
"""


@pytest.mark.parametrize("module", [sections, sentences])
def test_docstring_examples_run(module):
    assert doctest.testmod(module).failed == 0


# --- sections ---------------------------------------------------------------------------------------------------------


def test_a_report_laid_out_as_mimics_is_taken_apart():
    found = split_sections(MIMIC_LIKE)
    assert list(found) == [PREAMBLE, "examination", "indication", "comparison", "findings", "impression"]
    assert found["impression"] == "No acute findings."
    assert found["findings"].startswith("PA and lateral views")
    assert found["findings"].endswith("pneumothorax.")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("FINDINGS", "findings"),
        ("Findings", "findings"),
        ("CONCLUSION", "impression"),
        ("Opinion", "impression"),
        ("IMPRESSIONS", "impression"),
        ("CHEST, TWO VIEWS", "findings"),
        ("PORTABLE AP CHEST RADIOGRAPH", "findings"),
        ("PA AND LATERAL CHEST", "findings"),
        ("AP UPRIGHT AND LATERAL VIEWS OF THE CHEST", "findings"),
        ("FINDINGS/IMPRESSION", "findings"),
        ("CLINICAL  HISTORY", "history"),
        ("INDICATION", "indication"),
        ("ABDOMEN", "abdomen"),
    ],
)
def test_header_variants_have_one_name(header, name):
    assert canonical_name(header) == name
    assert split_sections(f"{header}: Some text.") == {name: "Some text."}


def test_the_later_of_two_sections_with_one_name_wins():
    found = split_sections("FINDINGS: Old.\nIMPRESSION: Mass.\nADDENDUM: Changed.\nCONCLUSION: No mass.")
    assert found["impression"] == "No mass."
    assert list(found)[-1] == "impression"


def test_a_later_section_that_is_empty_does_not_win():
    assert split_sections("IMPRESSION: Mass.\nIMPRESSION:\n") == {"impression": "Mass."}


def test_a_report_without_headers_is_all_preamble_and_has_neither_findings_nor_impression():
    text = "No acute disease at 10:30, ratio 1:2."
    assert split_sections(text) == {PREAMBLE: text}
    assert select_sections(text) is None


def test_known_headers_count_in_a_report_of_one_line_and_others_do_not():
    found = split_sections("INDICATION: Cough. FINDINGS: NOTE: clear lungs. IMPRESSION: Normal.")
    assert found == {"indication": "Cough.", "findings": "NOTE: clear lungs.", "impression": "Normal."}


def test_a_capital_word_inside_a_sentence_is_no_header():
    text = "FINDINGS: The ET tube ends 5 cm above the carina. Findings: discussed."
    assert list(split_sections(text)) == ["findings"]


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS:Clear lungs.\nIMPRESSION:1. Normal.",
        "Findings:Clear lungs.\nimpression:1. Normal.",
        "FINDINGS:Clear lungs. IMPRESSION:1. Normal.",
        "FINDINGS:Clear lungs.IMPRESSION :1. Normal.",
    ],
)
def test_known_headers_need_no_blank_after_their_colon(text):
    assert split_sections(text) == {"findings": "Clear lungs.", "impression": "1. Normal."}


@pytest.mark.parametrize(
    "header",
    [
        "CHEST, TWO VIEWS",
        "PORTABLE AP CHEST RADIOGRAPH",
        "PA AND LATERAL CHEST",
        "AP UPRIGHT AND LATERAL VIEWS OF THE CHEST",
        "SINGLE FRONTAL VIEW",
        "CHEST ",
    ],
)
@pytest.mark.parametrize("text", ["Clear lungs.", '"Clear" lungs.', "(limited) clear lungs."])
def test_headers_of_views_need_no_blank_after_their_colon_either(header, text):
    assert split_sections(f"{header}:{text}\nIMPRESSION:Normal.") == {
        "findings": text,
        "impression": "Normal.",
    }


@pytest.mark.parametrize(
    "text",
    [
        "CHEST 2:1", "CT CHEST 10:30", "PA/LATERAL 3:4", "TWO VIEWS:10", "E:A RATIO OF CHEST", "ABDOMEN:Clear.",
        "CHEST::", "Compared with CHEST VIEWS:same.",
    ],
)  # fmt: skip
def test_numbers_after_views_and_other_unknown_names_are_no_headers(text):
    assert split_sections(text) == {PREAMBLE: text}


@pytest.mark.parametrize(
    "text", ["CT 10:30, E:A 1:2", "AT 10:30 CHEST 2:1", "STUDY 10:30 unchanged.", "Exam 2:1", "T2:T1 RATIO:3"]
)
def test_times_and_ratios_are_no_headers(text):
    assert split_sections(text) == {PREAMBLE: text}
    assert split_sections(f"Impression: Seen at\n{text}") == {"impression": f"Seen at\n{text}"}


def test_findings_and_impression_are_selected_in_the_order_asked_for():
    assert select_sections(MIMIC_LIKE, ["impression"]) == "No acute findings."
    assert select_sections(MIMIC_LIKE, ["impression", "findings"]).startswith("No acute findings.\nPA and")


words = st.text(alphabet="abcdefgh ,.", min_size=1, max_size=30).map(str.strip).filter(bool)


@given(
    st.dictionaries(
        st.sampled_from(["findings", "impression", "comparison", "indication"]), words, min_size=1
    )
)
def test_joined_sections_come_apart_again(parts):
    assert split_sections(join_sections(parts)) == parts


@given(st.text(alphabet="FINDGS: abc\n.,()", max_size=80))
def test_no_text_makes_splitting_fail_or_invents_words(text):
    for content in split_sections(text).values():
        assert content in text
        assert content.strip() == content != ""


def test_made_reports_have_both_sections():
    for seed in range(20):
        found = split_sections(chest(seed, 64).report)
        assert list(found) == ["findings", "impression"]


def test_long_input_is_split_in_little_time():
    assert len(split_sections("A" * 40_000)[PREAMBLE]) == 40_000
    assert len(split_sections("FINDINGS: CHEST VIEW " * 2_000)) == 1
    assert len(split_sections("CHEST PA PORTABLE LATERAL VIEW " * 2_000)) == 1
    assert len(split_sections("PA CHEST VIEW\n" * 5_000)) == 1


# --- sentences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Clear lungs. No effusion.", ["Clear lungs.", "No effusion."]),
        ("A 1.2 cm nodule. T5 fracture.", ["A 1.2 cm nodule.", "T5 fracture."]),
        ("Seen by Dr. ___ today. Done.", ["Seen by Dr. ___ today.", "Done."]),
        ("Effusion vs. Pneumonia. ___ noted.", ["Effusion vs. Pneumonia.", "___ noted."]),
        ("Effusion? No. Mass!", ["Effusion?", "No.", "Mass!"]),
        ("Clear lungs.. Normal heart.", ["Clear lungs..", "Normal heart."]),
        ("Clear (see above.) Normal.", ["Clear (see above.)", "Normal."]),
        ("one line\nand the next. Then more", ["one line and the next.", "Then more"]),
        ("First paragraph\n\nSecond", ["First paragraph", "Second"]),
        ("1. Mass. 2. No effusion.", ["Mass.", "No effusion."]),
        ("Impression: 1) Cardiomegaly 2) Effusion", ["Impression:", "Cardiomegaly", "Effusion"]),
        ("At the level of T 5. Normal.", ["At the level of T 5.", "Normal."]),
        ("Cardiomegaly grade 2. No effusion.", ["Cardiomegaly grade 2.", "No effusion."]),
        ("no stop at all", ["no stop at all"]),
        ("... \n\n -", []),
        ("", []),
    ],
)
def test_sentences(text, expected):
    assert split_sentences(text) == expected


@given(st.text(alphabet="aB1.?! \n_()", max_size=60))
def test_sentences_keep_every_letter_in_its_order(text):
    kept = "".join(split_sentences(text))
    assert [c for c in kept if c in "aB"] == [c for c in text if c in "aB"]


def test_the_made_reports_sentences_are_counted_by_their_stops():
    for seed in range(20):
        findings = split_sections(chest(seed, 64).report)["findings"]
        stops = sum(
            1
            for place, c in enumerate(findings)
            if c == "." and not findings[place + 1 : place + 2].isdigit()
        )
        assert len(split_sentences(findings)) == stops


def test_real_findings_have_about_five_sentences_none_of_them_a_bare_number(real_images):
    with (real_images("cxr_reports") / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        found = [split_sentences(row["findings"]) for row in csv.DictReader(file) if row["findings"]]
    counts = np.array([len(one) for one in found])
    # Demner-Fushman et al. 2016 give no count; a radiologist's paragraph of 30 to 40 words has four to seven.
    assert 4 <= counts.mean() <= 7
    assert not any(sentence.strip(".").isdigit() for one in found for sentence in one)
