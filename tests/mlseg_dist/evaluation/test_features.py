"""Deep features: which pairs, where they lie, the same each time; and what the page says of them."""

import json

import numpy as np
import pytest
import tifffile
from scipy.stats import ortho_group

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import read_json, write_json
from mlseg_dist.config import FACTORS
from mlseg_dist.evaluation import campaign, features, work
from mlseg_dist.evaluation.features import MOST_PAIRS, chosen, explained, plane_by_pca
from mlseg_dist.report.features import charts, method, read_features
from tests.mlseg_dist.evaluation.made_counts import made_corpus
from tests.mlseg_dist.evaluation.subjects import subject_of
from tests.mlseg_dist.report.features import made_features
from tests.mlseg_dist.tiny_run import paint_slides, tiny_run

SPLITS = ("train", "val", "test", "dev-unseen")


def corpus_of(samples: int, slides: int):
    """A manifest of so many slides with two shards each."""
    corpus = made_corpus({"val": slides}, 1)
    (entry, *_) = corpus.shards or (None,)
    shards = []
    for number, slide in enumerate(one for one in corpus.slides if one.split == "val"):
        for part, size in enumerate((samples // 3, samples - samples // 3)):
            facts = {"name": f"s{number:03d}-{part}.tar", "slide": slide.slug, "split": "val", "samples": size}
            shards.append(entry.model_copy(update=facts))
    return corpus.model_copy(update={"shards": tuple(shards)})


@pytest.mark.parametrize(("samples", "slides"), [(7, 4), (100, 5), (40, 40)])
def test_each_slide_gives_as_many_pairs_as_the_others_where_it_has_them(samples, slides):
    corpus = corpus_of(samples, slides)
    found = chosen(corpus, {"val"}, 3)
    assert found == chosen(corpus, {"val"}, 3) and chosen(corpus, {"train"}, 3) == {}
    taken: dict[str, int] = {}
    for number, rows in found.items():
        shard = corpus.shards[number]
        assert rows == sorted(set(rows)) and all(0 <= row < shard.samples for row in rows)
        taken[shard.slide] = taken.get(shard.slide, 0) + len(rows)
    assert sum(taken.values()) == min(MOST_PAIRS, samples * slides) and len(taken) == slides
    assert max(taken.values()) - min(taken.values()) <= 1


def test_pca_finds_the_plane_of_most_spread_and_has_one_sign():
    random = np.random.default_rng(0)
    plain = random.normal(size=(200, 6)) * (5, 3, 0.1, 0.1, 0.1, 0.1)
    turned = plain @ ortho_group.rvs(6, random_state=1)
    found = plane_by_pca(turned.astype(np.float32))
    centred = plain[:, :2] - plain[:, :2].mean(axis=0)
    variances = np.linalg.eigvalsh(np.cov(plain.T))[::-1]
    assert np.allclose(np.cov(found.T), np.diag(variances[:2]), rtol=1e-4, atol=1e-4), (
        "the two directions of most spread"
    )
    rest = centred - found @ np.linalg.lstsq(found, centred, rcond=None)[0]
    assert np.abs(rest).max() < 0.05, "and the same plane, turned or not"
    assert np.array_equal(found, plane_by_pca(turned.astype(np.float32)))
    first, second = explained(turned)
    assert first > second > 0.1 and first + second > 0.99
    assert plane_by_pca(np.ones((4, 1), np.float32)).shape == (4, 2)


def test_stains_that_differ_lie_apart(tmp_path):
    """From slides and a teacher to features.json, twice; evaluation.json does not know of it. The H&E slide is tinted."""
    table = paint_slides(tmp_path / "slides")
    tinted = np.roll(tifffile.imread(table.parent / "d.tif"), 1, axis=2)
    tifffile.imwrite(table.parent / "d.tif", tinted, tile=(256, 256), photometric="rgb")
    run = tiny_run(tmp_path, table)
    subject = subject_of(run, steps=["master-1"])
    todo, opening = campaign.begin(subject)
    assert not run_units(todo, work.count, tmp_path / "counts", describe=work.describe)
    told: list[str] = []
    for out in ("one", "two"):
        campaign.publish(
            subject, todo, tmp_path / "counts", tmp_path / out, opening, lambda event, text, *_, **__: told.append(text)
        )
    assert not told
    texts = [(tmp_path / out / "features.json").read_text() for out in ("one", "two")]
    assert texts[0] == texts[1]
    found = read_features(tmp_path / "one")
    assert (
        found is not None and found["step"] == "master-1" and {one["split"] for one in found["points"]} == set(SPLITS)
    )
    assert "features" not in json.loads((tmp_path / "one" / "evaluation.json").read_text())
    manifest = run.manifest
    slides = {slide.slug: slide for slide in manifest.slides}
    assert all(one[name] == getattr(slides[one["slide"]], name) for one in found["points"] for name in FACTORS)
    assert {one["stain"] for one in found["points"] if one["unseen"]} == {"H&E"}
    plane = np.array(found["planes"]["PCA"])
    assert np.abs(plane).max() == 1
    is_he = np.array([one["stain"] == "H&E" for one in found["points"]])
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=2) + np.where(np.eye(len(plane)), np.inf, 0)
    assert (is_he[apart.argmin(axis=1)] == is_he).mean() > 0.9, "the nearest pair nearly always has the same stain"
    listed = read_json(tmp_path / "one" / "evaluation.json")["pictures"]
    heat = sorted(path.name for path in (tmp_path / "one" / "pictures").glob("heat-*.png"))
    assert heat == sorted(f"heat-{one['file']}" for one in listed if one["kind"] == "example")
    size = (tmp_path / "one" / "features.json").stat().st_size
    assert size < 200_000, "coordinates, no pixels"
    assert method(found) == ("UMAP" if "UMAP" in found["planes"] else "PCA")


def test_a_network_without_our_encoder_has_none(tmp_path, monkeypatch):
    run = tiny_run(tmp_path)
    monkeypatch.setattr(features, "_encoders", lambda teacher: {})
    assert not features.write(subject_of(run, steps=["base"]), tmp_path)
    assert not (tmp_path / "features.json").exists()


def test_the_page_says_which_way_was_used_and_refuses_what_is_damaged(tmp_path):
    slides = {
        f"s{n}": {"stain": stain, "scanner": "A$b$", "source": "_x", "split": "val", "unseen": ["stain"] if n else []}
        for n, stain in enumerate(("ER", "H&E"))
    }
    made = made_features({"steps": ["base"], "slides": slides}, with_umap=True)
    write_json(tmp_path / "features.json", made)
    found = read_features(tmp_path)
    assert found is not None and method(found) == "UMAP"
    del found["planes"]["UMAP"]
    drawn = charts(found)
    assert set(drawn) == set(FACTORS) and drawn == charts(found) and b"PCA 1" in drawn["stain"]
    assert read_features(tmp_path / "elsewhere") is None
    write_json(tmp_path / "features.json", {**made, "version": 99})
    assert read_features(tmp_path) is None, "of a later version"
    for damage in ({"points": made["points"][1:]}, {"planes": {}}, {"explained": [1]}, {"points": 3}):
        write_json(tmp_path / "features.json", {**made, **damage})
        with pytest.raises(UserError, match="not a file of features"):
            read_features(tmp_path)
