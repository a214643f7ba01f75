"""A text classifier of spaCy's, trained for a moment."""

import numpy as np
import spacy
from spacy.training import Example

TEXTS = ["what a good day", "a bad bad day", "good food", "bad food"]


def make(folder):
    spacy.util.fix_random_seed(1)
    nlp = spacy.blank("en")
    categories = nlp.add_pipe("textcat")
    for name in ("good", "bad"):
        categories.add_label(name)
    said = [{"good": float("good" in t), "bad": float("bad" in t)} for t in TEXTS]
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": cats})
        for text, cats in zip(TEXTS, said, strict=True)
    ]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(5):
        nlp.update(examples, sgd=optimizer)
    return {"model": nlp, "sample": {"text": np.array(TEXTS)}}
