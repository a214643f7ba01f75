"""A small BERT that was never trained: its weights are what is kept."""

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification


def make(folder):
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=3,
    )
    ids = np.random.default_rng(1).integers(0, 50, size=(8, 12))
    return {
        "model": BertForSequenceClassification(config).eval(),
        "sample": {"input_ids": ids, "attention_mask": np.ones_like(ids)},
    }
