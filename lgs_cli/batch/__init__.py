"""Many images: which are to be done, by which workers, and where the results go."""
