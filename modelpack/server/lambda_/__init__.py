"""AWS Lambda: events instead of connections.

    Runtime API ──next──► event ──request_of──► ASGI request ─► the application, in this process
                ◄─response─── result ◄──result_of── answer ◄──┘

events     what API Gateway, function URLs, load balancers and direct calls send and want back
exchange   one request to the application, without a socket
runtime    the Runtime API, spoken over plain HTTP
function   the service, ready to answer events
loop       fetches events until the platform ends the process
handler    the same for ``awslambdaric``, which fetches the events itself

Sources: AWS Lambda developer guide, "Lambda runtime API", "Building a custom runtime", "Response
streaming", "Lambda quotas" (6 MB for an answer), "Lambda Managed Instances" (several invocations at
once); API Gateway developer guide, "Lambda proxy integrations" (payload formats 1.0 and 2.0).
"""
