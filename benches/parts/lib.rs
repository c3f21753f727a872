//! Benchmarks of the engine's parts; see `README.md` one folder up. The library holds what several
//! of them measure by.

#![allow(clippy::disallowed_methods, reason = "a bench")]

pub mod cpu;
