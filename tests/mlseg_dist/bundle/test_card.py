"""The model card of an evaluation that has domains, as summary.build makes it from counts."""

from pathlib import Path
from typing import Any

from mlseg_dist.bundle.card import model_card
from mlseg_dist.evaluation.summary import slide_facts
from mlseg_dist.teachers.teacher import Operating, Seen, Teacher, TeacherConfig, Views
from tests.mlseg_dist.evaluation.made_counts import made_config, made_corpus, made_evaluation
from tests.shards.slides_for_tests import shards_config

PATIENTS = {"val": 3, "test": 6, "dev-unseen": 6}
STEP = "master-1"
HEAD = "| factor | domain | in training | slides | patients | mean |"


def teacher(evaluation: dict[str, Any]) -> Teacher:
    config = made_config()
    sha256 = evaluation["teachers"][STEP]["sha256"]
    described = TeacherConfig(
        campaign="made",
        step=STEP,
        model=next(step.model for step in config.steps if step.name == STEP),
        views=Views(high_mpp=2.0, low_mpp=8.0, px=64),
        operating=Operating(threshold=0.4, temperature=1.3, source="validation"),
        precision="fp32",
        batch=4,
        threads=1,
        training_classes=config.training_classes,
        shards=shards_config(),
        seen=Seen(stain=("ER", "PR"), scanner=("Philips",), source=("DS1",)),
        corpus_sha256="c" * 64,
        weights_sha256=sha256,
    )
    return Teacher(described, Path("weights.safetensors"), sha256, Path())


def rows_of_domains(card: str) -> list[list[str]]:
    lines = card.splitlines()
    first = lines.index(HEAD) + 2
    rows = lines[first : next(n for n in range(first, len(lines)) if not lines[n])]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_each_domain_is_a_row_with_its_own_figures_and_whether_training_saw_it() -> None:
    evaluation = made_evaluation(PATIENTS)
    found = rows_of_domains(model_card(teacher(evaluation), made_corpus(PATIENTS), evaluation, []))
    expected = [
        [
            row["factor"],
            row["value"],
            "no" if row["unseen"] else "yes",
            str(row["slides"]),
            str(row["patients"]),
            f"{row['miou']['value']:.3f} [{row['miou']['low']:.3f}, {row['miou']['high']:.3f}]",
        ]
        for row in evaluation["domains"][STEP]
    ]
    assert found == expected
    assert {tuple(row[:3]) for row in found} == {
        ("stain", "ER", "yes"), ("stain", "PR", "yes"), ("stain", "H&E", "no"),
        ("scanner", "Philips", "yes"), ("scanner", "Motic", "no"),
        ("source", "DS1", "yes"), ("source", "DS7", "no"),
    }  # fmt: skip
    assert evaluation["domains"][STEP] != evaluation["domains"]["base"], "another step's figures would be seen"


def test_a_domain_of_few_patients_has_no_interval_and_its_name_breaks_no_table() -> None:
    corpus, config = made_corpus({"test": 2}), made_config()
    facts = slide_facts(corpus, config.evaluate.splits)
    facts = {slug: {**fact, "stain": "A|B <i>"} for slug, fact in facts.items()}
    evaluation = made_evaluation({"test": 2}, slides=facts)
    card = model_card(teacher(evaluation), corpus, evaluation, [])
    (row,) = [line for line in card.splitlines() if line.startswith("| stain |")]
    assert (
        row.startswith(r"| stain | A\|B &lt;i&gt; | ") and row.endswith(f" | {value(evaluation)} |") and "[" not in row
    )


def value(evaluation: dict[str, Any]) -> str:
    return f"{next(row for row in evaluation['domains'][STEP] if row['factor'] == 'stain')['miou']['value']:.3f}"


def test_a_card_without_domains_has_no_table_of_them() -> None:
    evaluation = made_evaluation(PATIENTS)
    evaluation["domains"][STEP] = []
    assert HEAD not in model_card(teacher(evaluation), made_corpus(PATIENTS), evaluation, [])
