"""Training of one pair's generator, from scratch, exactly resumable. Pairs are independent jobs of one process each.

In: a shards folder. Out, in the pair's folder: checkpoints/, metrics.jsonl, events.jsonl, and at the end generator.pt with
generator.json (made_of, sha256), which is what a generator is known by.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from mlseg_core.errors import Interrupted, UserError
from mlseg_core.files import fingerprint, replace_synced, sha256_file, temporary_beside, write_json
from mlseg_core.randomness import generator as random_generator
from mlseg_core.randomness import integer_seed
from mlseg_dist.data.prefetch import Workers, threads_for
from mlseg_dist.device import device_for, settle_cpu, settle_gpu
from mlseg_dist.events import Events, LogEvent
from mlseg_dist.style import losses
from mlseg_dist.style.config import StyleConfig
from mlseg_dist.style.network import VIEWS, Discriminator, Generator, Noise
from mlseg_dist.style.pairs import StylePair, generator_folder, styles
from mlseg_dist.style.patches import Crops, Pool, Steps, signed
from mlseg_dist.training.checkpoint import Saver, load, newest
from mlseg_dist.training.log import MetricsFile
from mlseg_dist.training.state.average import Average
from shards.manifest import read_manifest

RECIPE = 1
"""Raise it when the same inputs give other weights."""
_MULTIPLE = "Take a multiple of twice the ratio."
WEIGHTS, RECORD = "generator.pt", "generator.json"


def made_of(config: StyleConfig, shards: Path, pair: StylePair, seed: int, bf16: bool) -> str:
    """Hash of all that decides a generator's weights, but for the number of steps and the machine."""
    corpus = sha256_file(shards / "manifest.json")
    names = [pair.source, pair.target, config.by]
    return fingerprint([RECIPE, config.decides(), corpus, names, seed, bf16])


class Trainer:
    """All that a step changes: both networks, the average, the optimizers."""

    def __init__(self, config: StyleConfig, pair: StylePair, seed: int, ratio: int, bf16: bool) -> None:
        self.config, self.pair, self.seed, self.ratio, self.bf16 = config, pair, seed, ratio, bf16
        self.device = device_for()
        settle_gpu(self.device, deterministic=True)
        of_pair = integer_seed(seed, "style", pair.name)
        self.generator = Generator(config, of_pair).to(self.device)
        self.critic = Discriminator(config, of_pair).to(self.device)
        self.average = Average(self.generator, config.average)
        slow = list(
            self.generator.mapping.parameters()
        )  # the mapping network learns a hundred times slower, as StyleGAN's
        names = {id(parameter) for parameter in slow}
        rest = [parameter for parameter in self.generator.parameters() if id(parameter) not in names]
        groups = [{"params": rest, "lr": config.lr}, {"params": slow, "lr": config.lr / 100}]
        self.optimizer = torch.optim.Adam(groups, betas=(0.0, 0.99))
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.critic_lr, betas=(0.0, 0.99))

    def state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "critic": self.critic,
            "average": self.average,
            "optimizer": self.optimizer,
            "critic_optimizer": self.critic_optimizer,
        }

    def step(self, number: int, source: Crops, target: Crops) -> dict[str, torch.Tensor]:
        """One step of both networks; number: from 0. Returns its losses, on the device."""
        config, count = self.config, len(source.high)
        seen, real = (
            torch.cat([signed(crops.high, self.device), signed(crops.low, self.device)]) for crops in (source, target)
        )
        view = torch.arange(2 * count, device=self.device) // count  # 0 high, 1 low
        told: dict[str, torch.Tensor] = {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            made = self.generator(seen, *self._drawn(number, count, view))
            self.critic_optimizer.zero_grad(set_to_none=True)
            critic = losses.discriminator_loss(self.critic(real), self.critic(made.detach()))
        if config.r1 and number % config.r1_every == 0:
            told["r1"] = self._r1(real)
            critic = critic + config.r1 * config.r1_every * told["r1"]
        critic.backward()
        self.critic_optimizer.step()

        self.optimizer.zero_grad(set_to_none=True)
        self.critic.requires_grad_(False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            fooled = losses.generator_loss(self.critic(made))
        self.critic.requires_grad_(True)
        kept = losses.ssim(seen, made).mean()
        apart = losses.disagreement(seen[:count], made[:count], seen[count:], made[count:], self.ratio)
        total = fooled + config.ssim * (1 - kept) + config.agreement * apart
        if config.identity:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                same = self.generator(real, *self._drawn(number, count, view))
            told["identity"] = (same - real).abs().mean()
            total = total + config.identity * told["identity"]
        if config.diversity:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                other = self.generator(seen, *self._drawn(number, count, view, "other"))
            told["sameness"] = losses.sameness(made, other)
            total = total + config.diversity * told["sameness"]
        total.backward()
        self.optimizer.step()
        self.average.update()
        parts = {"critic": critic, "generator": fooled, "ssim": kept, "disagreement": apart, **told}
        return {name: value.detach() for name, value in parts.items()}

    def _drawn(
        self, number: int, count: int, view: torch.Tensor, what: str = "step"
    ) -> tuple[torch.Tensor, torch.Tensor, Noise]:
        """Latents, views and noise of a step: both views of a pair have one latent and one seed of noise."""
        drawn = [drawn_style(self.seed, self.pair, self.config.latent, what, number, i) for i in range(count)]
        z = torch.stack([one for one, _ in drawn] * 2).to(self.device, non_blocking=True)
        return z, view, Noise([seed for _, seed in drawn] * 2, [VIEWS[0]] * count + [VIEWS[1]] * count)

    def _r1(self, real: torch.Tensor) -> torch.Tensor:
        real = real.detach().requires_grad_(True)
        return losses.r1(real, self.critic(real))


def drawn_style(seed: int, pair: StylePair, latent: int, *names: object) -> tuple[torch.Tensor, int]:
    """Latent float32 (latent,), and seed of the noise, of what `names` name."""
    random = random_generator(seed, "style", pair.name, *names)
    z = torch.from_numpy(random.standard_normal(latent).astype("float32"))
    return z, int(random.integers(2**62))


def train_pair(
    config: StyleConfig,
    shards: Path,
    out: Path,
    pair: StylePair,
    seed: int,
    *,
    bf16: bool = False,
    threads: int = 1,
    workers: Workers = 1,
    stop: Callable[[], bool] = lambda: False,
    advance: Callable[[int], None] = lambda step: None,
) -> dict[str, Any]:
    """Train, or go on with, a pair's generator until `config.steps`; returns generator.json.

    threads: of torch on a CPU.  advance: told the steps done, after each.

    Raises Interrupted, after a checkpoint, when stop() says so; UserError for a folder of other settings.
    """
    manifest, folder = read_manifest(shards / "manifest.json"), generator_folder(out, pair)
    side = int(manifest.views["store_px"])
    if config.crop_px > side:
        raise UserError(f"the corpus stores {side} px", "style.crop_px", f"At most {side // 16 * 16}.")
    if config.crop_px % (2 * manifest.ratio):
        raise UserError(
            f"{config.crop_px} px do not fit views of a ratio of {manifest.ratio}", "style.crop_px", _MULTIPLE
        )
    inputs = made_of(config, shards, pair, seed, bf16)
    done = record(folder)
    if done is not None and done["made_of"] == inputs and done["steps"] == config.steps:
        return done
    settle_cpu(threads)
    folder.mkdir(parents=True, exist_ok=True)
    events = Events(folder)
    trainer, first = Trainer(config, pair, seed, manifest.ratio, bf16), 0
    found = newest(folder / "checkpoints", events.log)
    if found is not None:
        state, cursor = load(found)
        if cursor["made_of"] != inputs or cursor["step"] > config.steps:
            raise UserError(
                "the generator there has other settings, another corpus, or more steps", folder, "Move it away."
            )
        trainer.load(state)
        first = cursor["step"]
    groups = styles(manifest, config.by)
    own, theirs = (Pool(shards, manifest, groups[name], config.crop_px) for name in (pair.source, pair.target))
    saver = Saver(folder / "checkpoints", 2, None, events.log, first)
    log = _Losses(folder / "metrics.jsonl", events.log, first)
    steps = Steps(own, theirs, pair, seed, config.batch, threads_for(workers), trainer.device.type == "cuda")
    stream = steps.stream(first, config.steps)
    try:
        for number, ((source, target), _) in enumerate(stream, first):
            log.add(trainer.step(number, source, target))
            at = number + 1
            if at % config.log_every == 0 or at == config.steps:
                log.write(at)
            advance(at)
            stopped = stop() and at < config.steps
            if at % config.checkpoint_every == 0 or at == config.steps or stopped:
                saver.save(at, trainer.state(), {"step": at, "made_of": inputs})
            if stopped:
                saver.wait(60)
                raise Interrupted(f"generator {pair.name} at step {at}")
        saver.wait(60)
    finally:
        stream.close()
        saver.close()
        log.close()
    return _publish(trainer, folder, inputs, config.steps)


def record(folder: Path) -> dict[str, Any] | None:
    """generator.json of a finished generator."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / RECORD).read_text())
        return found if isinstance(found, dict) else None
    return None


def _publish(trainer: Trainer, folder: Path, inputs: str, steps: int) -> dict[str, Any]:
    target = folder / WEIGHTS
    temporary = temporary_beside(target)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in trainer.average.weights().items()}
    with open(temporary, "wb") as file:  # of a path torch writes the name into the file
        torch.save(state, file)
    replace_synced(temporary, target)
    pair = trainer.pair
    made = {
        "source": pair.source,
        "target": pair.target,
        "sha256": sha256_file(target),
        "steps": steps,
        "made_of": inputs,
        "network": trainer.config.model_dump(mode="json", include={"channels", "blocks", "latent"}),
    }
    write_json(folder / RECORD, made)
    return made


class _Losses:
    """Means over the steps between two lines of metrics.jsonl. What a resumed start does again is cut off first."""

    def __init__(self, path: Path, log_event: LogEvent, first: int) -> None:
        self._lines, self._told = MetricsFile(path, log_event), dict[str, list[torch.Tensor]]()
        self._lines.cut_back(first)

    def add(self, told: dict[str, torch.Tensor]) -> None:
        for name, value in told.items():
            self._told.setdefault(name, []).append(value)

    def write(self, step: int) -> None:
        means = {name: round(torch.stack(values).mean().item(), 6) for name, values in self._told.items()}
        self._lines.write({"step": step, **means})
        self._told = {}

    def close(self) -> None:
        self._lines.close()
