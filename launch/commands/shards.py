"""shards phantom | import | build | regenerate | verify | show: slides in, tar shards out, outside of any campaign."""

import argparse
import contextlib
import difflib
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from launch.commands import shards_look
from launch.commands.words import at_least_one
from launch.config import CampaignConfig, load_campaign
from launch.phases import slide_table
from launch.run_folder import RunFolder
from mlseg_core.config import Strict, load_config, read_yaml, unknown_key
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.exactly_once.run import map_in_processes, merge
from mlseg_core.own import check_folder
from shards.config import ShardsConfig
from shards.own_slides import note_table, refuse_foreign_slides, remove_outdated
from shards.phantom.config import PhantomConfig
from shards.tiles_config import TilesConfig

if TYPE_CHECKING:
    from shards.cutting import Change, CutPlan, Pruning

_SECTIONS = ("phantom", "tiles", "shards")
"""What a campaign or class file may hold for these commands, and a file of one part is by itself."""
Settings = TypeVar("Settings", bound=Strict)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    group = commands.add_parser("shards")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    phantom = _action(actions, "phantom", "draw synthetic slides with annotations and their table")
    phantom.set_defaults(run=make_phantom)
    imported = actions.add_parser("import", help="make slides and annotations of image and mask tiles")
    imported.add_argument("folder", type=Path, metavar="DIR", help="the folder of the tiles")
    _options(imported)
    imported.set_defaults(run=import_tiles)
    build = _action(actions, "build", "cut the slides of a table into shards; started again, it continues")
    build.set_defaults(run=build_shards)
    again = _action(
        actions, "regenerate", "cut again what a changed slide, annotation or config concerns, nothing else"
    )
    again.add_argument("--dry-run", action="store_true", help="say which slides would be cut again, and why")
    again.add_argument(
        "--prune",
        action="store_true",
        help="afterwards delete the files of earlier builds, and nothing else; with --dry-run: list them",
    )
    again.add_argument("--json", action="store_true", help="print the changes, and what --prune deletes, as JSON")
    again.set_defaults(run=regenerate_shards)
    for action in (build, again):
        action.add_argument("--slides", type=Path, metavar="CSV", help="the slide table; default: the campaign's")
    shards_look.add(actions)


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text)
    _options(parser)
    return parser


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="YAML file of this part alone, or a campaign file")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.path=value", help="values that replace the file's"
    )
    parser.add_argument(
        "--out", type=_folder, metavar="DIR", help="a folder or URL for the outputs; default: the campaign's"
    )
    parser.add_argument(
        "--workers", type=at_least_one("--workers"), default=1, metavar="N", help="processes that work at once"
    )


def make_phantom(arguments: argparse.Namespace) -> int:
    """shards phantom"""
    from shards import phantom

    config = _Config(arguments)
    return _make_slides(phantom, config.section("phantom", PhantomConfig), config.out("slides"), arguments.workers)


def import_tiles(arguments: argparse.Namespace) -> int:
    """shards import"""
    from shards import tiles

    config = _Config(arguments)
    settings = config.section("tiles", TilesConfig).model_copy(update={"folder": arguments.folder})
    tiles.check(settings)
    return _make_slides(tiles, settings, config.out("slides"), arguments.workers)


def _make_slides(maker: ModuleType, settings: Strict, out: Path | str, workers: int) -> int:
    if isinstance(out, str):
        raise UserError("slides are written into a folder", out, "Give a folder; `shards build` can write to a URL.")
    units = maker.units(settings)
    refuse_foreign_slides(units, maker.draw, lambda folder: maker.write_table(settings, folder), out)
    remove_outdated(units, out)
    failed = map_in_processes(units, maker.draw, out, workers, label="slides", progress_unit="slides")
    if failed:
        first = next((failure for failure in failed if failure.mistake), failed[0])
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        if first.mistake:
            raise UserError(f"{first.reason}{more}")
        raise RuntimeError(f"{first.unit}: {first.reason}{more} (see {out}/failed/{first.unit}.json)")
    merge(units, out)
    table = maker.write_table(settings, out)
    note_table(out)
    print(table)
    return EXIT_DONE


def build_shards(arguments: argparse.Namespace) -> int:
    """shards build"""
    from shards import cutting

    config, slides, out = _build_of(arguments)
    plan = cutting.plan_cut(config, slides, out, renew=False, check=True)
    _warn(plan, slides)
    if plan.corrected:
        first, why = next(iter(plan.corrected.items()))
        many = len(plan.corrected) > 1
        stays = (
            f"{len(plan.corrected)} slides stay as an earlier version cut them"
            if many
            else "1 slide stays as an earlier version cut it"
        )
        print(
            f"mlseg: warning: {stays} and would be cut in another way today; {'first: ' if many else ''}{first}: {why}. "
            f"`mlseg shards regenerate --dry-run` names {'them' if many else 'it'}, `regenerate` cuts again.",
            file=sys.stderr,
        )
    return _build(arguments, config, slides, out, plan)


def regenerate_shards(arguments: argparse.Namespace) -> int:
    """shards regenerate"""
    from shards import cutting

    config, slides, out = _build_of(arguments)
    plan = cutting.plan_cut(config, slides, out, renew=True, check=not arguments.dry_run)
    _warn(plan, slides)
    found = cutting.changes(plan, out)
    if not arguments.json:
        for change in found:
            if change.action != "keep":
                print(f"{change.action}  {change.slide}  {change.why}")
        counts = Counter(change.action for change in found)
        print(f"{counts['cut']} slides to cut, {counts['keep']} stay as they are, {counts['drop']} to drop")
    if arguments.dry_run:
        _tell_pruning(arguments, found, cutting.plan_pruning(out, plan.units) if arguments.prune else None)
        return EXIT_DONE
    with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
        status = _build(arguments, config, slides, out, plan)
    pruning = cutting.prune(out) if arguments.prune else None
    _tell_pruning(arguments, found, pruning)
    if not arguments.prune and not arguments.json and (left := len(cutting.superseded(out))):
        print(f"{left} superseded files; --prune --dry-run lists them, --prune deletes them")
    return status


def _tell_pruning(arguments: argparse.Namespace, changes: "list[Change]", pruning: "Pruning | None") -> None:
    """Each file that goes, or went, with its size and why; what was left alone; the total."""
    if arguments.json:
        rows = [vars(change) for change in changes]
        told: object = rows
        if pruning is not None:
            prune = {
                "dry_run": arguments.dry_run,
                "files": [vars(file) for file in pruning.files],
                "bytes": pruning.bytes,
                "left_alone": [vars(file) for file in pruning.left_alone],
            }
            told = {"changes": rows, "prune": prune}
        print(json.dumps(told, ensure_ascii=False))
        return
    if pruning is None:
        return
    for file in pruning.files:
        print(f"{'would go' if arguments.dry_run else 'removed'}  {file.name}  {file.bytes} bytes  {file.why}")
    for other in pruning.left_alone:
        print(f"left alone  {other.name}  {other.bytes} bytes  {other.why}")
    verb = "would be removed" if arguments.dry_run else "removed"
    print(f"{len(pruning.files)} superseded files {verb}, {pruning.bytes} bytes")


def _warn(plan: "CutPlan", slides: Path) -> None:
    for warning in plan.warnings:
        print(f"mlseg: warning: {slides}: {warning}", file=sys.stderr)


def _build_of(arguments: argparse.Namespace) -> tuple[ShardsConfig, Path, Path | str]:
    config = _Config(arguments)
    return config.section("shards", ShardsConfig), config.slides, config.out("shards")


def _build(arguments: argparse.Namespace, config: ShardsConfig, slides: Path, out: Path | str, plan: "CutPlan") -> int:
    """Cut what is missing. Exit status 1 when slides are in quarantine, though the manifest of the others is written."""
    from shards import cutting

    for slug, problem in cutting.check_slides(config, slides, plan).items():
        print(f"mlseg: warning: {slug} will be quarantined: {problem}", file=sys.stderr)
    cutting.refuse_foreign_outputs(out)
    map_in_processes(
        plan.units, cutting.cut, out, arguments.workers, describe=cutting.describe, label="shards", progress_unit="slides",
        piece_unit="pairs",
    )  # fmt: skip
    manifest = cutting.write_manifest(config, slides, plan.units, out, plan.known)
    bad = sum(bool(slide.quarantined) for slide in manifest.slides)
    counts = manifest.totals
    print(f"{out}: {counts['samples']} pairs of {len(manifest.slides) - bad} slides in {counts['shards']} shards")
    if bad:
        print(f"mlseg: {bad} slides are in quarantine, see {out}/{cutting.QUARANTINE}", file=sys.stderr)
    return EXIT_FAILED if bad else EXIT_DONE


def _folder(text: str) -> Path | str:
    return text if "://" in text else Path(text)


def _refuse_unknown(raw: dict[str, Any], section: str, model: type[Strict], where: Path) -> None:
    """Of a file that is no campaign, one section may be used alone: the keys beside it are a campaign's. Raises UserError."""
    for key in map(str, raw):
        if section and key not in CampaignConfig.model_fields:
            if close_matches := difflib.get_close_matches(key, model.model_fields, n=1):
                fix = f"Did you mean '{section}.{close_matches[0]}'? The file has a section {section!r}."
                raise UserError(f"unknown key {key!r}", where, fix)
            raise unknown_key(key, key, CampaignConfig.model_fields, where)
        if not section and key not in model.model_fields:
            raise unknown_key(key, key, {*model.model_fields, *_SECTIONS}, where)


class _Config:
    """The config that a command names, read once: a campaign file, or a file of this part alone. Raises UserError."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._raw = read_yaml(arguments.config)
        self._campaign = load_campaign(arguments.config, arguments.overrides) if "steps" in self._raw else None
        if isinstance(arguments.out, Path):
            check_folder(arguments.out, "Name another folder with --out.")

    def section(self, name: str, model: type[Settings]) -> Settings:
        """The settings from a file of their own, or from their section in a campaign or class file. Raises UserError."""
        if self._campaign is None:
            section = name if isinstance(self._raw.get(name), dict) else ""

            def after(raw: dict[str, Any]) -> None:
                _refuse_unknown(raw, name if section else "", model, self._arguments.config)

            return load_config(self._arguments.config, model, self._arguments.overrides, section, after=after)
        settings = getattr(self._campaign, name)
        if settings is None:
            what = f"the campaign has no {name!r} section"
            raise UserError(what, self._arguments.config, "Choose the command that fits it.")
        return settings

    def out(self, name: str) -> Path | str:
        """Where the outputs go: as --out says, or `name` in the campaign's data. Raises UserError."""
        if self._arguments.out is not None:
            return self._arguments.out
        if self._campaign is None:
            raise UserError("no folder for the outputs", "command line", "Add --out DIR.")
        return RunFolder.of(self._campaign).data / name

    @property
    def slides(self) -> Path:
        """The slide table: as --slides says, or the campaign's. Raises UserError."""
        if self._arguments.slides is not None:
            return self._arguments.slides
        if self._campaign is None:
            raise UserError("no slide table", "command line", "Add --slides slides.csv.")
        return slide_table(self._campaign, RunFolder.of(self._campaign))
