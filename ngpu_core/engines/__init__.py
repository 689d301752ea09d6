"""How a step is computed: one seam, several engines, each held to the readable networks."""
