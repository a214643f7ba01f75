"""Makes bundles of what is there already, so that it gets an image as any other bundle does.

    model.onnx, folder of an MLflow model … ──bundle_around──┐
                                                             ├──► Entry ──plan_image──► ImagePlan
    executable that speaks HTTP ──bundle_of_program──────────┘        (``planned`` for a program)

Nothing that is wrapped is run here.  A wrapped model is served by modelpack; a wrapped program serves
itself, with process 1 and the health check of modelpack around it.
"""

from modelpack.image.wrap.models import bundle_around
from modelpack.image.wrap.planned import plan_for_program
from modelpack.image.wrap.program import bundle_of_program

__all__ = ["bundle_around", "bundle_of_program", "plan_for_program"]
