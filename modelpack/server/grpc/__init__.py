"""gRPC: the Open Inference Protocol, TensorFlow Serving's calls, health and reflection.

    port ──grpc.aio──► bytes ──Method.run──► messages ──► faces.inference ──► the service's own queue
                                                 └──► bytes, or a status

    listener        the port, taken before anything is loaded
    server          one process's gRPC server: start, drain, end
    calls           what a call asks for besides its answer; what it is told when it fails
    oip, streams    GRPCInferenceService          tfserving   PredictionService, ModelService
    health, reflection                            messages    the messages of ``protos``

Needs the extra ``grpc``.  Nothing here is imported unless ``grpc_port`` is set.
"""
