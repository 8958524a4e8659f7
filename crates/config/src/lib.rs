//! Layered configuration: files, environment, flags; every value knows where it came from.
