"""Vectors of sentences, by a model of the library `transformers`: the mean of its vectors of the tokens, unit length.

`boiler encoders add all-minilm-l6-v2` fetches one; any directory of a model with a tokenizer will do, such as those of
sentence-transformers. Nothing is loaded from the network, and no code that comes with a model is run.

Source: Reimers and Gurevych, "Sentence-BERT", 2019.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boiler.arrays import Float32Array
from boiler.encoder import pretrained, published
from boiler.errors import CheckpointError

MAX_TOKENS = 128
DEFAULT = "all-minilm-l6-v2"


def folder_of(given: str | os.PathLike[str] | None) -> Path:
    """The directory that was given, or the one that `boiler encoders add all-minilm-l6-v2` writes."""
    return published.weights_path(DEFAULT) if given is None else Path(given)


class SentenceEncoder:
    """A model and its tokenizer. `sha256`: of all that the vectors depend on"""

    def __init__(self, tokenizer: Any, model: Any, sha256: str) -> None:
        self._tokenizer = tokenizer
        self._model = model.eval()
        self.sha256 = sha256

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Shape: [N, E], unit length"""
        import torch  # a search with GloVe's words does not need it

        found = []
        with torch.no_grad():
            for text in texts:  # one by one: the others of a batch would change the last bits
                tokens = self._tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_TOKENS)
                is_token = tokens["attention_mask"][0].bool()  # a tokenizer may fill up
                mean = self._model(**tokens).last_hidden_state[0][is_token].mean(dim=0)
                found.append(torch.nn.functional.normalize(mean, dim=0).numpy())
        return np.asarray(np.stack(found), np.float32)


@functools.lru_cache(2)
def load(folder: Path) -> SentenceEncoder:
    """The model in a directory, once a process.

    Raises: CheckpointError: there is none, it is damaged, or `transformers` is not installed.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such directory. Sentences need a model of transformers: boiler encoders add {DEFAULT}, or"
            " --sentence_model DIR"
        )
    tokenizer = pretrained.load_pretrained("AutoTokenizer", folder, trust_remote_code=False)
    model = pretrained.load_pretrained("AutoModel", folder, trust_remote_code=False, use_safetensors=True)
    return SentenceEncoder(tokenizer, model, pretrained.model_sha256(folder))
