//! Faults against a whole cluster, and what its clients may see of them.
//!
//! Here is what needs no cluster: a linearizability checker, and the model of a job that histories of the
//! API are checked against. The cluster itself, its network, the faults and the clients are the test
//! `tests/chaos`.

pub mod jobs;
pub mod linear;
