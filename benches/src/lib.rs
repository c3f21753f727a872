//! Benchmarks; see `README.md` beside this package's manifest. The library holds nothing.
