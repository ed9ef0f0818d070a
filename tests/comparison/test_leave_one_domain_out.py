"""Every domain in turn is held out: what is trained, what the table says, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from small_comparison import compare, markdown_rows

from modicum.comparison.grid import chosen_rates, search_cells, seed_cells
from modicum.comparison.records import Measure
from modicum.comparison.request import Request
from modicum.comparison.table import columns, method_table, rows_of
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError

PROTOCOL = "leave-one-domain-out"
DOMAINS = ("Centre A", "Centre B", "Centre C")


@pytest.fixture(scope="module")
def centres(tmp_path_factory):
    """48 made photographs of three centres, half of them healthy; with a split that nobody asks for."""
    table = write_fundus_dataset(
        tmp_path_factory.mktemp("centres") / "eyes", 24, 40, seed=5, masks=False,
        fractions={"train": 0.5, "val": 0.25, "test": 0.25}, grade_probabilities=(1, 0, 1, 0, 0),
    )  # fmt: skip
    rows = pd.read_csv(table, dtype=str)
    rows["label"] = ["healthy" if grade == "0" else "ill" for grade in rows["label"]]
    number = {patient: index for index, patient in enumerate(dict.fromkeys(rows["patient"]))}
    rows["domain"] = [DOMAINS[number[patient] % 3] for patient in rows["patient"]]
    rows.to_csv(table, index=False)
    return table


@pytest.fixture(scope="module")
def done(centres, tmp_path_factory):
    return compare(centres, tmp_path_factory.mktemp("runs"), "centres", methods=["full"], protocol=PROTOCOL)


def test_there_is_a_cell_for_each_domain_and_seed(done):
    assert list(done.cells["cell"]) == [
        f"full-Centre_{letter}-seed{seed}" for letter in "ABC" for seed in (0, 1)
    ]
    assert list(done.cells["held_out"]) == [domain for domain in DOMAINS for _ in range(2)]
    assert not done.failed


def test_each_cell_is_tested_on_its_domain_alone_and_validated_on_the_others(done):
    for name, domain in zip(done.cells["cell"], done.cells["held_out"], strict=True):
        rows = pd.read_csv(done.path / "cells" / name / "manifest.csv")
        assert set(rows[rows["split"] == "test"]["domain"]) == {domain}
        for split in ("train", "val"):
            assert set(rows[rows["split"] == split]["domain"]) == set(DOMAINS) - {domain}
        assert Recipe.read(done.path / "cells" / name / "recipe.yaml").data.held_out == domain


def test_seeds_of_a_domain_have_the_same_split(done):
    files = [(done.path / "cells" / name / "manifest.csv").read_bytes() for name in done.cells["cell"]]
    assert files[0] == files[1]
    assert files[2] != files[0]


def test_the_score_is_the_mean_over_domains_and_its_spread_that_over_seeds(done):
    scores = done.cells.set_index(["held_out", "seed"])["score"].unstack()
    row = done.table.iloc[0]
    assert row["score"] == pytest.approx(scores.to_numpy().mean())
    assert row["score_std"] == pytest.approx(np.std(scores.mean(axis=0), ddof=1))
    for domain in DOMAINS:
        assert row[f"score {domain}"] == pytest.approx(scores.loc[domain].mean())
    assert row["seeds"] == 2


def test_tables_and_page_name_every_domain(done):
    heading = markdown_rows((done.path / "table.md").read_text())[0]
    assert heading[2:6] == [*DOMAINS, "AUROC (mean over domains)"]
    page = (done.path / "compare.html").read_text()
    assert "3 domains, held out in turn" in page
    assert "the data's own split was not used" in page.replace("&#39;", "'")
    assert not any("changed between cells" in caution for caution in done.cautions)


def test_the_same_call_finds_all_cells_finished(centres, done):
    before = (done.path / "cells" / "full-Centre_B-seed1" / "metrics.json").stat().st_mtime_ns
    compare(centres, done.path.parent, "centres", methods=["full"], protocol=PROTOCOL)
    assert (done.path / "cells" / "full-Centre_B-seed1" / "metrics.json").stat().st_mtime_ns == before


def test_going_on_with_the_datas_own_split_is_refused(centres, done):
    with pytest.raises(InputError, match="was started with"):
        compare(centres, done.path.parent, "centres", methods=["full"])


def test_the_request_is_written_down(done):
    stored = yaml.safe_load((done.path / "compare.yaml").read_text())
    assert (stored["protocol"], tuple(stored["domains"])) == (PROTOCOL, DOMAINS)


# The grid


@pytest.fixture
def request_of_two():
    made = Request.of("images", ["full", "linear"], 2, [1e-3, 1e-2], {}, protocol=PROTOCOL)
    return replace(made, folds=("x", "y"))


def test_each_domain_has_a_search_of_its_own(request_of_two, tmp_path):
    assert len(search_cells(request_of_two)) == 2 * 2 * 2
    assert set(chosen_rates(request_of_two, tmp_path)) == {"full-x", "full-y", "linear-x", "linear-y"}
    chosen = {"full-x": 1e-3, "full-y": 1e-2, "linear-x": None, "linear-y": 1e-3}
    assert [(cell.fold, cell.lr) for cell in seed_cells(request_of_two, chosen) if cell.variant == "full"] == [
        ("x", 1e-3), ("x", 1e-3), ("y", 1e-2), ("y", 1e-2),
    ]  # fmt: skip
    assert [cell.name for cell in seed_cells(request_of_two, chosen) if cell.variant == "linear"] == [
        "linear-y-seed0-lr0.001", "linear-y-seed1-lr0.001",
    ]  # fmt: skip


def made_cells(scores):
    rows = [
        {
            "cell": f"m-{domain}-{seed}", "method": "m", "held_out": domain, "seed": seed, "use": "seed", "error": "",
            "state": "failed" if np.isnan(score) else "finished", "score": score, "memory_kind": "estimated",
            **dict.fromkeys(
                (
                    "low", "high", "lr", "batch_size", "learnable", "learnable_percent", "memory_mib",
                    "seconds_per_epoch", "images_per_second", "checkpoint_bytes", "feature_bytes_per_image",
                ), 1.0,
            ),
        }
        for (domain, seed), score in scores.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_seed_that_failed_on_one_domain_is_in_no_mean_over_domains():
    scores = {("x", 0): 0.9, ("x", 1): 0.7, ("y", 0): 0.5, ("y", 1): np.nan}
    measure = Measure("dice", "test", True, "patient", 1, dense=True, of_full=False, folds=("x", "y"))
    (row,) = rows_of(method_table(["m"], made_cells(scores), measure, lambda row: np.nan, ("x", "y")))
    assert (row["score"], row["seeds"], row["failed"]) == (pytest.approx(0.7), 1, 1)
    assert row["score x"] == pytest.approx(0.8)
    shown = {column.title: column.text(row) for column in columns(measure)}
    assert shown["x"] == "0.800 ± 0.141"
    assert shown["y"] == "0.500"


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="domain"), "no column 'domain'"),
        (lambda rows: rows.assign(domain="Centre A"), "all images are of domain 'Centre A'"),
        (
            lambda rows: rows.assign(domain=["a b" if i % 2 else "a/b" for i in range(len(rows))]),
            "would both be named 'a_b'",
        ),
    ],
)
def test_data_that_have_no_domains_to_hold_out_are_refused_before_training(
    centres, tmp_path, change, message
):
    table = centres.parent / f"changed-{tmp_path.name}.csv"
    change(pd.read_csv(centres, dtype=str)).to_csv(table, index=False)
    with pytest.raises(InputError, match=message):
        compare(table, tmp_path, "changed", protocol=PROTOCOL)
    assert not (tmp_path / "changed").exists()


def test_an_unknown_protocol_gets_a_suggestion(centres, tmp_path):
    with pytest.raises(InputError, match=r"unknown protocol 'leave-one-out'; did you mean"):
        compare(centres, tmp_path, "one", protocol="leave-one-out")


def test_one_domain_cannot_be_held_out_beside_the_protocol(centres, tmp_path):
    with pytest.raises(InputError, match=r"'held_out' cannot be set in a comparison; pass --protocol"):
        compare(centres, tmp_path, "one", held_out="Centre A")
