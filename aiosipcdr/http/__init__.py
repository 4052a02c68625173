"""HTTP over aiohttp: the only package that imports aiohttp's client."""
