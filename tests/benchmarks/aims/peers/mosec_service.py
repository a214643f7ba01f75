"""mosec, one worker, batches of at most 32 that wait for nobody longer than 1 ms.

PEER_WORKLOAD=echo|tiny|mlp|mlp-binary PEER_MODEL=MODEL python mosec_service.py --port PORT
"""

import os

import numpy as np
import onnxruntime
from mosec import Server, Worker


class Echo(Worker):
    def forward(self, data):
        return data["x"]


class Model(Worker):
    def __init__(self):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def forward(self, data):
        x = np.array([one["x"][0] for one in data], np.float32)
        return [{"y": [row.tolist()]} for row in self.session.run(None, {"x": x})[0]]


class BinaryModel(Model):
    def deserialize(self, data):
        return np.frombuffer(data, np.float32)

    def forward(self, data):
        return [{"y": [row.tolist()]} for row in self.session.run(None, {"x": np.stack(data)})[0]]


if __name__ == "__main__":
    server = Server()
    workload = os.environ["PEER_WORKLOAD"]
    if workload == "echo":
        server.append_worker(Echo, num=1)
    else:
        worker = BinaryModel if workload == "mlp-binary" else Model
        server.append_worker(worker, num=1, max_batch_size=32, max_wait_time=1)
    server.run()
