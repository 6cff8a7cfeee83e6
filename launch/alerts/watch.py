"""When alerts go out: while a job works and at its end, when a planner asks for a person, at the campaign's end.


Everything here runs beside the work, in a thread that dies with the process, and costs a job at most FINAL_S at its end.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from launch.alerts.delivery import Sender
from launch.alerts.notices import Notice, asked_for, of_alert, of_end, of_phase
from launch.config import CampaignConfig
from launch.graph import Phase, build_graph
from launch.run_folder import RunFolder

_log = logging.getLogger(__name__)


EVERY_S = 15.0
FINAL_S = 30.0


class Watch:
    """Sends the alerts of one phase as they are raised; without a phase, those of the whole campaign."""

    def __init__(
        self, run: RunFolder, config: CampaignConfig, phase: Phase | None = None, every_s: float = EVERY_S
    ) -> None:
        self._run, self._config, self._phase, self._every_s = run, config, phase, every_s
        self._sender = Sender(run, config)
        self._over = threading.Event()
        self._known: dict[str, tuple[object, list[Notice]]] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True, name="alerts")
        self._thread.start()

    def close(self, final: bool = True) -> None:
        """final: send what is left, and at the campaign's end that it has ended; not where the job has to leave at once."""
        self._over.set()
        if not final:
            return
        deadline = time.monotonic() + FINAL_S
        self._thread.join(FINAL_S)
        if not self._thread.is_alive():
            _within(max(0.0, deadline - time.monotonic()), lambda: self._sweep(at_end=True))

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self._sweep(at_end=self._phase is None)

    def _sweep(self, at_end: bool) -> None:
        try:
            phases: Sequence[Phase] = build_graph(self._config) if self._phase is None else [self._phase]
            for phase in phases:
                self._sender.send(self._of_phase(phase))
            if at_end:
                self._sender.send([*of_alert(self._run, self._config), *of_end(self._run, self._config)])
        except Exception as error:  # whatever it is, it is no reason to disturb a job
            _log.warning("alerts: %s: %s", type(error).__name__, error)

    def _of_phase(self, phase: Phase) -> list[Notice]:
        """As of_phase; events.jsonl is read again only when it has grown."""
        now = _changed(self._run, phase)
        if phase.name not in self._known or self._known[phase.name][0] != now:
            self._known[phase.name] = (now, of_phase(self._run, self._config, phase))
        return self._known[phase.name][1]


def send_request(run: RunFolder, config: CampaignConfig, text: str, when: float) -> None:
    """Send at once that a person is needed, and what else has not been sent. when: as alert.json has it."""

    def work() -> None:
        sender = Sender(run, config)
        sender.send([asked_for(config, text, when)])
        for phase in build_graph(config):
            sender.send(of_phase(run, config, phase))

    _within(FINAL_S, work)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """In a thread of its own: a name server that does not answer cannot be interrupted otherwise."""
    thread = threading.Thread(target=work, daemon=True, name="alerts-final")
    thread.start()
    thread.join(seconds)


def _changed(run: RunFolder, phase: Phase) -> tuple[int, int]:
    try:
        facts = (run.phase(phase) / "events.jsonl").stat()
    except OSError:
        return (0, 0)
    return (facts.st_size, facts.st_mtime_ns)
