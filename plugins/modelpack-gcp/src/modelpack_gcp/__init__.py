"""Deploys modelpack bundles to Cloud Run, Vertex AI and GKE."""
