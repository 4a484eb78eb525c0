"""The image service: what orlop does, as its doors call it. Knows ports only."""
