"""The Open Inference Protocol (KServe V2) over HTTP, with Triton's extensions that mean something here.

face        paths, and what answers on each
infer       the door: a head and a body become arguments, an answer becomes a body
cut         takes the numbers out of a body, so that the rest of it is known by its bytes
plan        what such a rest asks for, worked out once
fields      single fields of such a rest
columns     requests that are tables
data        numbers, texts and raw bytes as arrays
write       answers as tensors, in JSON and in bytes
pages       health, metadata, configuration, statistics, repository
generate    texts in, texts out, also piece by piece
"""
