"""Reports of Train SGM and Detect anomalies: complete, self-contained, and true."""

import csv
import re

import numpy as np
import pytest
from conftest import read

from scoread_qgis.reports.page import Page, readable


@pytest.fixture(scope="module")
def reported(sample, provider, tmp_path_factory):
    """Folder with the reports of a training and a detection."""
    import processing

    folder = tmp_path_factory.mktemp("reports")
    trained = processing.run(
        "scoread:train_sgm",
        {
            "INPUT": sample.path,
            "SEED": 7,
            "HIDDEN": 128,
            "STEPS": 30,
            "MODEL": str(folder / "model.pt"),
            "REPORT": str(folder / "train.html"),
        },
    )
    detected = processing.run(
        "scoread:detect_anomalies",
        {"INPUT": sample.path, "MODEL": trained["MODEL"], "OUTPUT": str(folder / "map.tif"), "REPORT": str(folder / "detect.html")},
    )
    assert trained["REPORT"] == str(folder / "train.html")
    assert detected["REPORT"] == str(folder / "detect.html")
    return folder


def cells(page):
    """Rows of all tables as tuples of texts."""
    return {tuple(re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)) for row in re.findall(r"<tr>(.*?)</tr>", page)}


def test_training_report_repeats_the_run(reported, sample):
    page = (reported / "train.html").read_text(encoding="utf-8")
    rows = cells(page)
    bad = int((~sample.scene.good).sum())
    assert ("scenes", sample.path) in rows
    assert ("random seed", "7") in rows
    assert ("hidden", "128") in rows
    assert ("samples", "10000") in rows  # a setting that was left at its default
    assert not any(row[0] == "steps" for row in rows) and "STEPS is ignored by this detector." in page
    assert ("device", "cpu") in rows
    assert any(row[0] == "left out" and row[1] != "none" for row in rows) == (bad > 0)
    assert any(row[0] == "qgis" for row in rows)
    assert any(row[0] == "torch" for row in rows)
    assert "flagged bad in the file" in page  # the log
    assert page.count("data:image/svg+xml") == 1  # spectra
    assert "There is no training loss" in page
    assert "They are evidence of how well this Gaussian, one of the parts of the anomaly value, fits the scene." in page
    assert "predictor" not in page, "nothing is sampled step by step"
    assert "Anomaly map" not in page


def test_detection_report_has_map_histogram_and_thresholds(reported):
    page = (reported / "detect.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 3
    scores = read(reported / "map.tif")
    highest = next(row[1] for row in cells(page) if row[0] == "100 %")
    assert float(highest) == pytest.approx(np.nanmax(scores), rel=1e-3)
    threshold, share = next(row[1:] for row in cells(page) if row[0] == "0.01")
    assert float(share.rstrip("%")) / 100 == pytest.approx((scores > float(threshold)).mean(), abs=0.002)


def test_reports_open_without_network(reported):
    for name in ("train.html", "detect.html"):
        page = (reported / name).read_text(encoding="utf-8")
        assert "<script" not in page
        assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)


def test_fers_has_no_spectra_to_sample(run, sample, tmp_path):
    model = run("train_fers", INPUTS=[sample.path], EPOCHS=1, PATCH=16, MODEL=str(tmp_path / "fers.pt")).MODEL
    run("detect_anomalies", INPUT=sample.path, MODEL=model, OUTPUT=str(tmp_path / "map.tif"), REPORT=str(tmp_path / "fers.html"))
    assert "FERS learns no distribution of spectra" in (tmp_path / "fers.html").read_text(encoding="utf-8")


def test_report_of_the_paper_mode(run, sample, tmp_path):
    run("train_sgm", INPUT=sample.path, MODE=1, EPOCHS=1, MODEL=str(tmp_path / "paper.pt"), REPORT=str(tmp_path / "paper.html"))
    page = (tmp_path / "paper.html").read_text(encoding="utf-8")
    assert "sampled from the network, by its score (predictor and corrector" in page
    assert "They are evidence of what the network has learnt" in page
    rows = cells(page)
    assert ("detector", "SGM, paper mode") in rows
    assert ("epochs", "1") in rows
    assert ("sigma", "5") in rows


def test_a_report_that_cannot_be_written_is_refused_before_the_work(run, sample, tmp_path):
    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException, match=r"ends in \.html"):
        run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "model.pt"), REPORT=str(tmp_path / "report.pdf"))
    assert not (tmp_path / "model.pt").exists()


def test_text_is_escaped(tmp_path):
    page = Page("<b>title</b>")
    page.paragraph("1 < 2 & 3")
    page.table([["<i>", 1.23456]], ["what", "value"])
    page.lines(["<script>alert(1)</script>"])
    page.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>title" not in text and "<i>" not in text and "<script" not in text
    assert "1 &lt; 2 &amp; 3" in text
    assert '<td class="number">1.235</td>' in text


def test_numbers_as_text():
    assert [readable(value) for value in (None, 3, 0.000012345, 123456.7, "a")] == ["", "3", "1.234e-05", "1.235e+05", "a"]


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    from scoread_qgis.workflows.outputs import write_table

    texts = ["=1+1", "+1", "-a", "@SUM(A1)", "\t=1", "\r=1", "map = 1", "", "a\nb"]
    numbers = [-1, -0.5, np.float32(-2.5), 0, 3]
    write_table(tmp_path / "a.csv", ["=header", "plain"], [texts, numbers])
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        header, first, second = csv.reader(file)
    assert header == ["'=header", "plain"]
    assert first == [*(f"'{text}" for text in texts[:6]), *texts[6:]]
    assert second == ["-1", "-0.5", "-2.5", "0", "3"]
