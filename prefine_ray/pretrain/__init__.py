"""Behaviours and base policies with RLlib and controllers."""
