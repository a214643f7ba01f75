"""The contracts of other servers, each a thin way in to the same apis.

catalog     what is served: models, their named tensors, versions, readiness
tensors     parameters and answers of an api as named tensors
face        what a contract consists of: doors, routes, its own form of problems
registry    which contracts there are, and which of them are on
inference   the one call behind all of them, for those that are not HTTP requests
"""
