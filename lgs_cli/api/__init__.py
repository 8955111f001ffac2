"""What ``import lgs_cli`` offers: one image in, the same kind of image out; and whole folders."""
