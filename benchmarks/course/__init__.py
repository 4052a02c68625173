"""What the benchmarks run on: an endpoint that is never what is measured, and the contenders that read it."""
