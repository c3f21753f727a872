//! Benchmarks of the engine's parts; see `README.md` one folder up. The library holds nothing.
