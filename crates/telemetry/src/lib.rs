//! What a running program tells about itself: logs, metrics, health.
//!
//! Three small parts that know nothing of each other's users. Components own their metrics as
//! fields of what they measure and register them once in a [`Metrics`]; they report their health
//! through a [`HealthReporter`] that they own, so that a component that ends cannot go on looking
//! healthy. Nothing here does I/O except writing log lines and reading `/proc` for a scrape.

pub mod health;
mod logging;
pub mod metrics;
mod process;

pub use health::{Health, HealthReporter, HealthStatus};
pub use logging::{LogFormat, LogOptions, LogOutput, LoggingError, init_logging};
pub use metrics::{BuildInfo, LATENCY_BUCKETS_SECONDS, Metrics, Scope};
/// The library that the metrics are made of; its derive macros need it as a direct dependency.
pub use prometheus_client;
