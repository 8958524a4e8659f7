//! The simulated cluster as schedulers and operators see it, on virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end with a panic")]

mod accepting;
mod agents;
mod fail_over;
mod operations;
mod operators;
mod random;
mod subscribing;
mod support;
mod tasks;
