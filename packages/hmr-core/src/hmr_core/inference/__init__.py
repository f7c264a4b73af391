"""From images to points in camera space, and from joints to a mesh."""
