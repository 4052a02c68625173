"""A fast endpoint for the benchmarks, and the contenders that read it."""
