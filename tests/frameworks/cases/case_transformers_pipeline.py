"""A pipeline: model, tokenizer and task, of words that are made here."""

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    pipeline,
)

WORDS = ["the", "model", "was", "good", "bad", "very", "not", "and", "or", "it"]


def make(folder):
    torch.manual_seed(1)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    tokenizer = BertTokenizerFast(vocab=str(vocabulary))
    config = BertConfig(
        vocab_size=len(WORDS) + 5,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    model = BertForSequenceClassification(config).eval()
    texts = np.array(["the model was good", "it was very bad and not good"])
    return {
        "model": pipeline("text-classification", model=model, tokenizer=tokenizer),
        "sample": {"text": texts},
    }
