"""Tables to requests, and request files to records; everything as of the request.

`build.build_requests` writes a request file, `read.read_requests` reads one, and
`plain.request_from_dict` takes a request from plain dicts. The format: docs/requests.md.
"""
