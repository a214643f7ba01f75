"""Names the species of an iris from four measurements."""

import modelpack
from modelpack import Tensor

Flowers = Tensor["float64", "batch", 4]
Probabilities = Tensor["float64", "batch", 3]


@modelpack.service
class @{class}:
    """Names the species of an iris.

    A flower is sepal length, sepal width, petal length and petal width, in centimetres.
    """

    clf = modelpack.Model("@{name}-clf:latest")

    @modelpack.api(batch=True)
    def predict(self, x: Flowers) -> list[str]:
        """Return the species of each flower."""
        return self.clf.predict(x)

    @modelpack.api(batch=True)
    def probabilities(self, x: Flowers) -> Probabilities:
        """Return how likely setosa, versicolor and virginica are, for each flower."""
        return self.clf.predict_proba(x)
