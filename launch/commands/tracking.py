"""wandb-follow: what a campaign's files say, live on W&B, from a machine that reaches the internet."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from launch.campaign import enter_working_folder
from launch.commands.words import seconds
from launch.config import CampaignConfig
from launch.graph import Phase, build_graph
from launch.run_folder import RunFolder, find_run
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError

if TYPE_CHECKING:
    from mlseg_dist.tracking import Follower
    from mlseg_dist.tracking.campaign import CampaignFollower
    from mlseg_dist.tracking.run import Mode


_RETRY_S = 60.0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("wandb-follow")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("--once", action="store_true", help="send what there is and end")
    parser.add_argument(
        "--every", type=seconds("--every"), default=10.0, metavar="S", help="seconds between looks (default 10)"
    )
    parser.add_argument("--project", metavar="NAME", help="default: tracking.project of the campaign")
    parser.add_argument(
        "--offline", action="store_true", help="write W&B's own files for a later `wandb sync`; needs no key"
    )
    parser.set_defaults(run=follow)


def follow(arguments: argparse.Namespace) -> int:
    """Until the campaign is done; Ctrl-C ends it (status 75), and it can be started again at any time."""
    if arguments.every <= 0:
        raise UserError(f"{arguments.every} is no time between two looks", "--every", "Give seconds above 0.")
    run = find_run(arguments.where)
    if not os.access(run.path / "phases" if (run.path / "phases").is_dir() else run.path, os.W_OK):
        raise UserError(
            "what was sent is kept in the run folder, where you may not write", run.path, "Ask its owner to follow it."
        )
    enter_working_folder(run)
    config = run.config()
    if not arguments.offline:
        _check_key()
    following = Following(config, run, arguments)
    try:
        return following.once() if arguments.once else following.until_done(arguments.every)
    finally:
        following.close()


class Following:
    """A Follower for each phase that has begun, and one for the campaign."""

    def __init__(self, config: CampaignConfig, run: RunFolder, arguments: argparse.Namespace) -> None:
        self.config, self.run, self.project = config, run, arguments.project
        self.offline = bool(arguments.offline)
        self.graph = build_graph(config)
        self.followers: dict[str, Follower] = {}
        self.complete: dict[str, str] = {}
        self.campaign: CampaignFollower | None = None

    def once(self) -> int:
        from mlseg_dist.tracking.run import Unreachable

        try:
            for _ in range(2):  # the first look takes over from a sender that is gone
                self.look()
        except Unreachable as error:
            self.forget()
            print(f"mlseg: error: {error}", file=sys.stderr)
            return EXIT_FAILED
        return EXIT_DONE

    def until_done(self, every_s: float) -> int:
        from mlseg_dist.tracking.run import Unreachable

        while True:
            pause = every_s
            try:
                self.look()
            except Unreachable as error:
                self.forget()
                pause = max(every_s, _RETRY_S)
                print(f"W&B: {error}; once more in {pause:.0f} s", file=sys.stderr, flush=True)
            except OSError as error:  # a network file system that hiccups
                print(f"W&B: {error}; once more in {pause:.0f} s", file=sys.stderr, flush=True)
            if len(self.complete) == len(self.graph):
                print(f"{self.run.path}: all {len(self.graph)} phases are on W&B", flush=True)
                return EXIT_DONE
            time.sleep(pause)

    def look(self) -> None:
        """Send what is new of every phase; a phase that is done is closed. Raises Unreachable, OSError."""
        for phase in self.graph:
            folder = self.run.phase(phase)
            if folder.is_dir():
                self._look_at(phase, folder)
        self._look_at_campaign()

    def _look_at_campaign(self) -> None:
        from mlseg_dist.tracking.campaign import CampaignFollower

        if self.campaign is None:
            self.campaign = CampaignFollower(self.config, self.run.path, self._mode, self.project)
        if self.campaign.poll():
            print(f"{self.config.name}: the campaign's run", flush=True)

    @property
    def _mode(self) -> "Mode":
        return "offline" if self.offline else "online"

    def _look_at(self, phase: Phase, folder: Path) -> None:
        from mlseg_dist.tracking import Follower
        from mlseg_dist.tracking.run import run_id

        identity = run_id(folder)  # another one when the phase was set aside and is done anew
        if self.complete.get(phase.name) == identity:
            return
        self.complete.pop(phase.name, None)
        follower = self.followers.get(phase.name)
        if follower is not None and follower.id != identity:
            follower.close()
            follower = None
        if follower is None:
            follower = self.followers[phase.name] = Follower(self.config, folder, self._mode, self.project)
        if follower.poll():
            print(f"{self.config.name}/{folder.name}: {follower.standing}", flush=True)
        if follower.is_complete:
            follower.close()
            del self.followers[phase.name]
            self.complete[phase.name] = identity

    def forget(self) -> None:
        """Reset wandb: a run that could not be opened blocks its id there."""
        import wandb

        wandb.teardown()
        for follower in self.followers.values():
            follower.abandon()
        self.followers = {}

    def close(self) -> None:
        for follower in self.followers.values():
            follower.close()
        self.followers = {}


def _check_key() -> None:
    """Raises UserError when this machine has no key. Whether it is a good one shows when the server is asked."""
    import wandb

    if os.environ.get("WANDB_API_KEY"):
        return
    try:
        found = wandb.login(prompt=False)
    except wandb.errors.Error:
        return
    if not found:
        raise UserError("no W&B key on this machine", "wandb-follow", "Run `wandb login`, or add --offline.")
