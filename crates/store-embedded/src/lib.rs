//! The embedded store: one machine, one directory, durable.
