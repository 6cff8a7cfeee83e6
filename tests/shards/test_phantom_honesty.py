"""Is the look-alike pair honest? Colour and texture of 64 µm must not tell Tumor from DCIS; a view of 1024 µm must.

Prints and requires the balanced accuracies (run with -s to read them).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from openslide import OpenSlide
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlseg_core.exactly_once.run import map_in_processes
from mlseg_core.randomness import generator
from shards.phantom import PhantomConfig, draw, units
from shards.phantom.catalog import DAB, HAEMATOXYLIN
from shards.phantom.layout import plan
from shards.phantom.table import Specimen

CONFIG = PhantomConfig(seed=29, train=16, val=0, test=8, dev_unseen=2, final_unseen=2)
TILES_PER_MASS = 4
VIEWS_PER_MASS = 2


@dataclass(frozen=True)
class Views:
    """What is seen from points in masses. tiles: 64 px of 64 µm; high: 128 px of 256 µm; low: 128 px of 1024 µm; RGB."""

    tiles: np.ndarray
    tile_dcis: np.ndarray
    tile_slide: np.ndarray
    high: np.ndarray
    low: np.ndarray
    dcis: np.ndarray
    split: np.ndarray


def read(slide: OpenSlide, centre_um: np.ndarray, field_um: float, pixels: int) -> np.ndarray:
    """RGB of a square field, by µm, from the level that is next finer."""
    mpp = float(slide.properties["openslide.mpp-x"])
    level = slide.get_best_level_for_downsample(field_um / pixels / mpp * 1.01)
    size = round(field_um / mpp / slide.level_downsamples[level])
    corner = [round(float(c)) for c in (centre_um - field_um / 2) / mpp]
    return np.asarray(slide.read_region((corner[0], corner[1]), level, (size, size)).resize((pixels, pixels)))[..., :3]


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> Views:
    folder: Path = tmp_path_factory.mktemp("honest")
    found = units(CONFIG)
    map_in_processes(found, draw, folder, 2)
    tiles, tile_dcis, tile_slide, high, low, dcis, split = ([] for _ in range(7))
    for unit in found:
        layout = plan(Specimen(**unit.payload))
        random = generator(1, "views", unit.name)
        with OpenSlide(folder / f"{unit.name}.tif") as slide:
            for pair in layout.pairs:
                for i in range(TILES_PER_MASS):
                    turn, away = random.uniform(0, 2 * np.pi), 0.55 * pair.radius * np.sqrt(random.random())
                    at = np.array(pair.centre) + away * np.array([np.cos(turn), np.sin(turn)])
                    tiles.append(read(slide, at, 64, 64))
                    tile_dcis.append(pair.kind == "DCIS")
                    tile_slide.append(unit.name)
                    if i < VIEWS_PER_MASS:
                        high.append(read(slide, at, 256, 128))
                        low.append(read(slide, at, 1024, 128))
                        dcis.append(pair.kind == "DCIS")
                        split.append(unit.name.rsplit("-", 2)[0])
    return Views(*(np.array(part) for part in (tiles, tile_dcis, tile_slide, high, low, dcis, split)))


def features(tile: np.ndarray) -> np.ndarray:
    """Colour (RGB, haematoxylin and DAB OD: mean, spread, percentiles) and texture (LBP, gradients, co-occurrence)."""
    density = -np.log10(np.maximum(tile, 1) / 255.0)
    dyes = np.stack([np.array(v) / np.linalg.norm(v) for v in (HAEMATOXYLIN, DAB)], 1)
    channels = np.concatenate([tile / 255.0, density @ np.linalg.pinv(dyes).T], -1).reshape(-1, 5)
    colour = [channels.mean(0), channels.std(0), np.percentile(channels, (5, 25, 50, 75, 95), axis=0).ravel()]
    grey = tile.mean(-1)
    texture = []
    for radius in (1, 3):
        codes = local_binary_pattern(grey.astype(np.uint8), 8, radius, "uniform")
        texture.append(np.bincount(codes.astype(int).ravel(), minlength=10) / codes.size)
    down, right = np.gradient(grey)
    strength = np.hypot(down, right)
    texture.append(np.percentile(strength, (10, 50, 90)))
    turns, _ = np.histogram(np.arctan2(down, right) % np.pi, 8, (0, np.pi), weights=strength)
    texture.append(np.sort(turns / turns.sum()))
    pairs = graycomatrix(
        (grey / 16).astype(np.uint8), (1, 4, 8), (0, np.pi / 2), levels=16, symmetric=True, normed=True
    )
    texture += [graycoprops(pairs, name).mean(1) for name in ("contrast", "homogeneity", "energy", "correlation")]
    return np.concatenate([*colour, *texture])


def probe(seen: np.ndarray, dcis: np.ndarray, slide: np.ndarray) -> float:
    """Balanced accuracy of a linear probe, each slide told by a probe that learnt from other slides."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
    told = cross_val_predict(model, seen, dcis, groups=slide, cv=GroupKFold(5))
    return float(balanced_accuracy_score(dcis, told))


def test_linear_probe_on_64_um_cannot_tell_the_pair(views):
    seen = np.array([features(tile) for tile in views.tiles])
    accuracy = probe(seen, views.tile_dcis, views.tile_slide)
    slides = len(set(views.tile_slide))
    print(
        f"\nlinear probe, colour + texture of 64 µm: balanced accuracy {accuracy:.3f} ({len(seen)} tiles, {slides} slides)"
    )
    assert accuracy <= 0.55


def test_the_same_probe_tells_tiles_apart_that_do_differ(views):
    """The probe is no straw man: it knows a mass with marked cells from one of a negative slide, on unseen slides."""
    marked = {unit.name: unit.payload["positive"] * unit.payload["intensity"] > 0.2 for unit in units(CONFIG)}
    ihc = np.array([not name.endswith("HE") for name in views.tile_slide])
    seen = np.array([features(tile) for tile in views.tiles[ihc]])
    truth = np.array([marked[name] for name in views.tile_slide[ihc]])
    accuracy = probe(seen, truth, views.tile_slide[ihc])
    print(f"\nthe same probe, marked against unmarked masses: balanced accuracy {accuracy:.3f}")
    assert accuracy >= 0.85


def conv(inside: int, outside: int, stride: int) -> torch.nn.Sequential:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


def network_accuracy(pictures: np.ndarray, dcis: np.ndarray, split: np.ndarray, steps: int) -> dict[str, float]:
    """Train a small CNN on the train slides; balanced accuracy on each other split."""
    nn = torch.nn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 128 - 1
        y = torch.from_numpy(dcis).long()
        trunk = [conv(3, 16, 2), conv(16, 32, 2), conv(32, 32, 1), conv(32, 64, 2), conv(64, 64, 2), conv(64, 64, 1)]
        head = [nn.Flatten(), nn.Dropout(0.3), nn.Linear(4096, 64), nn.ReLU(), nn.Linear(64, 2)]
        net = nn.Sequential(*trunk, *head)
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        train = torch.from_numpy(np.flatnonzero(split == "train"))
        for _ in range(steps):
            pick = train[torch.randint(len(train), (32,))]
            batch = torch.rot90(x[pick], int(torch.randint(4, ())), (2, 3))
            tint = 1 + 0.2 * torch.randn(32, 3, 1, 1)
            loss = nn.functional.cross_entropy(net(batch * tint + 0.15 * torch.randn(32, 3, 1, 1)), y[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            told = net(x).argmax(1).numpy()
    return {
        name: float(balanced_accuracy_score(dcis[split == name], told[split == name]))
        for name in ("test", "dev-unseen", "final-unseen")
    }


def test_network_that_sees_1024_um_can_tell_the_pair(views):
    accuracy = network_accuracy(views.low, views.dcis, views.split, 150)
    print(f"\nCNN, 1024 µm at 8 µm/px: balanced accuracy {accuracy}")
    assert accuracy["test"] >= 0.9


def test_same_network_on_256_um_cannot(views):
    accuracy = network_accuracy(views.high, views.dcis, views.split, 150)
    print(f"\nCNN, 256 µm at 2 µm/px: balanced accuracy {accuracy}")
    assert accuracy["test"] <= 0.65
