"""How alike two sentences are: all-MiniLM-L6-v2, a six-layer BERT encoder, in plain torch and without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

import torchgate

LAYERS = 6
HEADS = 12
MAX_TOKENS = 256
"""Longer texts are cut, as the authors of the weights did in training. Source: sentence_bert_config.json."""

NORM_EPSILON = 1e-12
"""Source: config.json of the weights."""


class Similarity(torchgate.Model):
    """Cosine similarity of two texts, from -1 to 1; about 0 for unrelated ones and 1 for the same meaning."""

    def load(self, context: torchgate.LoadContext) -> None:
        """Read weights and vocabulary from this version's folder."""
        self.device = context.device
        self.weights = load_file(context.folder / "model.safetensors", device=context.device)
        self.tokenizer = Tokenizer.from_file(str(context.folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")

    def predict(self, batch: torchgate.Batch) -> Mapping[str, torchgate.Array]:
        """Encode both sides of all rows in one pass and compare them."""
        texts = [text.decode("utf-8", "replace") for side in ("first", "second") for text in batch.inputs[side].ravel()]
        vectors = self.encode(texts)
        similarity = (vectors[: batch.rows] * vectors[batch.rows :]).sum(dim=1, keepdim=True)
        return {"similarity": similarity}

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """One vector of length 1 for each text: the mean over its tokens."""
        encodings = self.tokenizer.encode_batch(list(texts))
        tokens = torch.tensor([encoding.ids for encoding in encodings], device=self.device)
        mask = torch.tensor([encoding.attention_mask for encoding in encodings], device=self.device)
        hidden = self._embed(tokens)
        for layer in range(LAYERS):
            hidden = self._encode_layer(hidden, mask, f"encoder.layer.{layer}")
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        return functional.normalize(mean, dim=1)

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        words = functional.embedding(tokens, self.weights["embeddings.word_embeddings.weight"])
        positions = self.weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        kind = self.weights["embeddings.token_type_embeddings.weight"][0]
        return self._norm(words + positions + kind, "embeddings.LayerNorm")

    def _encode_layer(self, hidden: torch.Tensor, mask: torch.Tensor, place: str) -> torch.Tensor:
        query, key, value = (
            self._linear(hidden, f"{place}.attention.self.{part}").unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :].bool())
        mixed = self._linear(attended.transpose(1, 2).flatten(2), f"{place}.attention.output.dense")
        hidden = self._norm(hidden + mixed, f"{place}.attention.output.LayerNorm")
        inner = functional.gelu(self._linear(hidden, f"{place}.intermediate.dense"))
        return self._norm(hidden + self._linear(inner, f"{place}.output.dense"), f"{place}.output.LayerNorm")

    def _linear(self, values: torch.Tensor, place: str) -> torch.Tensor:
        return functional.linear(values, self.weights[f"{place}.weight"], self.weights[f"{place}.bias"])

    def _norm(self, values: torch.Tensor, place: str) -> torch.Tensor:
        weight, bias = self.weights[f"{place}.weight"], self.weights[f"{place}.bias"]
        return functional.layer_norm(values, weight.shape, weight, bias, NORM_EPSILON)
