"""What leaves in words: the slides' and patients' names and all paths are gone, the rest is as it was."""

from pathlib import Path

import pytest
import yaml

from mlseg_dist.privacy.redaction import Redaction

FOLDER = "Mustermann, Erika (1961)"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that has not got further than its config; the table names files that need not exist."""
    table = tmp_path / "hospital data" / "slides.csv"
    table.parent.mkdir()
    table.write_text(
        "slide,patient,stain,scanner,source,split,annotation\n"
        f'"{FOLDER}/Mustermann_Erika_1961.tif",Erika Mustermann,HE,A,LMU,train,"{FOLDER}/Erika.geojson"\n'
        "Groß.2.tif,4711,HE,A,LMU,train,\n"
        "Groß.tif,47110815,HE,A,LMU,train,\n"
    )
    run = tmp_path / "runs" / "tiny"
    run.mkdir(parents=True)
    config = {
        "name": "tiny",
        "slides": str(table),
        "train": {"cache_dir": "/scratch/erika"},
        "cluster": {"train": {"setup": ["export TOKEN=s3cret"], "container": ["apptainer", "/home/e/image.sif"]}},
    }
    (run / "campaign.yaml").write_text(yaml.safe_dump(config))
    return run


def test_names_in_a_column_that_is_there_twice_go_too(run):
    """Such a table is refused, by an error that names the file; its names must not leave with the error."""
    table = run.parents[1] / "hospital data" / "slides.csv"
    table.write_text("slide,patient,stain,slide\nSchmidt_1.tif,Anna Schmidt,HE,Weber_2.tif\n")
    said = Redaction(run).text("Schmidt_1.tif, then Weber_2.tif of Anna Schmidt")
    assert "Schmidt" not in said and "Weber" not in said


def test_names_become_pseudonyms_and_paths_go(run):
    redaction = Redaction(run)
    known = {named.pseudonym for named in redaction.names.all() if named.kind == "slide"}
    (slide,) = known - {redaction.text("Groß.tif"), redaction.text("Groß.2.tif")}
    assert len(known) == 3 and redaction.names.slide("Mustermann_Erika_1961") == slide
    patient, number = redaction.names.patient("Erika Mustermann"), redaction.names.patient("47110815")
    table = run.parents[1] / "hospital data"
    for said, shown in (
        (f"{table}/{FOLDER}/Mustermann_Erika_1961.tif: cannot be read", f"{slide}: cannot be read"),
        (f"{FOLDER}/Mustermann_Erika_1961.tif line 3", f"{slide} line 3"),
        ("MUSTERMANN_ERIKA_1961 is out of focus", f"{slide} is out of focus"),
        ("patient erika mustermann, 47110815", f"patient {patient}, {number}"),
        ("shard Mustermann_Erika_1961-0003.tar, KEY Mustermann_Erika_1961+y0000012+x0000034", None),
        (f"cannot list {table}/{FOLDER}: gone", "cannot list …: gone"),
        (f"[Errno 2] No such file: '{table}/{FOLDER}/Erika (old).txt'", "[Errno 2] No such file: …"),
        (f"{run}/phases/02-base/logs/7_log.err", "phases/02-base/logs/7_log.err"),
        (f"in {run}", "in RUN"),
        ("BadShard: crc32c of Mustermann_Eri", "BadShard: crc32c of …"),
        ("Groß.tif and Groß.2.tif", None),
        (
            "step 4711 of 5000, 3.5 pairs/s, and/or https://wandb.ai/x",
            "step 4711 of 5000, 3.5 pairs/s, and/or https://wandb.ai/x",
        ),
        ("~/slides/x.csv and /home/erika/.bashrc.", "… and …"),
    ):
        found = redaction.text(said)
        assert shown is None or found == shown
        assert "mustermann" not in found.lower() and "groß" not in found.lower(), found
    assert redaction.text("Groß.tif") == redaction.text("GROß") != redaction.text("Groß.2")


def test_decomposed_letters_are_the_same_letters(run):
    """File names of a Mac come as a letter and its accent apart."""
    (run.parents[1] / "hospital data" / "slides.csv").write_text(
        "slide,patient,stain,scanner,source,split,annotation\nMu\u0308ller.tif,Ju\u0308rgen,HE,A,LMU,train,\n"
    )
    redaction = Redaction(run)
    assert redaction.text("Müller.tif of Jürgen") == "slide-0001 of patient-0001"


def test_a_config_keeps_what_decides_and_hides_where_it_ran(run):
    shown = yaml.safe_load(Redaction(run).config((run / "campaign.yaml").read_text()))
    assert shown == {
        "name": "tiny",
        "slides": "…",
        "train": {"cache_dir": "…"},
        "cluster": {"train": {"setup": "…", "container": ["apptainer", "…"]}},
    }
    assert Redaction(run).config("a: [") == ""


def test_a_table_that_cannot_be_read_hides_paths_all_the_same(run):
    (run.parents[1] / "hospital data" / "slides.csv").write_bytes(b"\x00\xff\n\x00")
    assert Redaction(run).text("no /data/Erika/x.tif") == "no …"
