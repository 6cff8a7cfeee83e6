"""python -m benchmarks.pseudo_labels RUN [--out FILE.json] [--thresholds | --brief]: how right pseudo-labels are, round by round.

RUN is a run folder, finished or not, whose phantom has written the whole truth of its train slides (docs/experiments.md).
"""

import argparse
import sys
from pathlib import Path

from benchmarks.pseudo_labels.count import score
from benchmarks.pseudo_labels.table import in_brief, in_words
from mlseg_core.errors import UserError, exit_status
from mlseg_core.files import write_json
from shards.tar import BadShard


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pseudo_labels", description=(__doc__ or "").strip())
    parser.add_argument("run", type=Path, metavar="RUN", help="a campaign's run folder")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all counts and figures")
    parser.add_argument("--thresholds", action="store_true", help="also show what other thresholds would have given")
    parser.add_argument("--brief", action="store_true", help="one line a round and view")
    options = parser.parse_args(arguments)
    try:
        scores = score(options.run)
        if not scores:
            raise UserError("no round of labels is there", options.run / "data", "Let a phase label-K finish first.")
        if options.out:
            write_json(options.out, {"run": options.run.name, "rounds": [one.to_json() for one in scores]})
    except (UserError, BadShard, OSError) as error:
        print(f"pseudo_labels: error: {error}", file=sys.stderr)
        return exit_status(error)
    print(in_brief(scores) if options.brief else in_words(scores, options.thresholds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
