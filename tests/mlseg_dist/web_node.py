"""The keys that a node's workers read, as JSON: number of workers -> keys of each epoch.

python -m tests.mlseg_dist.web_node SHARDS TRAINING_CLASSES (JSON)
"""

import json
import sys
from typing import Any

from torch.utils.data import DataLoader

from mlseg_dist.data.web import WebPairs, web_dataset

WORKERS = (1, 2)
EPOCHS = 2


def keys_of_epochs(dataset: WebPairs, workers: int, **options: Any) -> list[list[str]]:
    loader, found = DataLoader(dataset, batch_size=None, num_workers=workers, **options), []
    for epoch in range(EPOCHS):
        dataset.set_epoch(epoch)
        found.append([sample["__key__"] for sample in loader])
    return found


if __name__ == "__main__":
    read = web_dataset(sys.argv[1], json.loads(sys.argv[2]))
    print(json.dumps({workers: keys_of_epochs(read, workers) for workers in WORKERS}))
