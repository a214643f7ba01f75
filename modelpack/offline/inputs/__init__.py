"""What is read: rows from a table, lines, an array or files, never more than a block of them at once.

    FILE.csv .tsv .jsonl .npy .parquet, a folder of files, the same under s3://
        └──open_reader──► Reader.take(rows, most bytes) ──► Block, with the place where it ends

    ``records`` csv, tsv                      ``lines``   jsonl, ndjson; plain or with .gz
    ``arrays``  npy
    ``tables``  parquet
    ``files``   a folder or a prefix

What always holds: a reader that is opened at the end of a block goes on with the row behind it.
"""

from modelpack.offline.inputs.base import Asked, Reader
from modelpack.offline.inputs.opening import FORMATS, Input, find_input, open_reader

__all__ = ["FORMATS", "Asked", "Input", "Reader", "find_input", "open_reader"]
