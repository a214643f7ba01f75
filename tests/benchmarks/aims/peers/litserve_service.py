"""LitServe, one worker, batches of at most 32 that wait for nobody longer than 1 ms.

python litserve_service.py echo|tiny|mlp MODEL PORT
"""

import sys

import litserve
import numpy as np
import onnxruntime

BATCH = 32


class Echo(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["x"]

    def predict(self, x):
        return x

    def encode_response(self, output):
        return output


class Model(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            sys.argv[2], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request):
        return np.array(request["x"][0], np.float32)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.session.run(None, {"x": x})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"y": [output.tolist()]}


if __name__ == "__main__":
    api = Echo() if sys.argv[1] == "echo" else Model(max_batch_size=BATCH, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=30)
    server.run(
        host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False, log_level="warning"
    )
