"""mlseg shards verify on a round of labels."""

import json

import numpy as np
import pytest

from mlseg_dist.data.labels import LEVELS, Accepting, decode, encode
from shards.manifest import write_seeds
from shards.sample import decode_label, encode_json, encode_png
from shards.tar import write_shard
from shards.verify import sample
from shards.verify.corpus import verify_corpus
from tests.shards.verify.damage import edit_manifest, entries, found, read_samples, rewrite_sidecar, sidecar_entry

LABEL_MEMBERS = ("high.png", "json", "low.png")


@pytest.fixture
def labels(corpus, tmp_path):
    """A round of labels for the train split of the corpus: half resolution, classes 0 to 2, some px without a prediction."""
    folder = tmp_path / "labels"
    folder.mkdir()
    random = np.random.default_rng(5)
    listed = []
    for entry in [e for e in entries(corpus) if e["split"] == "train"]:
        name, codes, samples = f"{entry['name'][:-4]}-0a0a0a0a.tar", [], []
        for key, _ in read_samples(corpus / entry["name"]):
            high, low = (encode(random.dirichlet((1, 1, 1), (32, 32)).transpose(2, 0, 1)) for _ in range(2))
            high[:4] = 255
            codes.append(high)
            info = encode_json({"version": 1, "of": key})
            samples.append((key, {"high.png": encode_png(high), "json": info, "low.png": encode_png(low)}))
        write_shard(folder / name, samples)
        classes = decode(np.array(codes), Accepting.from_threshold(0.75).table("high"))
        counts = {
            c: int((classes == i).sum())
            for i, c in ((0, "background"), (1, "tumour"), (2, "others"), (255, "rejected"))
        }
        listed.append(
            sidecar_entry(folder, name, entry)
            | {
                "seeds": {"tumour": 1, "not drawn": len(samples) - 1},
                "pixels": counts,
            }
        )
    tree = json.loads((corpus / "manifest.json").read_text())
    keep = {key: tree[key] for key in ("version", "fingerprint", "views")}
    seeds = np.full(sum(entry["samples"] for entry in listed), 255, np.uint8)
    total = {name: sum(e["pixels"][name] for e in listed) for name in ("background", "tumour", "others")}
    tree = keep | {
        "kind": "labels",
        "members": LABEL_MEMBERS,
        "classes": ["background", "tumour", "others"],
        "shards": listed,
        "totals": {"shards": len(listed), **{k: sum(e[k] for e in listed) for k in ("samples", "bytes")}},
        "facts": {"threshold": 0.75, "accepted": total, "seeds": write_seeds(folder, seeds)},
    }
    (folder / "manifest.json").write_text(json.dumps(tree))
    return folder


def test_a_sound_round_of_labels_is_sound(labels):
    report = verify_corpus(labels, 1)
    assert (report.damage, report.warnings) == ([], [])
    assert report.samples == sum(entry["samples"] for entry in entries(labels)) > 20
    assert sum(entry["pixels"]["tumour"] for entry in entries(labels)) > 100
    assert sample.LEVELS == LEVELS


def test_thresholds_differ_by_class(labels):
    """Tumour from .75 as before, background never, others from .9; the counts of the other thresholds are damage."""
    accepting = {"high": {"background": None, "tumour": 0.75, "others": 0.9}}
    accepting["low"] = accepting["high"]
    edit_manifest(labels, lambda tree: tree["facts"].update(threshold=0.5, accepting=accepting))
    assert found(labels)

    table = Accepting.from_json(accepting).table("high")

    def count(tree):
        total = dict.fromkeys(("background", "tumour", "others"), 0)
        for entry in tree["shards"]:
            pngs = [decode_label(data["high.png"]) for _, data in read_samples(labels / entry["name"])]
            classes = decode(np.array(pngs), table)
            entry["pixels"] = {c: int((classes == i).sum()) for i, c in enumerate(total)}
            entry["pixels"]["rejected"] = int((classes == 255).sum())
            for name in total:
                total[name] += entry["pixels"][name]
        tree["facts"]["accepted"] = total

    edit_manifest(labels, count)
    assert not found(labels)


def test_pixels_off_the_slide_are_counted_beside_the_rejected_ones(labels):
    """Labels hold 255 for both."""

    def move(tree):
        pixels = tree["shards"][0]["pixels"]
        pixels.update(outside=100, rejected=pixels["rejected"] - 100)

    edit_manifest(labels, move)
    assert not found(labels)
    edit_manifest(labels, lambda tree: tree["shards"][0]["pixels"].update(outside=101))
    assert any("px of rejected" in text for text in found(labels))


@pytest.mark.parametrize(
    ("member", "data", "what"),
    [
        ("low.png", encode_png(np.full((32, 32), 63, np.uint8)), "low.png has values that are no class: 63"),
        ("low.png", encode_png(np.full((31, 31), 9, np.uint8)), "low.png is 31 x 31 px"),
        ("json", encode_json({"version": 1, "of": "another"}), "json says of 'another'"),
        ("low.png", b"", "low.png cannot be decoded"),
    ],
)
def test_damaged_labels_are_found(labels, member, data, what):
    start = rewrite_sidecar(labels, 3, member, lambda old: data)
    (text,) = found(labels)
    assert text.startswith(start + what)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda t: t["shards"][0]["pixels"].update(tumour=1), "px of tumour, the manifest says 1"),
        (lambda t: t["shards"][0]["pixels"].update(rejected=1), "px of rejected, the manifest says 1"),
        (lambda t: t["facts"]["accepted"].update(tumour=1), "accepted says 1 of tumour"),
        (lambda t: t["shards"][0]["seeds"].update(tumour=5), "seeds add up to"),
        (lambda t: t["shards"][1].update(of=t["shards"][0]["of"]), "2 sidecars speak of"),
        (lambda t: t["facts"].pop("threshold"), "nothing below it can be checked"),
    ],
)
def test_an_edited_round_of_labels_is_found(labels, edit, what):
    edit_manifest(labels, edit)
    assert any(what in text for text in found(labels))
