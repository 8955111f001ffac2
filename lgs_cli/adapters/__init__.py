"""The defenses for programs: images and folders in Python, modules and transforms for libraries."""
