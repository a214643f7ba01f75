"""FastAPI by hand: what one writes in ten minutes, without batches.

python fastapi_service.py echo|tiny|mlp MODEL PORT
"""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel

WORKLOAD, MODEL, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
app = FastAPI()

if WORKLOAD != "echo":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


class Four(BaseModel):
    x: list[float]


class Rows(BaseModel):
    x: list[list[float]]


@app.get("/ready")
async def ready() -> dict:
    return {}


@app.post("/echo")
async def echo(body: Four) -> list[float]:
    return body.x


@app.post("/predict")
async def predict(body: Rows) -> dict:
    return {"y": session.run(None, {"x": np.array(body.x, np.float32)})[0].tolist()}


@app.post("/binary")
async def binary(request: Request) -> dict:
    x = np.frombuffer(await request.body(), np.float32).reshape(-1, 784)
    return {"y": session.run(None, {"x": x})[0].tolist()}


uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning")
