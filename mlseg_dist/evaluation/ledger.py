"""Who opened final-unseen, when, with which networks and why. It is to be opened once, at the very end. Loads no torch.


Each opening is a line in two places: in the run, so that a copy of the run carries it, and in the user's state folder, by the hash
of the corpus, so that a copy made before, or a run under another name, does not open it anew. Either one refuses. An opening that
never finished may be continued with the same inputs.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Unit
from mlseg_core.files import fingerprint
from mlseg_core.node import user_name

_log = logging.getLogger(__name__)


SPLIT = "final-unseen"
FILE = "final-unseen.jsonl"


@dataclass(frozen=True)
class Opening:
    """One look at the split. inputs: hash of all units of the split. run: its folder at that time. teachers: step -> sha256.

    reason: of a second opening or a later one, else "". finished: its figures were written.
    """

    id: str
    corpus: str
    inputs: str
    time: str
    user: str
    command: str
    run: str
    teachers: dict[str, str]
    reason: str = ""
    finished: bool = False


def inputs_of(units: Sequence[Unit]) -> str:
    """Hash of what an opening looks at, "" when no unit is of the split."""
    found = sorted(unit.inputs for unit in units if unit.payload.scored.split == SPLIT)
    return fingerprint(found) if found else ""


def read(run: Path, corpus: str) -> list[Opening]:
    """All openings of a corpus that this run or this user knows of, the first one first. corpus: sha256 of its manifest.

    Raises UserError for a ledger that is damaged.
    """
    found: dict[str, Opening] = {}
    finished: set[str] = set()
    names = {field.name for field in fields(Opening)}
    for path, none in ((run / FILE, FileNotFoundError), (_of_user(corpus), OSError)):
        for line in [] if path is None else _lines(path, none):
            if line["event"] == "finished":
                finished.add(line["id"])
            elif line["corpus"] == corpus:
                known = {name: value for name, value in line.items() if name in names}  # later code may write more
                found.setdefault(line["id"], Opening(**known))
    openings = (replace(one, finished=one.id in finished) for one in found.values())
    return sorted(openings, key=lambda one: (one.time, one.id))


def open_split(
    run: Path,
    corpus: str,
    inputs: str,
    teachers: Mapping[str, str],
    command: str,
    again: str = "",
    repeats: bool = False,
) -> Opening:
    """Record an opening, or continue one with the same inputs that never finished. again: why it is opened once more.

    repeats: finished ones with the same inputs may be continued too, because the same figures are made of the same counts.
    Of several processes that ask at the same time with different inputs, one opens it. Raises UserError when the split was opened
    before and nobody says why it has to be again, and for a run that cannot be written to.
    """
    with _locked(run, corpus):
        return _open(run, corpus, inputs, teachers, command, again, repeats)


def _open(
    run: Path, corpus: str, inputs: str, teachers: Mapping[str, str], command: str, again: str, repeats: bool
) -> Opening:
    before = read(run, corpus)
    for one in before:
        if one.inputs == inputs and (repeats or not one.finished):
            return one
    if before and not again.strip():
        first = before[0]
        said = f"{SPLIT} was opened before: {first.time} by {first.user}, {first.command}"
        more = f" (and {len(before) - 1} more times)" if len(before) > 1 else ""
        fix = f'It is to be opened once. To open it again all the same, say why: mlseg evaluate RUN --split {SPLIT} --again "…"'
        raise UserError(said + more, first.run, fix)
    one = Opening(
        fingerprint([corpus, inputs, len(before)])[:16],
        corpus,
        inputs,
        datetime.now(UTC).isoformat(timespec="seconds"),
        user_name(os.getuid()),
        command,
        str(run),
        dict(sorted(teachers.items())),
        again.strip() if before else "",
    )
    line = asdict(one)
    del line["finished"]
    _write(run, corpus, {"event": "opened", **line})
    return one


def finish(run: Path, opening: Opening) -> None:
    """Its figures are written: from now on it counts as done."""
    if not opening.finished:
        with _locked(run, opening.corpus):
            _write(run, opening.corpus, {"event": "finished", "id": opening.id})


@contextmanager
def _locked(run: Path, corpus: str) -> Iterator[None]:
    """Both ledgers held against other processes, as far as their file systems can.

    Raises UserError for a run that cannot be written to.
    """
    with ExitStack() as held:
        for path in (run / FILE, _of_user(corpus)):
            if path is None:
                continue
            try:
                if path.parent != run:
                    path.parent.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(open(path, "ab"))
            except OSError as error:
                if path.parent == run:
                    what = f"the opening of {SPLIT} cannot be recorded ({error.strerror})"
                    raise UserError(what, path, "Make the run folder writable.") from None
                continue
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(run: Path, corpus: str, line: dict[str, Any]) -> None:
    """Append to both ledgers. A failure in the run is an error, one in the user's state folder only a warning."""
    _append(run / FILE, line)
    path = _of_user(corpus)
    try:
        if path is None:
            raise OSError(0, "this user has no home folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, line)
    except OSError as error:
        where = "the user's ledger" if path is None else path
        what = f"the opening of {SPLIT} is recorded in the run alone: {where} cannot be written ({error.strerror})"
        _log.warning(what)


def _append(path: Path, line: dict[str, Any]) -> None:
    """Add a line and sync it to disk; it replaces an incomplete last line that a crash may have left."""
    with open(path, "a+b") as file:
        file.seek(0)
        whole = file.read()
        file.truncate(whole.rfind(b"\n") + 1)
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path, none: type[OSError]) -> list[dict[str, Any]]:
    """Complete lines only: an incomplete one opened nothing. none: the error that says that there is no ledger.

    Raises UserError for a ledger that is damaged or cannot be read.
    """
    try:
        parts = path.read_bytes().split(b"\n")[:-1]
    except none:
        return []
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "Check the file and its rights.") from None
    found = []
    for number, part in enumerate(parts, start=1):
        try:
            line = json.loads(part)
            needed = {"event", "id"}
            if isinstance(line, dict) and line.get("event") == "opened":
                needed |= {field.name for field in fields(Opening) if field.default is MISSING}
            if not (isinstance(line, dict) and needed <= line.keys()):
                raise ValueError
        except ValueError:
            fix = "Restore the file; it says who opened the split, so it is not to be deleted."
            raise UserError(f"line {number} is damaged", path, fix) from None
        found.append(line)
    return found


def _of_user(corpus: str) -> Path | None:
    """None for a user without a home folder, as in some containers."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        folder = state if state.is_absolute() else Path("~/.local/state").expanduser()
    except RuntimeError:
        return None
    return folder / "mlseg" / "final-unseen" / f"{corpus[:32]}.jsonl"
