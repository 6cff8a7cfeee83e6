"""The merge: exactly once, facts that add up, the gate, the contact sheet; and what training asks before it believes a round."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Incomplete, Scratch, run_units
from mlseg_core.files import read_json, write_json
from mlseg_dist import labelling
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.events import read_events
from mlseg_dist.labelling import sheet
from mlseg_dist.labelling.gate import Shares, collapses
from mlseg_dist.labelling.sheet import SHEET, slides_to_show
from mlseg_dist.privacy.pseudonyms import shows_pseudonyms
from mlseg_dist.report.overlay import overlay
from mlseg_dist.run_folder import is_cleaned, labels_folder, mark_cleaned, phase_folder, shards_folder
from shards.manifest import ShardEntry, read_manifest
from shards.tar import Place, ShardReader
from shards.verify.corpus import verify_corpus
from tests.mlseg_dist.labelling.rounds import THRESHOLD, digests, lively_run, make, with_label, worker
from tests.mlseg_dist.tiny_run import TinyRun, tiny_run
from tests.shards.tars import write_loosely


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("round"))


@pytest.fixture(scope="module")
def expected(run, tmp_path_factory) -> dict[str, str]:
    return make(run, with_label(run.config), tmp_path_factory.mktemp("expected"))


def test_two_processes_on_one_shard_give_one_winner(run, expected, tmp_path):
    config = with_label(run.config)
    # Neither publishes before both have written: the folder then holds two temporaries of one name.
    wait = "\n    ".join(
        [
            "(folder / f'written-{os.getpid()}').touch()",
            "while len(list(folder.glob('written-*'))) < 2: time.sleep(0.01)",
        ]
    )
    both = [worker(run, config, tmp_path, wait) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    for path in tmp_path.glob("written-*"):
        path.unlink()
    labelling.write_round(config, 0, run.path, tmp_path)
    assert digests(tmp_path) == expected and not list(tmp_path.glob(".tmp-*"))


def test_killed_between_writing_and_publishing_nothing_is_lost(run, expected, tmp_path):
    config = with_label(run.config)
    process = worker(run, config, tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".tmp-*.tar")) and not digests(tmp_path)
    with pytest.raises(Incomplete):
        labelling.write_round(config, 0, run.path, tmp_path)
    assert make(run, config, tmp_path) == expected and not list(tmp_path.glob(".tmp-*"))


def test_facts_add_up_by_slide_and_stain(run, tmp_path):
    make(run, with_label(run.config), tmp_path)
    manifest = read_manifest(tmp_path / "manifest.json")
    facts = manifest.facts
    assert set(facts["by_stain"]) == {"ER"} and set(facts["by_slide"]) == {shard.slide for shard in manifest.shards}
    for group in ("by_slide", "by_stain"):
        for name in CLASSES:
            assert sum(counts[name] for counts in facts[group].values()) == facts["accepted"][name]
        assert sum(counts["rejected"] for counts in facts[group].values()) == facts["rejected"]
    assert facts["devices"] == {"cpu": 1} and sum(facts["shares"]["taught"].values()) == pytest.approx(1)


def test_what_is_taught_is_counted_as_training_joins_it(run, tmp_path):
    from mlseg_dist.data.views import stored_views

    config = with_label(run.config, stride=1)
    folder = tmp_path / "labels"
    make(run, config, folder)
    corpus = Corpus(shards_folder(run.path), config.training_classes, folder)
    counts = np.zeros(256, np.int64)
    for ref in corpus.refs("train"):
        counts += np.bincount(stored_views(corpus, ref).high_label.ravel(), minlength=256)
    shares = read_manifest(folder / "manifest.json").facts["shares"]["taught"]
    for number, name in enumerate(CLASSES):
        assert shares[name] == pytest.approx(counts[number] / counts[:3].sum())


def test_a_class_with_a_threshold_of_its_own_is_accepted_from_there(run, tmp_path):
    one = make_facts(run, tmp_path / "one", threshold=THRESHOLD)
    own = make_facts(
        run, tmp_path / "own", threshold={"background": THRESHOLD, "tumour": THRESHOLD, "others": THRESHOLD + 0.1}
    )
    assert own["accepting"]["high"] == {"background": THRESHOLD, "tumour": THRESHOLD, "others": THRESHOLD + 0.1}
    assert {name: own["accepted"][name] for name in CLASSES[:2]} == {
        name: one["accepted"][name] for name in CLASSES[:2]
    }
    assert 0 < own["accepted"]["others"] < one["accepted"]["others"]
    assert own["rejected"] - one["rejected"] == one["accepted"]["others"] - own["accepted"]["others"]


def make_facts(run, folder, **changes):
    make(run, with_label(run.config, **changes), folder)
    return read_manifest(folder / "manifest.json").facts


def edit_record(folder, **facts) -> None:
    (path,) = (folder / "done").glob("*.json")
    record = read_json(path)
    write_json(path, {**record, "facts": {**record["facts"], **facts}})


def test_a_shard_labelled_short_or_of_another_split_is_refused(run, tmp_path):
    config = with_label(run.config)
    make(run, config, tmp_path)
    (tmp_path / "manifest.json").unlink()
    other = next(shard.name for shard in run.manifest.shards if shard.split == "val")
    for facts, what in (({"samples": 3}, "labels 3 samples"), ({"of": other}, "no shard of the train split")):
        (record,) = (tmp_path / "done").glob("*.json")
        before = record.read_bytes()
        edit_record(tmp_path, **facts)
        with pytest.raises(RuntimeError, match=what):
            labelling.write_round(config, 0, run.path, tmp_path)
        record.write_bytes(before)
    assert not (tmp_path / "manifest.json").exists()


def test_a_shard_labelled_twice_is_refused(run):
    from mlseg_core.exactly_once.run import Done
    from mlseg_dist.labelling.round import _entries

    (shard,) = run.manifest.of_splits("train")
    counts = dict.fromkeys((*CLASSES, "rejected"), 1)
    facts = {"of": shard.name, "samples": shard.samples, "index_sha256": "0", "pixels": counts, "seeds": {}}
    done = [Done(n, "", {f"{n}.tar": {"bytes": 1, "sha256": "0"}}, {**facts, "device": "cpu"}) for n in "ab"]
    assert len(_entries(done[:1], run.manifest)) == 1
    with pytest.raises(RuntimeError, match="labelled twice"):
        _entries(done, run.manifest)
    with pytest.raises(RuntimeError, match="1 shards are not labelled"):
        _entries([], run.manifest)


@pytest.mark.parametrize("fault", ["doubled", "missing", "renamed"])
def test_a_sidecar_of_other_keys_is_never_described(run, tmp_path, fault):
    config = with_label(run.config)
    make(run, config, tmp_path / "sound")
    (sound,) = (tmp_path / "sound").glob("*.tar")
    with ShardReader(sound, labelling.MEMBERS) as reader:
        samples = [(reader.key(row), reader.read(row)) for row in range(len(reader))]
    if fault == "doubled":
        samples.insert(1, samples[0])
    elif fault == "missing":
        samples.pop(4)
    else:
        samples[-1] = (samples[-1][0] + "9", samples[-1][1])
    write_loosely(tmp_path / "other.tar", samples)
    (unit,) = labelling.units(config, 0, run.path)
    with pytest.raises(Exception, match=r"no index at its end|a damaged index|each once, in order"):
        labelling.describe(unit, {unit.payload[4]: tmp_path / "other.tar"}, Scratch(tmp_path))


def make_record_say(folder, **facts) -> None:
    path = folder / "manifest.json"
    manifest = read_json(path)
    manifest["facts"].update(facts)
    write_json(path, manifest)


def test_a_class_that_collapses_stops_the_campaign_and_an_override_goes_on(tmp_path):
    run = lively_run(tmp_path)
    config = with_label(with_label(run.config), step=1, min_share_kept=0.1)
    make(run, config, labels_folder(run.path, 1))
    phase = run.path / "phases" / "04-label-2"
    phase.mkdir()
    folder = labels_folder(run.path, 2)
    run_units(labelling.units(config, 1, run.path), labelling.label, folder, describe=labelling.describe)
    (record,) = (folder / "done").glob("*.json")
    pixels = read_json(record)["facts"]["pixels"]
    total = sum(pixels[c] for c in CLASSES)
    assert total, "random weights are accepted at this threshold"
    # The round before accepted a third of each class; this one has 1 px of tumour left.
    make_record_say(labels_folder(run.path, 1), accepted=dict.fromkeys(CLASSES, 1000))
    edit_record(folder, pixels={**pixels, "background": total // 2, "others": total // 2, "tumour": 1})
    with pytest.raises(
        UserError, match=r"class tumour has collapsed to .* from 33\.333% in the round before"
    ) as stopped:
        labelling.write_round(config, 1, run.path, folder)
    assert "mlseg resume RUN steps.master-1.label.min_share_kept=0" in stopped.value.fix
    assert not (folder / "manifest.json").exists() and (folder / SHEET).exists()
    (event,) = [e for e in read_events(phase) if e["event"] == "class-collapse"]
    assert event["level"] == "error" and event["collapsed"] == ["tumour"] and event["accepted"]["tumour"] == 1
    labelling.write_round(with_label(config, step=1, min_share_kept=0.0), 1, run.path, folder)
    assert (folder / "manifest.json").exists(), "the same units: nothing is labelled again"
    assert read_events(phase)[-1]["event"] == "round-published"


@given(st.lists(st.integers(1, 10**9), min_size=3, max_size=3), st.integers(0, 100))
def test_the_gate_lets_go_what_has_not_changed(counts, percent):
    from mlseg_dist.labelling.gate import shares

    same = shares(dict(zip(CLASSES, counts, strict=True)))
    assert not collapses(Shares(same, same, same), same, Shares({}, same, same), percent / 100)


def test_the_gate_sees_a_slow_loss_and_leaves_an_empty_round_alone():
    even = dict.fromkeys(CLASSES, 1 / 3)
    thin = {"background": 0.6, "tumour": 0.38, "others": 0.02}
    human = Shares({}, even, even)
    assert [c.name for c in collapses(Shares(thin, thin, even), thin, human, 0.1)] == ["others"]
    assert [c.what for c in collapses(Shares(thin, even, thin), {}, human, 0.1)] == ["the pairs to draw"]
    assert not collapses(Shares(thin, even, even), {}, human, 0.1), "round 1 is judged by what is taught"
    assert not collapses(Shares({}, even, even), even, human, 0.1)


def test_a_poor_teacher_does_not_label(tmp_path):
    run = lively_run(tmp_path)
    path = run.path / "phases" / "02-base" / "teacher.json"
    write_json(path, {**read_json(path), "miou": 0.31})
    config = with_label(run.config, min_miou=0.4)
    with pytest.raises(UserError, match=r"mIoU of 0\.310, less than 0\.4"):
        labelling.units(config, 0, run.path)
    named = [labelling.units(with_label(run.config, min_miou=m), 0, run.path)[0].inputs for m in (0.0, 0.3)]
    assert named[0] == named[1], "a gate is no part of what is made"


def test_the_sheet_is_the_same_each_time_and_shows_so_many(run, tmp_path):
    sheets = []
    for attempt, count in enumerate((12, 12, 3)):
        make(run, with_label(run.config, sheet=count), tmp_path / str(attempt))
        sheets.append((tmp_path / str(attempt) / SHEET).read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]
    sizes = [Image.open(io.BytesIO(sheet)).size for sheet in sheets]
    assert sizes[0][0] == sizes[2][0] and sizes[0][1] > 2.5 * (sizes[2][1] - 70)
    names = {shard.name for shard in read_manifest(tmp_path / "0" / "manifest.json").shards}
    assert SHEET not in names and read_manifest(tmp_path / "0" / "manifest.json").facts["sheet"] == SHEET
    make(run, with_label(run.config, sheet=0), tmp_path / "none")
    assert not (tmp_path / "none" / SHEET).exists()


def test_the_sheet_shows_what_is_accepted_of_the_low_view_too(run, tmp_path, monkeypatch):
    """The base answers for the high view only: of the low view its centre is accepted, and nothing around it."""
    cells, draw = [], sheet._sheet
    monkeypatch.setattr(sheet, "_sheet", lambda found, *words: cells.extend(found) or draw(found, *words))
    make(run, with_label(run.config, sheet=2, threshold=0.0), tmp_path / "round")
    assert len(cells) == 2
    for caption, tiles in cells:
        assert len(tiles) == 6 and all(tile.shape == (sheet.TILE_PX, sheet.TILE_PX, 3) for tile in tiles)
        assert re.search(r"accepted \d+% \(low \d+%\), slide \d+%$", caption)
        low_image, accepted = tiles[3], tiles[5]
        paled = overlay(low_image, np.full(low_image.shape[:2], IGNORED, np.uint8))
        border = np.ones(low_image.shape[:2], bool)
        border[80:-80, 80:-80] = False
        assert np.array_equal(accepted[border], paled[border]) and not np.array_equal(accepted, paled)


def test_the_sheet_shows_slides_by_their_pseudonyms(run, tmp_path, monkeypatch):
    """The captions become pixels, where no search finds a name: they are looked at before that."""
    captions: list[str] = []
    draw = sheet._sheet
    monkeypatch.setattr(
        sheet, "_sheet", lambda cells, *words: captions.extend(c for c, _ in cells) or draw(cells, *words)
    )
    slugs = [slide.slug for slide in run.manifest.slides]
    make(run, with_label(run.config, sheet=3), tmp_path / "named")
    assert len(captions) == 3 and all(" · slide-000" in caption for caption in captions)
    assert not [caption for caption in captions if any(f" {slug} " in caption for slug in slugs)]
    assert shows_pseudonyms((tmp_path / "named" / SHEET).read_bytes())
    key = run.path / "private" / "names.csv"
    whole = key.read_bytes()
    key.write_text("damaged")
    try:
        make(run, with_label(run.config, sheet=3), tmp_path / "nameless")
    finally:
        key.write_bytes(whole)
    assert len(captions) == 6 and all("slide-" not in caption for caption in captions[3:])


def test_the_sheet_begins_with_the_least_accepted_and_takes_stains_in_turn():
    def entry(slide: str, rejected: int) -> ShardEntry:
        pixels = {"background": 100 - rejected, "tumour": 0, "others": 0, "rejected": rejected}
        return ShardEntry(
            name=f"{slide}.tar",
            bytes=1,
            sha256="",
            index_sha256="",
            samples=1,
            slide=slide,
            split="train",
            pixels=pixels,
        )

    entries = [entry(f"{stain}{i}", 10 * i) for stain in "PQ" for i in range(6)]
    stain_of = {e.slide: e.slide[0] for e in entries}
    shown = slides_to_show(entries, stain_of, 6)
    assert shown[:2] == [("P5", 0.5), ("Q5", 0.5)]
    assert [stain_of[slide] for slide, _ in shown[2:]] == ["P", "Q", "P", "Q"] and len(dict(shown)) == 6
    assert len(slides_to_show(entries[:2], stain_of, 5)) == 5


@pytest.fixture
def trusted(tmp_path):
    run = lively_run(tmp_path)
    config = with_label(run.config)
    make(run, config, labels_folder(run.path, 1))
    assert labelling.check_round(config, 1, run.path).kind == "labels"
    report = verify_corpus(labels_folder(run.path, 1), 1)
    assert report.ok and not report.warnings and report.samples, "the contact sheet is no stray shard"
    return run, config


def other_sidecar(run: TinyRun, config, folder) -> tuple[Path, Path]:
    """The only sidecar of a round, and what another teacher says of the same pairs."""
    other = folder.parent / "other"
    make(run, with_label(config, tta="d4"), other)
    (theirs,), (ours,) = other.glob("*.tar"), folder.glob("*.tar")
    return ours, theirs


def test_a_replaced_sidecar_is_refused(trusted):
    run, config = trusted
    ours, theirs = other_sidecar(run, config, labels_folder(run.path, 1))
    shutil.copy(theirs, ours)
    with pytest.raises(UserError, match=r"has \d+ bytes|the index of .* is not the manifest"):
        labelling.check_round(config, 1, run.path)


def test_labels_of_another_teacher_under_the_index_of_ours_are_damage_when_they_are_read(trusted):
    """A look at sizes and indices does not find it."""
    run, config = trusted
    ours, theirs = other_sidecar(run, config, labels_folder(run.path, 1))
    with open(ours, "r+b") as file:
        end = Place.find(file.fileno()).start - tarfile.BLOCKSIZE
        file.write(theirs.read_bytes()[:end])
    labelling.check_round(config, 1, run.path)
    corpus = Corpus(shards_folder(run.path), config.training_classes, labels_folder(run.path, 1))
    with pytest.raises(BadPair, match="damaged"):
        for ref in corpus.refs("train"):
            corpus.read_sidecar(ref)


def test_what_a_round_must_be_to_be_believed(trusted):
    run, config = trusted
    folder = labels_folder(run.path, 1)
    path = folder / "manifest.json"
    sound, (tar,) = path.read_bytes(), folder.glob("*.tar")

    def refused(what: str) -> None:
        with pytest.raises(UserError, match=what):
            labelling.check_round(config, 1, run.path)
        path.write_bytes(sound)

    for parent, what in (("corpus", "another corpus"), ("teacher", "another teacher's")):
        manifest = json.loads(sound)
        manifest["parents"][parent] = "0" * 64
        write_json(path, manifest)
        refused(what)
    write_json(path, {**json.loads(sound), "shards": []})
    refused("each shard of the train split once")
    os.truncate(tar, tar.stat().st_size - 512)
    refused("no index at its end")
    tar.unlink()
    refused("cannot be read")
    mark_cleaned(folder, 1, 1)
    refused("removed by `mlseg clean`")
    make(run, config, folder)
    assert not is_cleaned(folder)
    labelling.check_round(config, 1, run.path)


@pytest.mark.parametrize("what", ["teacher", "decoder"])
def test_what_every_shard_needs_is_missed_before_the_first(run, tmp_path, what):
    """A process of its own: this one has the teacher in memory."""
    changes = {"decode_on": "gpu"} if what == "decoder" else {}
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    if what == "teacher":
        (phase_folder(copy, run.config.steps[0].name) / "teacher.pt").write_bytes(b"not the one")
    code = (
        "import sys; from pathlib import Path; from mlseg_dist import labelling; from mlseg_dist.config import LearningConfig\n"
        "labelling.prepare(LearningConfig.model_validate_json(sys.stdin.read()), 0, Path(sys.argv[1]))"
    )
    config = with_label(run.config, **changes).model_dump_json()
    ran = subprocess.run([sys.executable, "-c", code, copy], input=config, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    wanted = {"teacher": "teacher's weights are missing or damaged", "decoder": "label.decode_on"}[what]
    assert "UserError" in ran.stderr and wanted in ran.stderr, ran.stderr


def test_a_step_that_learns_from_the_round_alone_needs_every_class_of_it(tmp_path):
    """A teacher of random weights is never sure: nothing can be drawn. With people's labels beside it the round is published."""
    run = tiny_run(tmp_path / "tiny")
    config = with_label(run.config, threshold=0.95)
    folder = tmp_path / "labels"
    alone = config.steps[1].model_copy(update={"teach": "pseudo"})
    config_alone = config.model_copy(update={"steps": (config.steps[0], alone)})
    with pytest.raises(UserError) as refused:
        make(run, config_alone, folder)
    assert "round 1, labelled by base, has no pair to draw for class " in str(refused.value)
    assert "master-1 learns from it alone" in str(refused.value) and "steps.master-1.teach=both" in refused.value.fix
    assert not (folder / "manifest.json").exists()
    make(run, config, folder)
    assert (folder / "manifest.json").exists(), "the same units: nothing is labelled again"
