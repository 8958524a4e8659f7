//! The command line as a person types it: the built program against a master in this process. What it writes is held in
//! `tests/golden`; `UPDATE_GOLDEN=1` rewrites that.
//!
//! The master here is a stand-in with fixed jobs, so that tables can be compared to the letter.
//! That the program and the real master agree is for the system tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails"
)]

mod agent;
mod data;
mod files;
mod logs;
mod master;
mod output;
mod transcript;
mod upgrading;
mod watching;
