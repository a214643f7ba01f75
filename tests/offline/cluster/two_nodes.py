"""Runs a job on a Ray cluster of two nodes, and takes one of them away in the middle.

    python two_nodes.py TAG ROWS OUTPUT      in an environment with modelpack and Ray

Prints a line of JSON: nodes that answered, rows, bad rows, and whether a node was lost.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

import ray
from ray.cluster_utils import Cluster

from modelpack.offline.cluster import RayEngine, shipped
from modelpack.offline.job import Job
from modelpack.offline.launch import Wishes
from modelpack.offline.run import run_batch
from modelpack.progress import SILENT
from modelpack.tag import Tag


def main(tag: str, rows: str, output: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    job = Job(api="predict", input=rows, output=output, keep=("id",), part_rows=500, max_bad=5)
    opened, shipment = shipped(Tag.parse(tag), job.api, {}, Wishes(flags={}), SILENT)
    facts = {"nodes": 0, "is_lost": False}

    class Losing(RayEngine):
        """Loses its second node after some answers."""

        answers = 0

        def receive(self):  # type: ignore[no-untyped-def]
            facts["nodes"] = max(facts["nodes"], len(self._workers))
            self.answers += 1
            if self.answers == 3:
                cluster.remove_node(second, allow_graceful=False)
            reply = super().receive()
            facts["is_lost"] |= len(self._workers) < facts["nodes"]
            return reply

    summary = run_batch(job, lambda: Losing(shipment), source=opened.identity)
    print(json.dumps({**facts, "rows": summary.rows, "bad": summary.bad}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
