"""Embed sounds, pictures and a video as OpenL3 does, and plot the similarity of sound and frames over time.

    $ python -m boiler.train_l3 --video_dir VIDEOS --save_path exp/l3
    $ python notebooks/embeddings_over_time.py DATA/openl3 exp/l3/l3_005.pt similarity.png

DATA/openl3 has the folders audio, image and video of OpenL3's public samples; other sounds, pictures and videos in such
folders do as well. The checkpoint is one of `boiler.train_l3`, since sound and frames can only be compared in a space
that was learned for both.
"""

# %% Files
import sys
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import soundfile
import torch
from PIL import Image

from boiler.embedding import openl3
from boiler.model import l3_joint

folder, checkpoint, picture = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
warnings.simplefilter("ignore", openl3.OpenL3Warning)  # the samples contain silence on purpose
HOP_S = 0.1


def cosines(a, b):
    a, b = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9) for vectors in (a, b))
    return a @ b.T


# %% Sounds: every 0.1 s one vector, by an encoder that needs no file and by the network of the checkpoint
sounds = {}
for path in sorted((folder / "audio").glob("*.wav")):
    samples, rate_hz = soundfile.read(path)
    if len(samples):
        sounds[path.stem] = (samples, rate_hz)
for model in ("MFCCStats", str(checkpoint)):
    vectors, times = openl3.get_audio_embedding(
        [samples for samples, _ in sounds.values()],
        [rate_hz for _, rate_hz in sounds.values()],
        model=model,
        hop_size=HOP_S,
        verbose=False,
    )
    means = np.stack([some.mean(axis=0) for some in vectors])
    print(f"{model}: cosine of the mean vectors")
    for name, row, at in zip(sounds, cosines(means, means), times, strict=True):
        print(f"  {name:<12} {len(at):>4} vectors  ", "  ".join(f"{value:5.2f}" for value in row))

# %% Pictures
pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((folder / "image").glob("*.*"))]
vectors = openl3.get_image_embedding(
    [one for one in pictures if min(one.shape[:2]) >= 224], model=str(checkpoint), verbose=False
)
print("pictures:", [some.shape for some in vectors])

# %% A video: sound and frames, to .npz files and back
video = next((folder / "video").glob("*.mp4"))
aside = picture.parent / "embeddings"
openl3.process_video_file(
    video,
    output_dir=aside,
    audio_model=str(checkpoint),
    image_model=str(checkpoint),
    audio_hop_size=HOP_S,
    overwrite=True,
    verbose=False,
)
sound, frames = (np.load(aside / f"{video.stem}_{kind}.npz") for kind in ("audio", "image"))
print(f"{video.name}: sound {sound['embedding'].shape}, frames {frames['embedding'].shape}")

# %% The same in the common space of both networks
network = l3_joint.load(checkpoint).build().eval()
with torch.inference_mode():
    of_sound = torch.nn.functional.normalize(network.project_audio(torch.from_numpy(sound["embedding"])), dim=1)
    of_frames = torch.nn.functional.normalize(network.project_image(torch.from_numpy(frames["embedding"])), dim=1)
across = (of_sound @ of_frames.T).numpy()

# %% Similarity over time
figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
seconds = {"sound": sound["timestamps"], "frames": frames["timestamps"]}
for axis, (title, values, down, right) in zip(
    axes,
    [
        ("sound with sound", cosines(sound["embedding"], sound["embedding"]), "sound", "sound"),
        ("frames with frames", cosines(frames["embedding"], frames["embedding"]), "frames", "frames"),
        ("sound with frames, common space", across, "sound", "frames"),
    ],
    strict=True,
):
    extent = (0, float(seconds[right][-1]), float(seconds[down][-1]), 0)
    shown = axis.imshow(values, extent=extent, aspect="auto", cmap="viridis")
    axis.set(title=title, xlabel=f"{right}, s", ylabel=f"{down}, s")
    figure.colorbar(shown, ax=axis, label="cosine")
figure.suptitle(video.name)
figure.savefig(picture, dpi=110)
print(picture)
