//! Nodes over stores that fail, and several nodes that share the shards of one store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a failure is to be loud")]

mod faults;
mod sharing;
mod world;
