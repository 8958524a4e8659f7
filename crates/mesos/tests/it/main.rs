//! The client against a real Mesos, and against peers that do what a real one cannot be made to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at what it did not expect"
)]

mod election;
mod ensemble;
mod peer;
mod real;
mod scripted;
mod support;
mod writer;
