//! Logs and metrics: set-up and exposition.
