"""mlseg shards verify on styled views: two targets of each shard, every image of one colour cast."""

import json

import numpy as np
import pytest

from launch.cli import main
from mlseg_dist.data.styled import MEMBERS
from mlseg_dist.run_folder import mark_cleaned
from shards.sample import decode_rgb, encode_jpeg, encode_json
from shards.tar import write_shard
from shards.verify.corpus import verify_corpus
from tests.shards.verify.damage import edit_manifest, entries, found, read_samples, rewrite_sidecar, sidecar_entry

TARGETS = {"Philips": 20, "Morphle": -20}


@pytest.fixture
def styled(corpus, tmp_path):
    """The train split of the corpus in two styles."""
    folder = tmp_path / "styled"
    folder.mkdir()
    listed, targets = [], {}
    for entry in [e for e in entries(corpus) if e["split"] == "train"]:
        for target, cast in TARGETS.items():
            name = f"{entry['name'][:-4]}-as-{target}-0a0a0a0a.tar"
            samples = []
            for key, members in read_samples(corpus / entry["name"]):
                images = {m: encode_jpeg(tinted(decode_rgb(members[m]), cast), 95) for m in ("high.jpg", "low.jpg")}
                samples.append((key, {**images, "json": encode_json({"version": 1, "of": key, "target": target})}))
            write_shard(folder / name, samples)
            listed.append(sidecar_entry(folder, name, entry))
            targets[name] = target
    tree = json.loads((corpus / "manifest.json").read_text())
    tree = {key: tree[key] for key in ("version", "fingerprint", "views", "classes")} | {
        "kind": "styled",
        "members": MEMBERS,
        "shards": listed,
        "totals": {"shards": len(listed), **{k: sum(e[k] for e in listed) for k in ("samples", "bytes")}},
        "facts": {"targets": targets},
    }
    (folder / "manifest.json").write_text(json.dumps(tree))
    return folder


def tinted(image: np.ndarray, cast: int) -> np.ndarray:
    return np.clip(image + np.array([cast, 0, -cast]), 0, 255).astype(np.uint8)


def test_sound_styled_views_are_sound(styled):
    report = verify_corpus(styled, 1)
    assert (report.damage, report.warnings) == ([], [])
    assert report.samples == sum(entry["samples"] for entry in entries(styled)) > 40


@pytest.mark.parametrize(
    ("member", "data", "what"),
    [
        ("high.jpg", lambda old: old[: len(old) // 2], "high.jpg does not end"),
        ("low.jpg", lambda old: encode_jpeg(decode_rgb(old)[:, ::-1].copy() // 4, 95), "high.jpg shows other tissue"),
        ("json", lambda old: old.replace(b"Philips", b"Morphle"), "json says target 'Morphle', it should be 'Philips'"),
        ("json", lambda old: b"{}", "json is of version None"),
    ],
)
def test_damage_is_found(styled, member, data, what):
    start = rewrite_sidecar(styled, 3, member, data)
    assert any(text.startswith(start + what) for text in found(styled)), found(styled)


def test_one_style_twice_and_a_lost_target_are_found(styled):
    names = [entry["name"] for entry in entries(styled)]
    edit_manifest(styled, lambda tree: tree["facts"]["targets"].update({names[1]: "Philips"}))
    told = found(styled)
    assert any("2 sidecars show" in text and text.endswith("as Philips") for text in told)
    assert any(f"the key is also in {names[1]}" in text for text in told), "the first by name holds it"
    edit_manifest(styled, lambda tree: tree["facts"]["targets"].pop(names[1]))
    assert any(f"{names[1]} is listed among the shards or among their targets" in text for text in found(styled))


def test_what_was_cleaned_away_is_said_in_one_line(styled, capsys):
    mark_cleaned(styled, 2, 10)
    assert main(["shards", "verify", str(styled)]) == 2
    assert "cleaned away" in capsys.readouterr().err
