"""The detector that ``localize`` ships: its network in torch, and how it is trained."""
