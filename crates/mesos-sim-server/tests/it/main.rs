//! The server through its interfaces: the real client of Peloton, plain HTTP, and the program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, not only tests themselves"
)]

mod http;
mod outages;
mod program;
mod support;
mod tasks;
