"""Sends notices, each once by each channel, whoever sends: a record for each try, RUN/alerts/KEY.CHANNEL.N.json.


A record is made first-wins before the try and says afterwards whether it was sent. What failed is tried once more at once, later by
another machine, as compute nodes often reach neither a mail server nor the internet, and after ten minutes by any.
Never raises, never writes down a webhook's address, and takes names of slides and patients out, as for W&B.
"""

import json
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from launch.alerts.channels import Channel, DeliveryError, channels_of
from launch.alerts.notices import Notice
from launch.config import CampaignConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import own_files, read_json, write_json
from mlseg_core.node import node_name
from mlseg_dist.privacy.redaction import Redaction

_log = logging.getLogger(__name__)


FOLDER = "alerts"
_PAUSE_S = 2.0
_MOST_TRIES = 4
_AGAIN_S = 600.0
"""After so long this machine tries again, and whoever began a try and has said nothing since is gone."""


class Sender:
    """Sends what has not been sent. A channel that failed in this process gets no further try for a while."""

    def __init__(self, run: RunFolder, config: CampaignConfig, rest_s: float = 120.0) -> None:
        self._run, self._folder, self._rest_s = run, run.path / FOLDER, rest_s
        self._channels = channels_of(config.cluster.alerts)
        self._resting: dict[str, float] = {}
        self._settled: set[tuple[str, str]] = set()

    def send(self, notices: Iterable[Notice]) -> None:
        """One after the other; what cannot be sent is logged, and said in its record."""
        for notice in notices:
            for channel in self._channels:
                if (notice.key, channel.name) in self._settled or time.monotonic() < self._resting.get(channel.name, 0):
                    continue
                record, is_ours = self._claim(notice.key, channel.name)
                if is_ours and self._deliver(channel, notice, record):
                    self._settled.add((notice.key, channel.name))

    def _claim(self, key: str, channel: str) -> tuple[Path | None, bool]:
        """The record of a try that is ours to make. No path: the disk takes none, and the alert goes out all the same."""
        try:
            self._folder.mkdir(exist_ok=True)
            tries = sorted(self._folder.glob(f"{key}.{channel}.*.json"))
            if len(tries) >= _MOST_TRIES or any(_is_in_the_way(path) for path in tries):
                return None, False
            path = self._folder / f"{key}.{channel}.{len(tries) + 1}.json"
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return None, False
        except OSError:
            return None, True
        with suppress(OSError):
            os.write(handle, json.dumps({"host": node_name(), "began": time.time()}).encode())
        os.close(handle)
        return path, True

    def _deliver(self, channel: Channel, notice: Notice, record: Path | None) -> bool:
        """True when it was sent, or when it failed and no record says so to this process later."""
        facts: dict[str, Any] = {"host": node_name(), "began": time.time(), "title": notice.title}
        try:
            text = self._shown(notice.text)
            try:
                channel.send(notice.title, text)
            except DeliveryError:
                time.sleep(_PAUSE_S)
                channel.send(notice.title, text)
            facts["sent"] = time.time()
        except Exception as error:
            why = str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__} in {channel.name}"
            facts["failed"] = why
            self._resting[channel.name] = time.monotonic() + self._rest_s
            _log.warning("an alert could not be sent by %s: %s", channel.name, why)
        if record is not None:
            with suppress(OSError):
                write_json(record, facts)
        return "sent" in facts or record is None

    def _shown(self, text: str) -> str:
        """The text without names; where the names are not known here, without the text."""
        try:
            return Redaction(self._run.path).text(text)
        except (UserError, OSError):
            return "What happened is in the run folder: mlseg status RUN"


def _is_in_the_way(path: Path) -> bool:
    """It was sent, somebody is at it, or this machine has just tried it."""
    try:
        said, age = read_json(path), time.time() - path.stat().st_mtime
    except (UserError, OSError):
        said, age = {}, 0.0  # it is just being written
    if "failed" in said:
        return said.get("host") == node_name() and age < _AGAIN_S
    return "sent" in said or age < _AGAIN_S


def unsent(run: RunFolder) -> dict[str, str]:
    """Title of each alert that has not been sent by one of its ways -> why."""
    found: dict[str, dict[str, Any]] = {}
    for path in own_files(run.path / FOLDER, r"[^.].*\.\d+\.json"):
        with suppress(UserError, OSError):
            said = read_json(path)
            found.setdefault(path.name.rsplit(".", 2)[0], {}).update(said if isinstance(said, dict) else {})
    return {
        f"{said.get('title', key)} ({key.rpartition('.')[2]})": str(said["failed"])
        for key, said in found.items()
        if "failed" in said and "sent" not in said
    }
