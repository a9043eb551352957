"""Tables to request files; everything as of the request.

`build.build_requests` writes a request file. The format: docs/reference/requests.md.
"""
