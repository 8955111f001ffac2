"""One image format a file; each loads when it is first met."""
