"""Client of the OCI distribution specification: resolves references, fetches documents and blobs.

The way of a request, outermost first: ``remote`` (what to ask, what an answer means) ·
``auth`` (answers challenges) · ``exchange`` (retries and redirects) · ``transport``
(connections, TLS, one request and its body). Decisions are in the pure modules
``challenge``, ``hosts``, ``retry``, ``reach``, ``policy`` and ``refusal``.

Never stores anything, and never decides which blobs to fetch.
"""
