"""Compares what orlop makes of archives with what GNU tar, bsdtar and umoci make of them."""
