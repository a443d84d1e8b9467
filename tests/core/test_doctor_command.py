"""`mmspec doctor`: findings, costs, exit status."""

from __future__ import annotations

import json

import mmspec.doctor
from mmspec.cli import main
from mmspec.costs import SIZES
from mmspec.doctor import Finding


def test_reports_findings_and_costs_as_json(capsys):
    assert main(["doctor", "--json", "--seconds", "0.05", "--batch-size", "2"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"ok"} <= {finding["level"] for finding in document["findings"]}
    costs = document["verify_costs"]
    assert [cost["tokens"] for cost in costs] == list(SIZES)
    assert costs[0]["relative"] == 1.0
    assert all(cost["seconds"] > 0 for cost in costs)


def test_a_broken_installation_is_status_1_and_says_the_fix(capsys, monkeypatch):
    broken = Finding("error", "torchvision", "does not fit torch", "install both together")
    monkeypatch.setattr(mmspec.doctor, "check_environment", lambda: [broken])
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  torchvision: does not fit torch" in out
    assert "-> install both together" in out
    assert "tokens" not in out  # nothing is timed on a broken installation


def test_timing_can_be_left_out(capsys):
    assert main(["doctor", "--seconds", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["verify_costs"] == []
