"""Metrics: what the service did, counted for Prometheus.

``observer`` counts, ``server`` shows the counts over HTTP on the loopback
interface. Nobody else knows about Prometheus, and nothing here can stop a pull.
"""
