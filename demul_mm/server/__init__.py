"""Serving a library: a page for browsers, REST and MCP."""
