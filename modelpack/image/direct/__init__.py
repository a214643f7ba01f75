"""The direct builder: an image out of layers that are made or found here, with no container engine."""
