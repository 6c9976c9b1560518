"""Configuration, the grid of cells, and the job of a fit."""
