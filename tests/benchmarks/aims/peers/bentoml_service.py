"""BentoML, one worker, adaptive batches of at most 32.

PEER_MODEL=MODEL bentoml serve bentoml_service:Echo|Model --port PORT
"""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Echo:
    @bentoml.api
    def echo(self, x: list[float]) -> list[float]:
        return x


@bentoml.service(workers=1)
class Model:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": x.astype(np.float32)})[0]
