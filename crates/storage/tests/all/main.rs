//! The engine through its public doors, without DataFusion: against a model, through power cuts and
//! `kill -9`, over damaged bytes, failing calls and full disks, and by what its counters say.

#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "tests")]
#![allow(unreachable_pub, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the engine")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers throughout")]

mod bank;
mod bulk;
mod corrupt;
mod counters;
mod crowd;
mod full;
mod io;
mod kill;
mod model;
mod open;
mod power;
mod support;
mod told;
mod transactions;
