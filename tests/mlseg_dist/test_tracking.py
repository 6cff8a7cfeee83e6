"""W&B: what an offline run's file holds, decoded with W&B's own messages; its failure never reaches training."""

import json
import struct
import time

import numpy as np
from wandb.proto import wandb_internal_pb2

from mlseg_core.config import validate
from mlseg_dist.config import LearningConfig
from mlseg_dist.training.tracking import Tracker, flatten
from tests.mlseg_dist.tiny_run import plain_config


def config(**tracking) -> LearningConfig:
    return validate({**plain_config(), "tracking": {"mode": "offline", **tracking}}, LearningConfig, "test")


def records(folder):
    """A .wandb file is LevelDB's log: after 7 bytes of its own, blocks of 32 KiB of (crc, length, type) and payload."""
    data = next(folder.glob("wandb/offline-run-*/*.wandb")).read_bytes()
    assert data[:4] == b":W&B"
    at, payload = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        payload += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            yield record.WhichOneof("record_type"), record
            payload = b""


def test_an_offline_run_holds_what_was_logged(tmp_path):
    phase = tmp_path / "02-base"
    phase.mkdir()
    tracker = Tracker(config(), phase, segment=1, patience_s=60)
    for step in (10, 20):
        figures = {"kind": "val", "step": step, "miou": step / 100, "iou": {"tumour": 0.5, "others": None}}
        tracker.log(flatten(figures, "val/"))
    picture = np.zeros((16, 16), np.uint8)
    tracker.pictures(20, [{"high": np.zeros((16, 16, 3), np.uint8), "truth": picture, "prediction": picture + 1}])
    tracker.close()
    found = list(records(phase))
    run = next(record.run for kind, record in found if kind == "run")
    assert (run.run_group, run.job_type, run.display_name) == ("tiny", "base", "tiny/02-base/1")
    history = []
    for kind, record in found:
        if kind == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            history.append(items)
    logged = [(h["step"], h["val/miou"], h["val/iou/tumour"]) for h in history if "val/miou" in h]
    assert logged == [(10, 0.1, 0.5), (20, 0.2, 0.5)]
    assert all("val/iou/others" not in h for h in history)
    media = list(phase.glob("wandb/offline-run-*/files/media/images/**/*.png"))
    assert len(media) == 3, "the view and its two masks"


def test_a_broken_tracker_is_told_once_and_stops_nothing(tmp_path, capsys):
    phase = tmp_path / "02-base"
    phase.mkdir()
    (phase / "wandb").write_text("in the way")
    begun = time.monotonic()
    tracker = Tracker(config(), phase, segment=1)
    for step in range(1000):
        tracker.log({"step": step})
    tracker.close()
    assert time.monotonic() - begun < 25
    assert capsys.readouterr().out.count("W&B is off for this phase") == 1


def test_switched_off_it_writes_nothing(tmp_path):
    tracker = Tracker(config(enabled=False), tmp_path, segment=1)
    tracker.log({"step": 1})
    tracker.close()
    assert list(tmp_path.iterdir()) == []
