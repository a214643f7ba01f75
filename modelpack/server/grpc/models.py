"""What is said of a model over HTTP, as messages.

    metadata, configuration, statistics of the face oip ──► their messages

Keys that the messages do not have are left out; the words are those of ``faces.oip.describe``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import ParseDict

from modelpack.config.settings import ServerSettings
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.oip.describe import configuration, metadata
from modelpack.server.faces.oip.pages import PLATFORM
from modelpack.server.faces.statistics import statistics
from modelpack.server.grpc.messages import Message, message

_Metadata = message("inference.ModelMetadataResponse")
_Config = message("inference.ModelConfigResponse")
_Statistics = message("inference.ModelStatisticsResponse")


def metadata_of(served: Served, catalog: Catalog) -> Message:
    """Return what a model takes and gives, and which api it is."""
    found = _filled(_Metadata(), metadata(served, catalog.version, PLATFORM))
    found.properties["api"] = served.api.name
    return found


def config_of(served: Served, settings: ServerSettings) -> Message:
    """Return how a model is batched, in Triton's words."""
    return _filled(_Config(), {"config": configuration(served, settings, PLATFORM)})


async def statistics_of(catalog: Catalog, models: Iterable[Served]) -> Message:
    """Return what models have answered: all processes and versions together."""
    return _filled(_Statistics(), {"model_stats": await statistics(catalog, models)})


def _filled(empty: Message, facts: dict[str, Any]) -> Message:
    return ParseDict(facts, empty, ignore_unknown_fields=True)
