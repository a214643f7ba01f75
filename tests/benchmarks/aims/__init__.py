"""The aims of the server as one table: what is measured, how, and beside whom.

    bench_aims.py ──► rows of the table, one module for each kind of measurement
        throughput   processor time a request: echo, tiny model, MLP in JSON and binary, runner process
        heavy        a model of many milliseconds, and the health checks beside it
        single       one connection, against nginx with a static body
        starting     from the command to the first answer, memory at rest, memory after many requests
        checks       what metrics, ids, deadlines and limits cost
        overload     four times the load that fits, and clients that hang up
        changing     hot swaps and a stop under load
    which stand on
        machine      processors, process trees and what they use
        serving      servers under test, ours and nginx;  peers: those of others
        load         wrk, and the open loop of ``modelpack bench``
        models       the models, and what they cost without a server (``floor``)

Server and load have a processor each.  Servers that are compared run side by side and are loaded in
turns, A B A B, so that what else happens on the machine meets them all; while one is loaded the others
are stopped.
"""
