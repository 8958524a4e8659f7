//! Metrics: one registry a process, made of what components measure about themselves.
//!
//! A component creates its metrics through a [`Scope`] (or registers its own through
//! [`Metrics::with_registry`], if it wants to depend on `prometheus-client` only), keeps them as
//! fields and counts on them without locks. A metric whose name is wrong or taken is not
//! registered, because one of them would make the whole page unreadable for Prometheus; it is
//! logged and listed in [`Metrics::refused`], which a test of the whole program checks.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::process::ProcessCollector;

/// What the names of all our metrics start with.
const PREFIX: &str = "peloton";

/// Buckets for latencies, in seconds: from a store commit on a fast disk to a placement that
/// waits for Mesos. About three a decade tell orders of magnitude apart and keep series few.
pub const LATENCY_BUCKETS_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// A gauge of a floating-point value.
pub type GaugeF64 = Gauge<f64, AtomicU64>;

/// Labels whose names are known when the program is written: `[("state", "RUNNING".into())]`.
pub type Labels<const N: usize> = [(&'static str, String); N];

/// Counters that differ in labels.
pub type CounterFamily<L> = Family<L, Counter>;

/// Gauges that differ in labels.
pub type GaugeFamily<L> = Family<L, Gauge>;

/// Histograms that differ in labels.
pub type HistogramFamily<L> = Family<L, Histogram, Buckets>;

/// The upper bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(pub &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// What was built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// The program: `peloton-master`.
    pub program: String,
    /// Its version: `0.1.0`.
    pub version: String,
    /// The revision of the source, where known.
    pub revision: String,
}

/// The metrics could not be written out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the metrics could not be encoded: {0}")]
pub struct RenderError(#[from] std::fmt::Error);

/// All metrics of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
    names: BTreeSet<String>,
    refused: Vec<String>,
}

impl Metrics {
    /// The content type of what [`Metrics::render`] returns.
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// A registry with the standard metrics of a process (start time, memory, CPU, open files)
    /// and `peloton_build_info`.
    #[must_use]
    pub fn new(build: &BuildInfo) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let labels: Vec<(&'static str, String)> = vec![
            ("program", build.program.clone()),
            ("version", build.version.clone()),
            ("revision", build.revision.clone()),
        ];
        registry.register(format!("{PREFIX}_build"), "What was built", Info::new(labels));
        let names = BTreeSet::from([format!("{PREFIX}_build")]);
        Self { inner: Arc::new(Mutex::new(Inner { registry, names, refused: Vec::new() })) }
    }

    /// Where one component creates its metrics: their names start with `peloton_<component>_`.
    #[must_use]
    pub fn scope(&self, component: &str) -> Scope {
        Scope { metrics: self.clone(), prefix: format!("{PREFIX}_{component}") }
    }

    /// Hands the component's own part of the registry to a closure; the names registered in it
    /// get `peloton_<component>_` put before them. They must differ from those of the scope.
    pub fn with_registry<R>(
        &self,
        component: &str,
        register: impl FnOnce(&mut Registry) -> R,
    ) -> R {
        let mut inner = self.lock();
        register(inner.registry.sub_registry_with_prefix(format!("{PREFIX}_{component}")))
    }

    /// Adds values that are looked up when they are asked for.
    pub fn register_collector(&self, collector: impl Collector) {
        self.lock().registry.register_collector(Box::new(collector));
    }

    /// The metrics that were not registered, and why; empty in a correct program.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.lock().refused.clone()
    }

    /// All metrics as OpenMetrics text, of type [`Metrics::CONTENT_TYPE`].
    ///
    /// # Errors
    ///
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<String, RenderError> {
        let mut page = String::new();
        text::encode(&mut page, &self.lock().registry)?;
        Ok(page)
    }

    /// The registry is whole after a panic elsewhere: all changes to it are single insertions.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one component creates its metrics. Clones share it.
#[derive(Debug, Clone)]
pub struct Scope {
    metrics: Metrics,
    prefix: String,
}

impl Scope {
    /// A counter; `_total` is added to its name. The help is a phrase without a full stop.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// A gauge of whole numbers.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// A gauge of floating-point numbers.
    #[must_use]
    pub fn gauge_f64(&self, name: &str, help: &str) -> GaugeF64 {
        self.register(name, help, GaugeF64::default())
    }

    /// A histogram with these upper bounds. End the name in its unit: `commit_seconds`.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, buckets: &'static [f64]) -> Histogram {
        self.register(name, help, Buckets(buckets).new_metric())
    }

    /// Counters that differ in labels: [`Labels`], or a type that derives `EncodeLabelSet`.
    #[must_use]
    pub fn counter_family<L: LabelSet>(&self, name: &str, help: &str) -> CounterFamily<L> {
        self.register(name, help, CounterFamily::default())
    }

    /// Gauges that differ in labels.
    #[must_use]
    pub fn gauge_family<L: LabelSet>(&self, name: &str, help: &str) -> GaugeFamily<L> {
        self.register(name, help, GaugeFamily::default())
    }

    /// Histograms that differ in labels.
    #[must_use]
    pub fn histogram_family<L: LabelSet>(
        &self,
        name: &str,
        help: &str,
        buckets: &'static [f64],
    ) -> HistogramFamily<L> {
        self.register(name, help, Family::new_with_constructor(Buckets(buckets)))
    }

    /// Registers any metric and returns it, so that it can become a field.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let name = format!("{}_{name}", self.prefix);
        // The registry ends the text with a full stop of its own.
        let help = help.strip_suffix('.').unwrap_or(help);
        let mut inner = self.metrics.lock();
        let refusal = if !is_metric_name(&name) {
            Some("allowed: letters, digits and _, not starting with a digit")
        } else if !inner.names.insert(name.clone()) {
            Some("the name is taken")
        } else {
            None
        };
        match refusal {
            None => inner.registry.register(name, help, metric.clone()),
            Some(why) => {
                tracing::error!(metric = name, why, "metric not registered");
                inner.refused.push(format!("{name}: {why}"));
            }
        }
        metric
    }
}

/// What can be the labels of a family.
pub trait LabelSet: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<T: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static> LabelSet for T {}

fn is_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
