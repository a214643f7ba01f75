"""Deploys modelpack bundles to Azure Container Apps, Azure ML and AKS."""
