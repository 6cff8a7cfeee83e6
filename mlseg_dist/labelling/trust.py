"""What training asks before it believes a round of labels.

A chain leads from the round's manifest to each byte that is learnt from: the manifest names each index by its sha256, the
index each member by its crc32c, and every member that is read is checked against it. So all indices are hashed, and of the
tars only the sizes are looked at.
"""

from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import LearningConfig
from mlseg_dist.run_folder import is_cleaned, labels_folder, shards_folder, teacher_record
from shards.manifest import Manifest, first_fault, read_manifest, read_seeds


def check_round(config: LearningConfig, number: int, run: Path) -> Manifest:
    """The manifest of round `number` (from 1), once it and its files have been found to be what they say.

    Made from this corpus, by the teacher that step `number - 1` has published; every shard of the train split once; every
    sidecar there in full, every index and the seeds with the manifest's hashes. Raises UserError.
    """
    folder = labels_folder(run, number)
    path = folder / "manifest.json"
    if is_cleaned(folder):
        raise UserError("the round's labels were removed by `mlseg clean`", folder, f"Label again: {_again(number)}")
    manifest, corpus_path = read_manifest(path), shards_folder(run) / "manifest.json"
    if manifest.parents.get("corpus") != sha256_file(corpus_path):
        raise UserError("the labels were made for another corpus", path, f"Label again: {_again(number)}")
    if manifest.parents.get("teacher") != teacher_record(run, config.steps[number - 1].name)["sha256"]:
        raise UserError("the labels are another teacher's", path, f"Label again: {_again(number)}")
    train = sorted(shard.name for shard in read_manifest(corpus_path).of_splits("train"))
    if sorted(entry.of for entry in manifest.shards) != train:
        raise UserError("the round does not label each shard of the train split once", path, _again(number))
    fault = first_fault(folder, manifest.shards)
    if fault:
        raise UserError(fault, folder, f"Label again: {_again(number)}")
    read_seeds(folder, manifest)
    return manifest


def _again(number: int) -> str:
    return (
        f"move {labels_folder(Path('RUN'), number)} and the folder of phase label-{number} away, then mlseg resume RUN"
    )
