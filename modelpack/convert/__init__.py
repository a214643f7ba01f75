"""Turns a saved model into ONNX, and proves on samples that it answers the same.

    saved model ──exporters──► ONNX ──check──► models.save(NAME-onnx) + a note of the conversion
         └── samples (given, or random within its signature) ──┘

samples     reads or makes what both are asked      exporters   one function for each framework
conversion  the whole way, one call

The original stays as it is.  What carries code is loaded only when that is allowed.
"""

from __future__ import annotations

from modelpack.convert.conversion import CONVERSION_TYPE, Converted, convert, read_conversion

__all__ = ["CONVERSION_TYPE", "Converted", "convert", "read_conversion"]
