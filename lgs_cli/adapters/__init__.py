"""The defenses inside other libraries: torch, torchvision, albumentations, ART."""
