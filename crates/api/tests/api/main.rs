//! The API through its port: real sockets, a real store in memory, both encodings.

mod changes;
mod encodings;
mod errors;
mod faults;
mod jobs;
mod support;
mod tasks;
