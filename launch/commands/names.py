"""names: who the pseudonyms in a report or on W&B are."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.run_folder import RunFolder, find_run
from mlseg_core.errors import EXIT_DONE, UserError
from mlseg_dist.privacy.pseudonyms import Named, Pseudonyms
from mlseg_dist.run_folder import shards_folder
from shards.manifest import SlideEntry, kept_manifest


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("names")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("pseudonyms", nargs="*", metavar="PSEUDONYM", help="for example slide-0003; default: all")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=names)


def names(arguments: argparse.Namespace) -> int:
    """Show real names in the terminal. Raises UserError for a pseudonym that was never given."""
    run = find_run(arguments.where)
    known = Pseudonyms(run.path)
    rows = [known.original(one) for one in arguments.pseudonyms] if arguments.pseudonyms else known.all()
    if not rows:
        raise UserError("no pseudonyms yet", run.path, "The report or W&B makes them when they are first needed.")
    facts = _facts(rows, _corpus(run))
    if arguments.json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return EXIT_DONE
    table = Table(box=None, pad_edge=False)
    for column in ("pseudonym", "name", "file", "patient", "slides"):
        table.add_column(column, overflow="fold")
    for row in facts:
        cells = [
            row["pseudonym"],
            row["name"],
            row.get("file", ""),
            row.get("patient", ""),
            ", ".join(row.get("slides", ())),
        ]
        table.add_row(*map(Text, cells))
    Console(highlight=False).print(table)
    return EXIT_DONE


def _corpus(run: RunFolder) -> list[SlideEntry]:
    path = shards_folder(run.path) / "manifest.json"
    return list(kept_manifest(path).slides) if path.exists() else []


def _facts(rows: list[Named], corpus: list[SlideEntry]) -> list[dict[str, Any]]:
    """What the corpus knows of each: a slide's file and patient, or a patient's slides."""
    by_slug = {slide.slug: slide for slide in corpus}
    of_patient: dict[str, list[str]] = {}
    for slide in corpus:
        of_patient.setdefault(slide.patient, []).append(slide.slug)
    found = []
    for named in rows:
        facts: dict[str, Any] = {"kind": named.kind, "pseudonym": named.pseudonym, "name": named.name}
        if named.kind == "patient":
            facts["slides"] = of_patient.get(named.name, [])
        elif named.name in by_slug:
            facts |= {"file": by_slug[named.name].slide, "patient": by_slug[named.name].patient}
        found.append(facts)
    return found
