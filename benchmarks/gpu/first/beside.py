"""What runs beside training: generators of gan_style, the moving average, validation, advice when memory runs out."""

import resource
import statistics
import time
from pathlib import Path

import torch

from benchmarks.common.photo_corpus import write_corpus
from benchmarks.engine import loops
from benchmarks.gpu.first.engines import PaperSized, alone_in_the_world
from benchmarks.gpu.first.networks import job
from benchmarks.gpu.first.parts import Rows, Settings, Skipped
from benchmarks.model.networks import ROWS as NETWORKS
from launch.config import load_campaign
from mlseg_core.errors import UserError
from mlseg_dist.config import LossConfig, TrainConfig
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.style.config import StyleConfig
from mlseg_dist.style.pairs import StylePair
from mlseg_dist.style.patches import Crops
from mlseg_dist.style.train import Trainer
from mlseg_dist.training.engine import World, join_world
from mlseg_dist.training.memory import advice, check_fits, is_out_of_memory, trial
from mlseg_dist.training.state.average import Average
from mlseg_dist.training.validate import validate
from mlseg_dist.training.validation_pairs import ValidationPairs

_STYLE_STEPS = 20
_TINY_STYLE = StyleConfig(batch=2, crop_px=64, channels=(8, 16, 24), blocks=1, latent=8, critic_channels=(8, 16, 24))
_CAMPAIGN = Path(__file__).with_name("campaign.yaml")


def style(settings: Settings, rows: Rows) -> None:
    """Steps of a generator and its critic at their default size."""
    config = _TINY_STYLE if settings.tiny else StyleConfig()
    trainer = Trainer(config, StylePair("one", "other"), 0, 4, settings.device == "cuda")
    shape = (config.batch, config.crop_px, config.crop_px, 3)
    crops = [
        Crops(*(torch.randint(0, 256, shape, dtype=torch.uint8).to(trainer.device) for _ in range(2))) for _ in "ab"
    ]
    times = []
    for number in range(2 if settings.tiny else _STYLE_STEPS):
        begun = time.perf_counter()
        trainer.step(number, *crops)
        settings.wait()
        times.append(time.perf_counter() - begun)
    rows.add(**{"first step, s": times[0], "ms a step": 1000 * statistics.median(times[1:]), "steps": len(times),
                "GiB": _peak_gib(settings)})  # fmt: skip


def average(settings: Settings, rows: Rows) -> None:
    """A step with and without the moving average of the parameters; that validating on it gives every bit back."""
    alone_in_the_world()
    asked = job(settings)
    precision = "bf16" if settings.device == "cuda" else "fp32"
    train = TrainConfig(patch_px=asked.side, quads_per_micro_batch=1, precision=precision, threads=1)
    world = join_world(train)
    bench = PaperSized("", train, world, [loops.micro_batch(train, 0, world.device)], settings)
    for decay in (None, 0.999):
        step = loops.ours(ema=decay)(bench)
        step()
        times = []
        for _ in range(3 if settings.tiny else 20):
            settings.wait()
            begun = time.perf_counter()
            step()
            settings.wait()
            times.append(time.perf_counter() - begun)
        rows.add(**{"ema": decay, "ms a step": 1000 * statistics.median(times)})
    network = bench.network()
    moving = Average(network, 0.5)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    moving.update(torch.ones((), dtype=torch.bool, device=world.device))
    with moving.in_place():
        halfway = all(
            torch.allclose(now, old + 0.5, atol=1e-5) for now, old in zip(network.parameters(), before, strict=True)
        )
    back = all(torch.equal(now, old + 1.0) for now, old in zip(network.parameters(), before, strict=True))
    rows.add(**{"average of 0 and 1 is a half": halfway, "parameters are given back": back})
    torch.distributed.destroy_process_group()


def validation(settings: Settings, rows: Rows) -> None:
    """Pairs of 768 px read, decoded and scored as training validates, against the network alone."""
    pairs, store, threads = (8, 96, 1) if settings.tiny else (512, 768, settings.cores)
    folder = write_corpus(settings.scratch / "validation", pairs, 2, store)
    asked = job(settings)
    overrides = [
        *("slides=slides.csv", "phantom=null", f"train.patch_px={asked.side}", f"train.workers={threads}"),
        f"train.precision={'bf16' if settings.device == 'cuda' else 'fp32'}",
    ]
    config = load_campaign(_CAMPAIGN, overrides)
    device = torch.device(settings.device)
    torch.backends.cudnn.benchmark = True
    model = NETWORKS[asked.row].build(asked.scale).to(device, memory_format=torch.channels_last)
    corpus = Corpus(folder, config.training_classes)
    world = World(0, 1, device)
    scored = ValidationPairs(corpus, config.train, world, "train")
    for name in ("first pass", "again"):
        begun = time.perf_counter()
        scores = validate(model, scored, config, world, lambda stage: None)
        rows.add(**{"what": name, "pairs": scores.patches, "pairs/s": scores.patches / (time.perf_counter() - begun),
                    "accuracy": scores.figures["accuracy"]})  # fmt: skip


def out_of_memory(settings: Settings, rows: Rows) -> None:
    """Micro-batches far too large: refused before training, and explained when a step runs out of memory."""
    if settings.device == "cpu" and torch.__version__ < "2.12":
        raise Skipped("oneDNN of this torch crashes where a CPU's memory runs out (docs/devices.md)")
    asked = job(settings)
    precision = "bf16" if settings.device == "cuda" else "fp32"
    train = TrainConfig(
        patch_px=asked.side, quads_per_micro_batch=16 if settings.tiny else 128, precision=precision, threads=1
    )
    world = World(0, 1, torch.device(settings.device))
    model = NETWORKS[asked.row].build(asked.scale).to(world.device).train()
    loss = SegmentationLoss(LossConfig(), "static").to(world.device)
    attempt = trial(model, loss, train, world.device)
    attempt(1)
    if settings.device == "cpu":  # the same words under a limit of address space
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
    try:
        check_fits(model, loss, train, world)
        rows.add(when="before the first step", said=f"nothing: {train.samples_per_micro_batch} samples fit")
    except UserError as refused:
        rows.add(when="before the first step", said=str(refused))
    try:
        attempt(train.quads_per_micro_batch)
        rows.add(when="in a step", said=f"nothing: {train.samples_per_micro_batch} samples fit")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        rows.add(when="in a step", said=str(advice(model, loss, train, world)))


def _peak_gib(settings: Settings) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**30 if settings.device == "cuda" else None
