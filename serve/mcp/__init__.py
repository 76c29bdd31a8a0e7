"""The platform's tools for coding assistants, over MCP: one definition, for the HTTP door and for `devskyy mcp`.

`tools.py` has the tools and knows neither door; `server.py` speaks MCP for them. A door brings a `Platform`.
"""
