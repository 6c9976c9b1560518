"""Any gymnasium environment with a cost, as a batch; and whether it can be trusted."""
