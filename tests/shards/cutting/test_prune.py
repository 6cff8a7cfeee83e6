"""`regenerate --prune` deletes what earlier builds left and nothing else, wherever the corpus lies."""

import json
import shutil

import pytest
import yaml

from launch.cli import main
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import map_in_processes
from mlseg_core.files import sha256_file
from mlseg_core.store import open_store
from shards import cutting
from tests.planted import lost, plant
from tests.shards.slides_for_tests import shards_config, square_feature, write_annotation, write_corpus

SETTINGS = {"tissue_stride_um": 192.0, "samples_per_shard": 25}


@pytest.fixture
def corpus(tmp_path):
    """Slides, annotations, table and notes in the very folder that the shards are built into."""
    folder = tmp_path / "corpus"
    table = write_corpus(folder)
    (folder / "notes.txt").write_text("mine\n")
    config = tmp_path / "shards.yaml"
    config.write_text(yaml.safe_dump(shards_config(**SETTINGS).model_dump(mode="json")))
    words = [str(config), "--slides", str(table), "--out", str(folder)]
    assert main(["shards", "build", *words]) == 0
    return folder, words


def edit(folder, slug="s1", side=600):
    write_annotation(folder / f"{slug}.geojson", square_feature("Tumor", 200, 200, side, side))


def ours(folder, slug):
    """Names of a slide's files."""
    found = [*folder.glob(f"{slug}-*"), *folder.glob(f"overview/{slug}-*")]
    return {path.relative_to(folder).as_posix() for path in found}


def user_files(folder):
    names = ["slides.csv", "notes.txt", *(f"s{number}{end}" for number in range(3) for end in (".tif", ".geojson"))]
    return {name: (folder / name).read_bytes() for name in names}


def regenerate(words, capsys, *more):
    capsys.readouterr()
    assert main(["shards", "regenerate", *words, *more]) == 0
    return capsys.readouterr().out


def test_slides_annotations_table_and_notes_in_the_folder_survive(corpus, capsys):
    folder, words = corpus
    edit(folder)
    kept, old = user_files(folder), ours(folder, "s1")
    said = regenerate(words, capsys, "--prune")
    assert user_files(folder) == kept
    assert not old & ours(folder, "s1") and ours(folder, "s1")
    assert all(f"removed  {name}  " in said for name in old)
    assert main(["shards", "verify", str(folder)]) == 0


def test_a_dry_run_lists_the_very_files_that_go_with_size_and_reason(corpus, capsys):
    folder, words = corpus
    edit(folder)
    old = {name: (folder / name).stat().st_size for name in ours(folder, "s1")}
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said = json.loads(regenerate(words, capsys, "--prune", "--dry-run", "--json"))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "a dry run writes nothing"
    listed = {file["name"]: file["bytes"] for file in said["prune"]["files"] if not file["name"].startswith("seeds-")}
    assert listed == old and all(file["why"] for file in said["prune"]["files"])
    assert said["prune"]["dry_run"] and said["prune"]["left_alone"] == []
    assert [change["slide"] for change in said["changes"] if change["action"] == "cut"] == ["s1"]
    text = regenerate(words, capsys, "--prune", "--dry-run")
    assert all(f"would go  {name}  {size} bytes" in text for name, size in old.items())
    assert f"{len(said['prune']['files'])} superseded files would be removed, {said['prune']['bytes']} bytes" in text
    removed = json.loads(regenerate(words, capsys, "--prune", "--json"))["prune"]
    assert {file["name"]: file["bytes"] for file in removed["files"] if not file["name"].startswith("seeds-")} == old
    assert not any((folder / name).exists() for name in old)


def test_where_nothing_changed_nothing_would_go(corpus, capsys):
    _, words = corpus
    assert "0 superseded files would be removed, 0 bytes" in regenerate(words, capsys, "--prune", "--dry-run")


def test_files_of_several_builds_stay_known_until_they_are_pruned(corpus, capsys):
    folder, words = corpus
    first = ours(folder, "s1")
    edit(folder)
    said = regenerate(words, capsys)
    assert "superseded files; --prune --dry-run lists them" in said
    edit(folder, side=500)
    regenerate(words, capsys)
    assert len(list((folder / "superseded").glob("s1-*.json"))) == 2 and first <= ours(folder, "s1")
    found = cutting.plan_pruning(folder)
    assert first <= {file.name for file in found.files} and not found.left_alone
    regenerate(words, capsys, "--prune")
    assert not first & ours(folder, "s1") and not list((folder / "superseded").glob("*.json")), "spent records go too"
    assert main(["shards", "verify", str(folder)]) == 0


def test_a_slide_that_is_as_it_was_two_builds_ago_keeps_its_files(corpus, capsys):
    folder, words = corpus
    text, first = (folder / "s1.geojson").read_text(), ours(folder, "s1")
    edit(folder)
    regenerate(words, capsys)
    (folder / "s1.geojson").write_text(text)
    regenerate(words, capsys, "--prune")
    assert ours(folder, "s1") == first and main(["shards", "verify", str(folder)]) == 0


def test_a_corpus_of_an_older_version_is_pruned_by_what_its_files_say(corpus, capsys):
    """Version 37b9573 kept no records of earlier builds."""
    folder, words = corpus
    old = ours(folder, "s1")
    edit(folder)
    regenerate(words, capsys)
    shutil.rmtree(folder / "superseded")
    impostors = {
        "s1-0123abcd-000.tar": b"no index at its end",
        "s1-0123abcd-000.idx": b"v1.2 1\nhigh.jpg 512 9 other+y1+x1.high.jpg\n",
        "overview/s1-0123abcd.json": b'{"slug": "s1"}',
        "overview/s1-0123abcd.thumb.jpg": b"\xff\xd8\xff picture",
        "seeds-0123abcd.npy": b"\x93NUMPY but another hash",
    }
    for name, data in impostors.items():
        (folder / name).write_bytes(data)
    kept = user_files(folder)
    said = json.loads(regenerate(words, capsys, "--prune", "--json"))["prune"]
    assert {file["name"] for file in said["left_alone"]} == set(impostors)
    assert all((folder / name).read_bytes() == data for name, data in impostors.items())
    assert not any((folder / name).exists() for name in old) and user_files(folder) == kept
    assert main(["shards", "verify", str(folder)]) == 0


@pytest.mark.parametrize("same_size", [False, True])
def test_a_file_that_somebody_changed_is_left_alone_and_named(corpus, capsys, same_size):
    folder, words = corpus
    edit(folder)
    tar = next(folder.glob("s1-*.tar"))
    tar.write_bytes(bytes(tar.stat().st_size) if same_size else tar.read_bytes() + b"more")
    regenerate(words, capsys)
    said = regenerate(words, capsys, "--prune")
    assert tar.exists() and f"left alone  {tar.name}" in said and "it was changed" in said
    assert list((folder / "superseded").glob("s1-*.json")), "its record stays with it"


def test_foreign_files_in_every_folder_of_a_corpus_survive(corpus, capsys):
    folder, words = corpus
    places = [
        folder / name if name else folder for name in ("", "done", "failed", "progress", "overview", "superseded")
    ]
    planted = plant(*places)
    write_annotation(folder / "s1.geojson", square_feature("Tumor", 200, 200, 600, 600))
    (folder / "done" / "mine.json").write_text('{"unit": "other", "inputs": "x", "files": {"notes.txt": {"bytes": 1}}}')
    planted[folder / "done" / "mine.json"] = (folder / "done" / "mine.json").read_bytes()
    regenerate(words, capsys, "--prune", "--dry-run")
    regenerate(words, capsys, "--prune")
    assert lost(planted, *places) == []
    assert main(["shards", "verify", str(folder)]) == 0


def test_nothing_is_deleted_behind_a_link_that_leads_out(corpus, tmp_path, capsys):
    folder, words = corpus
    elsewhere = tmp_path / "elsewhere"
    (folder / "overview").rename(elsewhere)
    (folder / "overview").symlink_to(elsewhere)
    tar = next(folder.glob("s1-*.tar"))
    tar.rename(tmp_path / "moved.tar")
    tar.symlink_to(tmp_path / "moved.tar")
    before = {path: path.read_bytes() for path in (*elsewhere.iterdir(), tmp_path / "moved.tar")}
    edit(folder)
    regenerate(words, capsys, "--prune")
    assert all(path.read_bytes() == data for path, data in before.items()) and tar.is_symlink()


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_bucket_is_pruned_by_exact_names(tmp_path, kind, request):
    place = request.getfixturevalue("s3_server") if kind == "s3" else "memory:/"
    where = f"{place}/{tmp_path.name}/corpus"
    table = write_corpus(tmp_path / "slides")
    config = shards_config(**SETTINGS)

    def built():
        todo = cutting.units(config, table)
        map_in_processes(todo, cutting.cut, where, 1, describe=cutting.describe)
        cutting.write_manifest(config, table, todo, where)
        return {file.name for file in cutting.plan_pruning(where, todo).files}

    assert built() == set()
    foreign = {
        "notes.txt": b"mine",
        "s1-0123abcd-000.tar": b"mine",
        "overview/notes.txt": b"mine",
        "superseded/x": b"mine",
    }
    with open_store(where) as store:
        old = {name for name in store.sizes() if name.startswith("s1-")}
        for name, data in foreign.items():
            store.write(name, data)
        store.write(f"{next(iter(old))}.mine", b"a longer name")
        edit(tmp_path / "slides")
        assert built() >= old
        found = cutting.prune(where)
        assert old <= {file.name for file in found.files} and [file.name for file in found.left_alone] == [
            "s1-0123abcd-000.tar"
        ]
        assert not old & set(store.sizes())
        assert {name: store.read(name) for name in foreign} == foreign
        assert store.read(f"{next(iter(old))}.mine") == b"a longer name"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("manifest.json", '{"name": "my app"}'),
        ("manifest.json", "x"),
        ("quarantine.csv", "mine\n"),
        ("slide-identities.json", "{}"),
    ],
)
def test_a_build_does_not_write_over_somebodys_file(tmp_path, capsys, name, text):
    folder = tmp_path / "corpus"
    table = write_corpus(folder)
    (folder / name).write_text(text)
    config = tmp_path / "shards.yaml"
    config.write_text(yaml.safe_dump(shards_config(**SETTINGS).model_dump(mode="json")))
    assert main(["shards", "build", str(config), "--slides", str(table), "--out", str(folder)]) == 2
    said = capsys.readouterr().err
    assert f"{name}: is not a file that mlseg wrote here" in said
    assert (folder / name).read_text() == text and not (folder / "done").exists(), "before any work"


def test_records_and_tallies_of_somebody_else_are_not_written_over(tmp_path):
    table = write_corpus(tmp_path / "slides")
    config = shards_config(**SETTINGS)
    for number, (name, text) in enumerate(
        [("done/s0.json", '{"mine": 1}'), ("progress/0.json", '{"mine": 1}'), ("progress/0.json", "mine")]
    ):
        out = tmp_path / str(number)
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text(text)
        with pytest.raises(UserError, match=r"would be overwritten. Move it away"):
            map_in_processes(cutting.units(config, table), cutting.cut, out, 1, describe=cutting.describe)
        assert (out / name).read_text() == text


def test_a_record_cannot_name_what_builds_never_write(tmp_path, capsys):
    folder = tmp_path / "corpus"
    table = write_corpus(folder)
    config = tmp_path / "shards.yaml"
    config.write_text(yaml.safe_dump(shards_config(**SETTINGS).model_dump(mode="json")))
    words = [str(config), "--slides", str(table), "--out", str(folder)]
    assert main(["shards", "build", *words]) == 0
    (folder / "notes.txt").write_text("mine")
    fact = {"bytes": 4, "sha256": sha256_file(folder / "notes.txt")}
    (folder / "superseded").mkdir(exist_ok=True)
    record = {"unit": "s0", "inputs": "1234567890", "files": {"notes.txt": fact}}
    (folder / "superseded/s0-12345678.json").write_text(json.dumps(record))
    assert main(["shards", "regenerate", *words, "--prune"]) == 0
    assert (folder / "notes.txt").read_text() == "mine"
