"""Says what a text is about, without any model: its keywords, and a summary as a stream."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from typing import Annotated

import modelpack

Count = Annotated[int, modelpack.Range(1, 100)]


@dataclass
class Keyword:
    word: str
    count: int


@modelpack.service
class Words:
    """Says what a text is about."""

    @modelpack.api
    def keywords(self, text: str, top: Count = 10) -> list[Keyword]:
        """Return the words that stand most often in the text, the most frequent first."""
        return [Keyword(word, count) for word, count in Counter(words(text)).most_common(top)]

    @modelpack.api
    def summary(self, text: str, top: Count = 2) -> Iterator[str]:
        """Stream the sentences that hold most of the keywords, in the order of the text."""
        counts = Counter(words(text))
        sentences = [one for one in re.split(r"(?<=[.!?])\s+", text.strip()) if one]
        best = nlargest(top, sentences, key=lambda one: sum(counts[word] for word in words(one)))
        for sentence in sentences:
            if sentence in best:
                yield sentence


def words(text: str) -> list[str]:
    """Return the words of four letters or more, in lower case."""
    return re.findall(r"[^\W\d_]{4,}", text.lower())
