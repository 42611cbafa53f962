"""What TF_CONFIG and --num_workers say of the other workers, before any is met."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from odapi import cli
from odapi.console.errors import UserError
from odapi.pipeline.config import load
from odapi.train import plan as planning
from odapi.train import workers

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

ONE = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
TWO = {
    "cluster": {"worker": ["localhost:1", "localhost:2"]},
    "task": {"type": "worker", "index": 0},
}


def flags(config: Path, model_dir: Path, *more: str) -> list[str]:
    return [f"--pipeline_config_path={config}", f"--model_dir={model_dir}", *more]


class TestTheCluster:
    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            (None, "nothing says where the 2 workers are"),
            ("{", "this describes no cluster"),
            ("[]", "this describes no cluster"),
            ({}, "the cluster has 0 workers, and --num_workers is 2"),
            (ONE, "the cluster has 1 workers, and --num_workers is 2"),
            (TWO | {"task": {"type": "worker", "index": 2}}, "no worker of index 2"),
            (TWO | {"task": {"type": "evaluator", "index": 0}}, "no evaluator of index 0"),
            (TWO | {"task": {}}, "no None of index -1"),
        ],
    )
    def test_a_wrong_tf_config_is_refused(
        self, project, tmp_path, monkeypatch, capsys, config, expected
    ):
        text = config if isinstance(config, str) else json.dumps(config)
        monkeypatch.delenv("TF_CONFIG", raising=False)
        if config is not None:
            monkeypatch.setenv("TF_CONFIG", text)
        args = flags(project.config, tmp_path / "m", "--num_workers=2")
        assert cli.main(["train", *args]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert "at: environment variable TF_CONFIG" in error
        assert '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}' in error
        assert not (tmp_path / "m").exists()

    def test_workers_without_the_flag_would_train_alone(
        self, project, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setenv("TF_CONFIG", json.dumps(TWO))
        assert cli.main(["train", *flags(project.config, tmp_path / "m")]) == 2
        assert "hint: --num_workers=2" in capsys.readouterr().err

    def test_the_chief_is_the_first(self, monkeypatch):
        cluster = {"worker": ["localhost:1"], "chief": ["localhost:3"]}
        for kind, index in (("chief", 0), ("worker", 1)):
            config = {"cluster": cluster, "task": {"type": kind, "index": 0}}
            monkeypatch.setenv("TF_CONFIG", json.dumps(config))
            task = workers.read_task(2)
            assert task.index == index
            assert list(task.addresses.values()) == ["localhost:3", "localhost:1"]

    def test_one_worker_in_a_cluster_of_one_needs_no_flag(self, monkeypatch):
        monkeypatch.setenv("TF_CONFIG", json.dumps(ONE))
        assert workers.read_task(1) is None

    def test_a_batch_that_replicas_cannot_divide_is_refused(self, project):
        team = workers.Workers(SimpleNamespace(num_replicas_in_sync=3), None)
        plan = SimpleNamespace(config=load(str(project.config)))
        with pytest.raises(UserError) as caught:
            planning._steps_in_words(plan, team)
        assert "3 replicas cannot divide a batch of 4 images evenly" in str(caught.value)
        assert "set 6" in str(caught.value)
