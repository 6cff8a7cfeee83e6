"""clean: makes room in a run folder. Labels and styled views that nothing will read again, and outputs that were set aside."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from launch.completion import Completion, survey
from launch.graph import KindName, build_graph
from launch.guard import check_rights
from launch.phases import MapKind, kind_of
from launch.resources.quantities import size
from launch.run_folder import RunFolder, find_run
from launch.run_folder.aside import clean_aside, look
from mlseg_core.errors import EXIT_DONE, UserError
from mlseg_core.own import is_regular, leads_out
from mlseg_dist.run_folder import mark_cleaned
from shards.manifest import read_manifest


@dataclass(frozen=True)
class Removable:
    """Something that could be deleted.

    why: the reason to keep it; empty if it can go.  left: files in it that stay, as they are not ours or were changed.
    """

    name: str
    files: tuple[Path, ...]
    bytes: int
    why: str = ""
    left: tuple[str, ...] = ()


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("clean")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("--rounds", action="store_true", help="label shards of rounds whose training is done")
    parser.add_argument(
        "--styled", action="store_true", help="styled shards, once all training that reads them is done"
    )
    parser.add_argument(
        "--aside",
        action="store_true",
        help="outputs of phases that an edit made invalid (RUN/aside); files that are not ours stay",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go; remove nothing")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=clean)


def clean(arguments: argparse.Namespace) -> int:
    """Remove what was asked for and say how much room that makes. Raises UserError."""
    options: dict[KindName, bool] = {"label": arguments.rounds, "style": arguments.styled}
    asked = [kind for kind, chosen in options.items() if chosen]
    if not asked and not arguments.aside:
        raise UserError("nothing to clean was named", "command line", "Add --rounds, --styled or --aside.")
    run = find_run(arguments.where)
    found = sidecars(run, asked) if asked else []
    if arguments.aside:
        found.append(aside(run))
    if not arguments.dry_run:
        check_rights(run)
        for room in found:
            remove(run, room)
    _tell(found, arguments.dry_run, arguments.json)
    return EXIT_DONE


def sidecars(run: RunFolder, kinds: Sequence[KindName]) -> list[Removable]:
    """The published folders of these kinds, with their shards; manifests, seeds and records stay."""
    config = run.config()
    completions = survey(config, build_graph(config), run)
    found = []
    for completion in completions:
        kind = kind_of(completion.phase)
        if completion.phase.kind not in kinds or not isinstance(kind, MapKind):
            continue
        folder = kind.folder(run, completion.phase)
        if not (folder / "manifest.json").exists():
            continue
        sizes = {shard.name: shard.bytes for shard in read_manifest(folder / "manifest.json").shards}
        there = [folder / name for name in sizes if os.path.lexists(folder / name) and Path(name).name == name]
        files = [path for path in there if is_regular(path) and path.stat().st_size == sizes[path.name]]
        left = [f"{folder.name}/{path.name}" for path in there if path not in files]
        found.append(_room(folder.name, files, _elsewhere(run, folder) or _needed_by(completion, completions), left))
    return found


def _elsewhere(run: RunFolder, folder: Path) -> str:
    """Why nothing is deleted there; empty if it lies in the run's own folder."""
    return "a symbolic link leads there, out of the run folder" if leads_out(folder, run.path) else ""


def _needed_by(maker: Completion, completions: Sequence[Completion]) -> str:
    """Why its shards stay; empty if every phase that reads them is done."""
    if maker.state != "done":
        return f"phase {maker.phase.name} is {maker.state}"
    waiting = [s.phase.name for s in completions if maker.phase.name in s.phase.inputs and s.state != "done"]
    return f"{waiting[0]} is not done and reads it" if waiting else ""


def aside(run: RunFolder) -> Removable:
    """What lies in RUN/aside: our files by their inventories; the others stay."""
    found = look(run.path / "aside")
    return _room("aside", [*found.files, *found.links], "", [f"aside/{name}" for name in found.left])


def _room(name: str, files: Sequence[Path], why: str, left: Sequence[str] = ()) -> Removable:
    return Removable(name, tuple(files), sum(path.lstat().st_size for path in files), why, tuple(left))


def remove(run: RunFolder, room: Removable) -> None:
    """Delete it. The folder is marked first, so that after a kill it is known to be incomplete and cleaning can go on."""
    if room.name == "aside":
        clean_aside(look(run.path / "aside"))
        return
    if room.why or not room.files:
        return
    folder = run.data / room.name
    mark_cleaned(folder, len(room.files), room.bytes)
    for path in room.files:
        path.unlink(missing_ok=True)


def _tell(found: Sequence[Removable], dry_run: bool, as_json: bool) -> None:
    going = sum(room.bytes for room in found if not room.why)
    if as_json:
        rows = [{**asdict(room), "files": len(room.files)} for room in found]
        print(json.dumps({"dry_run": dry_run, "bytes": going, "found": rows}, indent=1))
        return
    for room in found:
        amount = f"{len(room.files)} files, {size(room.bytes)}"
        said = f"stays: {room.why}" if room.why else ("would go" if dry_run else "removed")
        print(f"{room.name}: {amount}, {said if room.files or room.why else 'nothing there'}")
        for name in room.left:
            print(f"left alone: {name} (not ours, or changed since)")
    print(f"{size(going)} {'would be' if dry_run else 'were'} freed")
