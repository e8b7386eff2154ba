"""Train one network: what shapes the run, its recipe, its steps, and the loop over them."""
