"""How the synthetic hand is made: a surface from primitives, its triangles, and what makes it move."""
