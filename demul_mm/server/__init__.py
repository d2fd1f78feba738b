"""A library for others than its command: the page, REST and MCP."""
