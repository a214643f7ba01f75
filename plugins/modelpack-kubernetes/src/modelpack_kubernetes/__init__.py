"""Deploys modelpack bundles to Kubernetes, KServe and Knative."""
