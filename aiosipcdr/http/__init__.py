"""HTTP over aiohttp: the only package that imports its client."""
