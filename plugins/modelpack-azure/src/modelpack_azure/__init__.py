"""Deploys modelpack bundles to Azure Container Apps, Azure Machine Learning and AKS.

    target (the flow) ─► apps (Container Apps)  ml (online endpoints)     what a service can do: modes
                              │ app_body, ml_body: pure JSON, held against the services' models: strict
                              └─► arm: Azure Resource Manager, over Azure's own pipeline

The target is in ``target``; everything else is inside.
"""
