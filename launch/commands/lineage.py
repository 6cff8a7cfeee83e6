"""lineage: where a sample comes from, and what every round of labels said about it."""

import argparse
import json
from pathlib import Path
from typing import Any

from launch.run_folder import find_run
from mlseg_core.errors import EXIT_DONE
from mlseg_dist.config import CLASSES
from mlseg_dist.lineage import lineage as found_lineage


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("lineage")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("key", metavar="KEY", help="of the sample, as shards and reports name it")
    parser.add_argument("--json", action="store_true", help="all of it, with hashes")
    parser.set_defaults(run=lineage)


def lineage(arguments: argparse.Namespace) -> int:
    """Print it."""
    run = find_run(arguments.where)
    found = found_lineage(run.config(), run.path, arguments.key)
    print(json.dumps(found, indent=1, ensure_ascii=False) if arguments.json else "\n".join(_lines(found)))
    return EXIT_DONE


def _lines(found: dict[str, Any]) -> list[str]:
    slide, place, views = found["slide"], found["place"], found["views"]
    x, y = place["center_level0_px"]
    people = ", ".join(f"{name} {count} px" for name, count in found["labelled_by_people"].items()) or "nothing"
    lines = [
        found["key"],
        f"slide     {slide['slide']} of patient {slide['patient']}: {slide['stain']}, {slide['scanner']}, "
        f"{slide['source']}, split {slide['split']}",
        f"place     x {x:g}, y {y:g} (level-0 px of {place['mpp0'][0]:g} µm), views of {views['store_px']:g} px at "
        f"{views['high_mpp']:g} and {views['low_mpp']:g} µm/px",
        f"shard     {found['shard']['name']}, row {found['shard']['row']}",
        f"people    {people} in the high view; class at the centre: {place['seed_class'] or 'none'}",
    ]
    for one in found["rounds"]:
        teacher = one["teacher"]
        who = f"round {one['round']}   for {one['for_step']}, by {teacher['step']} ({teacher.get('sha256', 'no teacher yet')[:12]})"
        if "labels" not in one:
            lines.append(f"{who}: {one['said']}")
            continue
        for view, said in one["labels"].items():
            shares = ", ".join(f"{name} {said[name]['accepted']:.1%} of {said[name]['called']:.1%}" for name in CLASSES)
            lines.append(f"{who}, {view}: accepts {shares}")
        if not one["is_of_this_teacher"]:
            lines.append("          the labels were made by other weights than the teacher's of today")
    return lines
