"""What the engine from a slide to maps costs, and how much its answer depends on where its patches lie."""
