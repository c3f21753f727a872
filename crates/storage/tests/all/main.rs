//! The engine through its public doors, without DataFusion: against a model, through power cuts,
//! through `kill -9`.

#![allow(unreachable_pub, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the engine")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers throughout")]

mod kill;
mod model;
mod power;
mod support;
