#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = [
#   "numpy>=2",  # a comment
#   "requests[socks] ; python_version < '3.13'",
# ]
# [tool.uv]
# exclude-newer = "2024-01-01T00:00:00Z"
# ///
print(1)
