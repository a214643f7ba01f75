"""Deploys bundles of modelpack to Kubernetes: plain, by KServe or by Knative."""
