"""From TFRecord files to served tags: export, look, train, tag, serve.

    $ python notebooks/tags_from_records.py exp/esc10/MFCCStats exp/records

The index has labels, such as the names of folders; its copy in the second folder is tagged. Records of another origin
in the same form do as well, if their features are vectors of the encoder of the index; those of YouTube-8M are learned
from in the same way, with `--features mean_rgb:1024 mean_audio:128`, and no index can be tagged with them.
"""

# %% Files
import json
import shutil
import sys
from pathlib import Path

from starlette.testclient import TestClient

from boiler import cli
from boiler.search.nearest import Nearest
from boiler.service.app import BoilerApp
from boiler.service.settings import Settings
from boiler.tagging.tfrecord import FeatureSpec
from boiler.tagging.vocabulary import Vocabulary

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(parents=True)
model_dir, records = folder / "model", folder / "records.tfrecord"
shutil.copytree(source, model_dir, symlinks=True)


def boiler(*words):
    code = cli.main([str(word) for word in words])
    if code:
        sys.exit(f"boiler {words[0]} ended with {code}")


# %% The vectors and labels of an index as tf.train.Example, and how they look
boiler("export", model_dir, "--tfrecord", records)
boiler("tfrecord", records, "--vocabulary", records.with_suffix(".csv"), "--limit", 2)
with Nearest(model_dir) as nearest:
    features = FeatureSpec("embedding", nearest.dim)
    example = nearest.items(limit=1)[0]
print("labels:", ", ".join(Vocabulary.read(records.with_suffix(".csv")).names))

# %% Learn from the records alone; the model is bound to the encoder of the index
boiler(
    *("train_tags", "--tfrecord", records, "--vocabulary", records.with_suffix(".csv"), "--features", features),
    *("--encoder_of", model_dir, "--save_path", folder / "tags", "--l2", 0.03),
    *("--batch_size", 16, "--patience", 20, "--thresholds", "even_odds"),  # few examples
)
print("test:", json.loads((folder / "tags" / "report.json").read_text())["test"])

# %% Tag the index, and every sound that is indexed later
boiler("tag", model_dir, "--tags", folder / "tags" / "tags.safetensors")

# %% Serve
with TestClient(BoilerApp(Settings(model_dir=model_dir, log="none"))) as client:
    print("GET /tags:", client.get("/tags").json())
    print(f"GET /items/{example.n}/tags ({example.id}):", client.get(f"/items/{example.n}/tags").json())
    sound = client.get(f"/items/{example.n}/audio").content
    rows = client.post("/tags?k=3", files={"file": ("sound", sound)}).json()
    for row in rows:
        print(f"POST /tags: {row['tag']:<20} {row['probability']:.3f} {'yes' if row['has'] else ''}")
