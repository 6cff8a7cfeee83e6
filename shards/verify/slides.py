"""Are the slides still the files that were cut? Reads every byte of them. In: a corpus and its slide table. Out: findings.

What is learnt is remembered beside the manifest (slide-identities.json): a first full hash is recorded, and a slide whose
full hash changed is cut again by the next `regenerate`, even where its size and modification time are as they were.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.progress import Progress
from mlseg_core.store import Store, open_store
from shards.cutting.identity import Known, file_state, hashed, read_known, slide_identity, write_known
from shards.cutting.plan import read_records
from shards.manifest import read_manifest
from shards.slide_table import Slide, read_slide_table
from shards.verify.corpus import MANIFEST, Report
from shards.verify.finding import Finding

_THREADS = 4  # hashing releases the interpreter; more would make a spinning disk seek


def verify_slides(folder: Path, slides_csv: Path, report: Report) -> None:
    """Add what is found to `report`. Raises UserError for a table or a manifest that cannot be read."""
    manifest = read_manifest(folder / MANIFEST)
    if manifest.kind != "corpus":
        what = f"it holds {manifest.kind}, which are not cut from slides"
        raise UserError(what, folder, "Give the folder that `mlseg shards build` wrote.")
    by_slug = {slug: slide for slide in read_slide_table(slides_csv) for slug in (slide.slug_before, slide.slug)}
    store = open_store(folder)
    known, cut_from = read_known(store), _identities(store)
    progress = Progress("slides", len(manifest.slides), "slides")

    def look(slug: str) -> tuple[Known | None, list[Finding], list[Finding]]:
        if slug not in by_slug:
            return None, [], [Finding(slug, "", f"it is not in {slides_csv.name}, and was not compared")]
        return _compare(by_slug[slug], known.get(by_slug[slug].slug), cut_from.get(slug, ""))

    with ThreadPoolExecutor(_THREADS) as pool:
        slugs = [entry.slug for entry in manifest.slides]
        for slug, (now, damage, warnings) in zip(slugs, pool.map(look, slugs), strict=True):
            report.damage += damage
            report.warnings += warnings
            if now is not None:
                known[by_slug[slug].slug] = now
            progress.advance(1, slug)
    progress.finish()
    try:
        write_known(store, known)
    except OSError as error:
        report.warnings.append(Finding(MANIFEST, "", f"the slides' sha256 cannot be recorded ({error.strerror})"))


def _identities(store: Store) -> dict[str, str]:
    """Slug -> the identity of the file that it was cut from."""
    return {name: record["facts"]["inputs"].get("slide", "") for name, record in read_records(store).items()}


def _compare(slide: Slide, known: Known | None, cut_from: str) -> tuple[Known | None, list[Finding], list[Finding]]:
    """The slide as it is now, damage, warnings."""
    try:
        if cut_from and slide_identity(slide.slide, cut_from) != cut_from:
            return (
                None,
                [Finding(slide.slug, "", "the slide file changed since it was cut; regenerate cuts it again")],
                [],
            )
        if known is None or not known.sha256:
            windows = slide_identity(slide.slide)
            known = Known(file_state(slide.slide), windows, windows=windows)
        now = hashed(slide.slide, known)
    except OSError as error:
        return None, [Finding(slide.slug, "", f"the slide cannot be read ({error.strerror})")], []
    if now.sha256 != known.sha256 and known.sha256:
        what = f"sha256 mismatch: {now.sha256}, and was {known.sha256} when it was recorded; regenerate cuts it again"
        return now, [Finding(slide.slug, "", f"the slide file changed: {what}")], []
    if not cut_from:
        return now, [], [Finding(slide.slug, "", "its done record is gone: nothing says from which file it was cut")]
    return now, [], []
