"""`mmspec doctor`: findings, costs, exit status."""

from __future__ import annotations

import json

import pytest
import torch

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


@pytest.fixture
def drafter(tmp_path):
    """Makes the folder of a random EAGLE drafter for the tiny checkpoint, or for another one."""
    from lm_drafting.networks import build_network
    from lm_drafting.storage import save

    def make(hidden=32):
        shape = {"hidden_size": hidden, "vocab_size": 64, "intermediate_size": 48}
        network = build_network(
            "eagle", {**shape, "num_attention_heads": 4, "num_key_value_heads": 2}
        )
        network.reset_parameters(torch.Generator().manual_seed(0))
        target = {"model_type": "llava", "hidden_size": hidden, "vocab_size": 64}
        save(network, tmp_path / "drafter", target, torch.float32)
        return str(tmp_path / "drafter")

    return make


def test_a_drafter_is_examined(capsys, llava_folder, photos, drafter):
    line = ["doctor", "--model", str(llava_folder), "--drafter", drafter(), "--data", str(photos)]
    line += ["--seconds", "0", "--dtype", "float32"]
    assert main([*line, "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = document["acceptance"]
    assert [row["ingredient"] for row in rows[:2]] == ["nothing", "hidden states"]
    assert all(row["acceptance_length"] >= 1.0 for row in rows)
    assert "pictures" in {row["ingredient"] for row in rows}
    assert document["diagnosis"].startswith("nothing wired wrongly found; the drafter is under")
    assert main([*line, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert " greedy answers, " in out
    assert "  pairs          embedding of token j+1, hidden state j" in out
    assert out.rstrip().endswith("(`mmspec train eagle`).")


def test_pictures_of_the_world_and_other_questions(capsys, llava_folder, drafter):
    line = ["doctor", "--model", str(llava_folder), "--drafter", drafter(), "--samples", "8"]
    line += ["--prompt", "w1 w2", "--seconds", "0", "--dtype", "float32", "--json", "--quiet"]
    assert main(line) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["acceptance"]
    assert "pictures" in {row["ingredient"] for row in rows}


def test_a_text_model_is_asked_without_pictures(capsys, llama_folder, tmp_path, drafter):
    folder = tmp_path / "drafter"
    drafter()
    config = json.loads((folder / "config.json").read_text())
    config["target"]["model_type"] = "llama"
    (folder / "config.json").write_text(json.dumps(config))
    line = ["doctor", "--model", str(llama_folder), "--drafter", str(folder), "--samples", "1"]
    assert main([*line, "--seconds", "0", "--dtype", "float32", "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["acceptance"]
    assert "pictures" not in {row["ingredient"] for row in rows}


def test_a_drafter_of_another_target_is_one_sentence(capsys, llava_folder, photos, drafter):
    line = ["doctor", "--model", str(llava_folder), "--drafter", drafter(hidden=48)]
    assert main([*line, "--data", str(photos), "--seconds", "0", "--json", "--quiet"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "trained for another target: hidden_size 48 (this target has 32)" in said.err
    assert len(said.err.splitlines()) == 1


def test_data_without_a_drafter_is_wrong_usage(capsys, photos):
    assert main(["doctor", "--data", str(photos)]) == 2
    assert "--drafter" in capsys.readouterr().err
