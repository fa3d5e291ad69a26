"""Where arrays live: the mesh, the rules, and the way onto it."""
