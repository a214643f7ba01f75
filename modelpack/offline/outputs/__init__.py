"""What is written: tables of answers as parts of a file, and the parts as the whole.

Answered ──columns──► Table ──Writer.add──► Writer.finish ──► the bytes of one part
parts ──assembled──► the bytes of the whole file

csv        a header in every part; what is no single value is JSON in its cell
jsonl      one object a row
parquet    columns of the types that the api's schema names; a row group a part
npy        one array, the rows that have an answer in order
"""

from modelpack.offline.outputs.base import Layout, Part, Table, Writer
from modelpack.offline.outputs.choosing import FORMATS, suffix_of, writer_for

__all__ = ["FORMATS", "Layout", "Part", "Table", "Writer", "suffix_of", "writer_for"]
