"""config, slides, shards: all that `run` checks before it queues, and what the first jobs would find."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launch.campaign import check_cut_corpus
from launch.checks import check_annotated, check_class_maps, check_ranks, training_ranks
from launch.estimate.styling import check_styles
from launch.preflight.finding import Finding
from launch.preflight.site import Site
from launch.preflight.start import ranks_on_gpus
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, sha256_file
from mlseg_core.store import Folder
from mlseg_dist.run_folder import is_cleaned, labels_folder, shards_folder, styled_folder
from shards.manifest import Manifest, read_manifest

_THREADS = 8


def config(site: Site) -> Iterator[Finding]:
    """The graph, the ranks' share of a step, GPUs for the ranks, phases that an edit made invalid."""
    settings = site.config
    steps = ", ".join(f"{step.name} ({step.model.kind})" for step in settings.steps)
    yield Finding("config", "ok", f"{len(site.graph)} phases; views of {settings.train.patch_px} px; {steps}")
    ranks, pairs = training_ranks(settings), settings.train.samples_per_step
    check_ranks(settings)
    check_class_maps(settings)
    who = "1 rank shares" if ranks == 1 else f"{ranks} ranks share"
    if settings.loss.group == "step":
        at_once = f"{pairs // ranks} on each rank at once, and the loss is over all of them"
        yield Finding("ranks", "ok", f"{who} {pairs} pairs a step: {at_once}")
    else:
        micro = settings.train.micro_batches_per_step
        yield Finding("ranks", "ok", f"{who} {micro} micro-batches: {pairs} pairs a step")
    yield from ranks_on_gpus(site)
    if site.run.exists():
        for warning in check_cut_corpus(settings, site.run, site.completions):
            yield Finding("classes", "warning", warning, "Annotate more, or go on knowing it.")
        stale = [completion for completion in site.completions if completion.state == "stale"]
        if stale:
            first = f"{stale[0].phase.name} ({stale[0].why})"
            names = first + (f" and {len(stale) - 1} more" if len(stale) > 1 else "")
            yield Finding("phases", "bad", f"no longer valid: {names}", "mlseg run … --accept does them again.")


def slides(site: Site) -> Iterator[Finding]:
    """Whether every slide opens and every annotation can be read; or, without slides of one's own, whether they can be made."""
    settings = site.config
    if settings.phantom is not None:
        yield Finding("slides", "ok", f"{site.amounts.slides} phantom slides will be drawn")
    elif settings.tiles is not None:
        from shards import tiles

        tiles.check(settings.tiles)
        yield Finding("slides", "ok", f"{len(tiles.units(settings.tiles))} slides will be made of tiles")
    else:
        from shards.cutting import annotated_classes, check_slides, look_at_slides

        assert settings.slides is not None
        for warning in look_at_slides(settings.slides):
            yield Finding("slides", "warning", warning, "Correct the slide table.")
        bad = check_slides(settings.shards, settings.slides)
        if not site.run.exists():
            check_annotated(settings, annotated_classes(settings.shards, settings.slides), settings.slides)
        count = site.amounts.slides
        yield Finding("slides", "ok", f"{count - len(bad)} of {count} slides and their annotations can be read")
        if bad:
            first = next(iter(bad.values()))
            yield Finding("slides", "warning", f"{len(bad)} will be quarantined, the first: {first}", first.fix)


def styles(site: Site) -> Iterator[Finding]:
    """gan_style: that the slides have the styles which its pairs name, or two at least."""
    if any(phase.kind == "style" for phase in site.graph):
        pairs = check_styles(site.config, site.graph, site.run)
        by = site.config.style.by
        if pairs:
            yield Finding(
                "styles",
                "ok",
                f"{len(pairs)} pairs of {by}s, a generator each: {pairs[0].source} → {pairs[0].target}, …",
            )
        else:
            yield Finding("styles", "skipped", f"no table says yet which {by}s the slides are from")


def corpus(site: Site) -> Iterator[Finding]:
    """Shards and rounds of labels that are there: manifest by its hash, files by size; --full: by hash."""
    folders = {"shards": (shards_folder(site.run.path), "shards")}
    if any(phase.name == "style" for phase in site.graph):
        folders["styled views"] = (styled_folder(site.run.path), "style")
    for number in range(1, len(site.config.steps)):
        folders[f"labels {number}"] = (labels_folder(site.run.path, number), f"label-{number}")
    records = {phase.name: site.run.phase(phase) / "done.json" for phase in site.graph}
    found = {name: place for name, place in folders.items() if (place[0] / "manifest.json").exists()}
    if not found:
        yield Finding("shards", "skipped", "none yet: the campaign will cut them")
    for name, (folder, phase) in found.items():
        if is_cleaned(folder):
            yield Finding(name, "ok", "cleaned away: no phase that is left reads them")
            continue
        yield _sound(site, name, folder, records[phase])


def _sound(site: Site, name: str, folder: Path, done: Path) -> Finding:
    path = folder / "manifest.json"
    manifest = read_manifest(path)
    if done.exists() and read_json(done)["outputs"]["sha256"] != sha256_file(path):
        raise UserError("the manifest is not the one that its phase published", path, "Restore it, or run --accept.")
    sizes = Folder(folder).sizes()
    bad = [shard.name for shard in manifest.shards if sizes.get(shard.name) != shard.bytes]
    if not bad and site.full:
        bad = _other_bytes(folder, manifest)
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        fix = "mlseg shards verify says what is damaged; mlseg shards regenerate cuts a slide again."
        return Finding(name, "bad", f"{folder}: missing or changed: {bad[0]}{more}", fix)
    totals = manifest.totals
    how = "hashes hold" if site.full else "sizes hold (--full: hashes)"
    return Finding(name, "ok", f"{totals['shards']} shards, {totals['samples']:,} pairs; {how}")


def _other_bytes(folder: Path, manifest: Manifest) -> list[str]:
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = pool.map(lambda shard: sha256_file(folder / shard.name), manifest.shards)
        return [shard.name for shard, found in zip(manifest.shards, hashes, strict=True) if found != shard.sha256]
