"""Docker's classic builder, over the engine's own interface: it is there wherever an engine is.

    context as a tar stream ──► POST /build ──► events ──► Said

It knows no mounts: no cache, and no way to lend a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

from modelpack.archive.platforms import host_platform
from modelpack.errors import RefusedError
from modelpack.image.context import DOCKERFILE, stream_context
from modelpack.image.dockerfile import instructions_of
from modelpack.image.engines.docker import DockerImages, translated
from modelpack.image.engines.following import Said, follow, log_file, stages
from modelpack.image.engines.orders import ImageResult, Order
from modelpack.image.plan import ImagePlan
from modelpack.progress import Progress

_STEP = re.compile(r"Step (\d+)/(\d+) : ")


class ClassicBuilder(DockerImages):
    """Builds through the engine's interface."""

    name = "docker"
    takes_secrets = False

    def build(self, order: Order, progress: Progress) -> ImageResult:
        """Build the image; raises EngineError, RefusedError for another platform than this
        machine's, or what the store raises for a damaged bundle.
        """
        plan = order.plan
        if plan.platform != host_platform():
            raise RefusedError(
                f"Docker's classic builder makes no image for {plan.platform.name} here",
                hint="take --engine buildkit where the engine can run programs of it, or --engine "
                "none, which runs none",
            )
        with translated(f"build '{order.name}'"):
            self.ensure_bases(plan, progress)
            with log_file(plan) as (log, path):
                events = self.client.build(
                    # Any iterable of bytes is sent in chunks; the stubs know files alone.
                    fileobj=cast("IO[bytes]", stream_context(plan, order.store)),
                    custom_context=True,
                    dockerfile=DOCKERFILE,
                    tag=order.name,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    nocache=not order.use_cache,
                    labels=dict(order.labels),
                    buildargs=dict(order.build_args),
                    network_mode=order.network,
                    use_config_proxy=True,
                )
                follow(plan, read_events(plan, events), log, path, progress)
            return self.result(order.name)


def read_events(plan: ImagePlan, events: Iterable[dict[str, Any]]) -> Iterator[Said]:
    """Read the events of a build; it counts every instruction, through all stages."""
    titles = [title for stage in stages(instructions_of(plan)) for title in stage.titles]
    for event in events:
        for line in str(event.get("stream", "")).splitlines():
            if match := _STEP.match(line):
                number = int(match[1]) - 1
                # Labels of the caller are one more instruction, at the end.
                yield Said(line, title=titles[min(number, len(titles) - 1)])
            else:
                yield Said(line, words=line)
        if "error" in event:
            yield Said(str(event["error"]), error=str(event["error"]))
