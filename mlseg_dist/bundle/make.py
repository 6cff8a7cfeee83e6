"""A run's teacher -> the folder of a bundle. Made beside its place, and put there once all of it is whole."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import TEMPORARY, fsync_folder, sha256_file, write_atomic, write_json
from mlseg_dist.teachers.evaluated import EvaluationFacts
from mlseg_dist.teachers.of_bundle import BUNDLE, WEIGHTS, BundleFile, is_bundle
from mlseg_dist.teachers.teacher import Teacher
from shards.manifest import Manifest

ONNX, CARD, CODE = "model.onnx", "README.md", "predict.py"
FILES = (WEIGHTS, ONNX, CARD, CODE, BUNDLE)
"""In the order in which they are put in place: the one that makes it a bundle is the last."""


def check_bundle_out(out: Path) -> None:
    """Raises UserError where packages are missing, or the place is taken by something else than a bundle of ours."""
    missing = [name for name in ("safetensors", "onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        fix = "Install them: pip install 'mlseg-tissue[bundle]'."
        raise UserError(f"making a bundle needs {', '.join(missing)}", "environment", fix)
    place = out.resolve()
    there = next(path for path in (place, *place.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError("no folder can be written there", there, "Name another folder with --out.")
    if out.is_dir():
        others = sorted(path.name for path in out.iterdir() if path.name not in FILES)
        if others or (any(out.iterdir()) and not is_bundle(out)):
            name = others[0] if others else "something else"
            raise UserError(f"holds {name}, which is no part of a bundle", out, "Name a new folder with --out.")


def make_bundle(
    teacher: Teacher,
    corpus: Manifest,
    evaluation: Mapping[str, Any] | None,
    rounds: Sequence[Any],
    out: Path,
    evaluated: EvaluationFacts | None = None,
) -> dict[str, Any]:
    """evaluation, rounds: see card.py. evaluated: how the run evaluates, None: the bundle cannot be evaluated.

    Returns the largest difference of logits and the size in bytes. Raises UserError."""
    check_bundle_out(out)
    from safetensors.torch import save_file

    from mlseg_dist.bundle.card import model_card, standalone_code
    from mlseg_dist.bundle.onnx_file import write_onnx
    from mlseg_dist.teachers.network import build_network

    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}bundle-", dir=out.parent))
    try:
        model = build_network(teacher).eval()
        state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        save_file(state, scratch / WEIGHTS)
        worst = write_onnx(model, teacher.config.views, scratch / ONNX)
        write_atomic(scratch / CARD, model_card(teacher, corpus, evaluation, rounds))
        write_atomic(scratch / CODE, standalone_code())
        hashes = {name: sha256_file(scratch / name) for name in FILES if name != BUNDLE}
        file = BundleFile(teacher=teacher.config, files=hashes, evaluation=evaluated)
        write_json(scratch / BUNDLE, file.model_dump(mode="json"))
        size = sum((scratch / name).stat().st_size for name in FILES)
        _put(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"difference": worst, "bytes": size}


def _put(scratch: Path, out: Path) -> None:
    """All at once where nothing is there; else file by file, and until the last one the hashes tell that it is incomplete."""
    for name in FILES:
        with open(scratch / name, "rb") as file:
            os.fsync(file.fileno())
    if not out.exists():
        scratch.chmod(0o777 & ~_umask())
        scratch.rename(out)
    else:
        for name in FILES:
            os.replace(scratch / name, out / name)
        fsync_folder(out)
    fsync_folder(out.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
