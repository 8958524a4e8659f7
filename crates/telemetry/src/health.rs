//! Health: what each component says of itself, and what follows for the whole.
//!
//! A component owns its [`HealthReporter`]. Until it reports, it is down ("starting"); when the
//! last reporter of a component is dropped, it is down ("stopped"), so a task that panicked
//! cannot leave a healthy entry behind. Changes are logged here, once, for all components.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

/// How a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthStatus {
    /// It does all of its work.
    Healthy,
    /// It does some of its work; why not all.
    Degraded(String),
    /// It does not work; why.
    Down(String),
}

impl HealthStatus {
    fn level(&self) -> Level {
        match self {
            Self::Healthy => Level::Healthy,
            Self::Degraded(_) => Level::Degraded,
            Self::Down(_) => Level::Down,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Healthy => "",
            Self::Degraded(message) | Self::Down(message) => message,
        }
    }
}

/// A status without its message; later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All of the work is done.
    Healthy,
    /// Some of the work is done.
    Degraded,
    /// No work is done.
    Down,
}

impl Level {
    /// The level as in `/health`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// The health of all components of a process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health {
    components: Arc<Mutex<Components>>,
}

type Components = BTreeMap<String, Component>;

#[derive(Debug)]
struct Component {
    status: HealthStatus,
    since: SystemTime,
    reporter: Weak<Reporter>,
}

/// Through which a component tells how it is. Clones report for the same component.
#[derive(Debug, Clone)]
pub struct HealthReporter {
    inner: Arc<Reporter>,
}

#[derive(Debug)]
struct Reporter {
    name: String,
    components: Arc<Mutex<Components>>,
}

impl Health {
    /// No components yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The reporter of a component: a new component is down until it reports, and so is one whose
    /// reporters were all dropped.
    #[must_use]
    pub fn component(&self, name: &str) -> HealthReporter {
        let mut components = lock(&self.components);
        if let Some(inner) = components.get(name).and_then(|known| known.reporter.upgrade()) {
            return HealthReporter { inner };
        }
        let components_again = Arc::clone(&self.components);
        let inner = Arc::new(Reporter { name: name.to_owned(), components: components_again });
        let component = Component {
            status: HealthStatus::Down("starting".into()),
            since: SystemTime::now(),
            reporter: Arc::downgrade(&inner),
        };
        components.insert(name.to_owned(), component);
        HealthReporter { inner }
    }

    /// How everything is right now.
    #[must_use]
    pub fn snapshot(&self) -> HealthSnapshot {
        let components = lock(&self.components);
        let entries = components.iter().map(|(name, component)| {
            let since = component.since.duration_since(UNIX_EPOCH).unwrap_or_default();
            let entry = ComponentHealth {
                status: component.status.level(),
                message: component.status.message().to_owned(),
                since_unix_secs: since.as_secs(),
            };
            (name.clone(), entry)
        });
        let components: BTreeMap<_, _> = entries.collect();
        // Nothing has been set up yet: not the moment to send requests here.
        let worst = components.values().map(|component| component.status).max();
        HealthSnapshot { status: worst.unwrap_or(Level::Down), components }
    }

    /// The health as metrics: `peloton_health{component="store",status="healthy"} 1`.
    #[must_use]
    pub fn collector(&self) -> HealthCollector {
        HealthCollector { health: self.clone() }
    }
}

impl HealthReporter {
    /// Tells how the component is. Cheap where nothing has changed; changes are logged.
    pub fn set(&self, status: HealthStatus) {
        self.inner.set(status);
    }
}

impl Reporter {
    fn set(&self, status: HealthStatus) {
        let mut components = lock(&self.components);
        let Some(component) = components.get_mut(&self.name) else { return };
        if component.status == status {
            return;
        }
        let before = component.status.level();
        if before != status.level() {
            component.since = SystemTime::now();
        }
        component.status = status.clone();
        drop(components);
        log_change(&self.name, before, &status);
    }
}

/// A component without reporters has ended, however it ended.
impl Drop for Reporter {
    fn drop(&mut self) {
        let mut components = lock(&self.components);
        let Some(component) = components.get_mut(&self.name) else { return };
        // Somebody else may have begun to report for a component of this name by now.
        if !std::ptr::eq(component.reporter.as_ptr(), self) {
            return;
        }
        component.status = HealthStatus::Down("stopped".into());
        component.since = SystemTime::now();
        drop(components);
        // Components end when the program does, too, and that is no error.
        let component = self.name.as_str();
        if std::thread::panicking() {
            tracing::error!(component, "health: stopped by a panic");
        } else {
            tracing::info!(component, "health: stopped");
        }
    }
}

fn log_change(component: &str, before: Level, status: &HealthStatus) {
    let (before, now, message) = (before.as_str(), status.level().as_str(), status.message());
    match status.level() {
        level if level.as_str() == before => {
            tracing::debug!(component, status = now, message, "health: other reason");
        }
        Level::Healthy => tracing::info!(component, before, "health: healthy"),
        Level::Degraded => tracing::warn!(component, before, message, "health: degraded"),
        Level::Down => tracing::error!(component, before, message, "health: down"),
    }
}

/// The components are whole after a panic elsewhere: every change of one is an assignment.
fn lock(components: &Mutex<Components>) -> MutexGuard<'_, Components> {
    components.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The health of everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthSnapshot {
    /// The worst of all components.
    pub status: Level,
    /// The components by name.
    pub components: BTreeMap<String, ComponentHealth>,
}

/// The health of a component at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentHealth {
    /// How it is.
    pub status: Level,
    /// Why, where it is not healthy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when, in seconds since 1970.
    pub since_unix_secs: u64,
}

impl HealthSnapshot {
    /// The body of `/health`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The HTTP status of `/health`: 200 as long as some work is done, otherwise 503.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        if self.status == Level::Down { 503 } else { 200 }
    }
}

/// Gives the health as metrics; see [`Health::collector`].
#[derive(Debug)]
pub struct HealthCollector {
    health: Health,
}

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.health.snapshot();
        let help = "Health of the components; the status that is so has the value 1.";
        let mut family =
            encoder.encode_descriptor("peloton_health", help, None, MetricType::Gauge)?;
        for (name, component) in &snapshot.components {
            for level in [Level::Healthy, Level::Degraded, Level::Down] {
                let labels = [("component", name.as_str()), ("status", level.as_str())];
                let value = ConstGauge::new(i64::from(component.status == level));
                value.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_component_decides() {
        use HealthStatus::{Degraded, Down, Healthy};
        let health = Health::new();
        assert_eq!(health.snapshot().status, Level::Down, "nothing is set up");
        let (store, mesos) = (health.component("store"), health.component("mesos"));
        let cases = [
            (Healthy, Healthy, "healthy", 200),
            (Healthy, Degraded("reconnecting".into()), "degraded", 200),
            (Down("disk full".into()), Degraded("reconnecting".into()), "down", 503),
            (Healthy, Down("gone".into()), "down", 503),
            (Degraded("slow".into()), Healthy, "degraded", 200),
        ];
        for (store_is, mesos_is, overall, http) in cases {
            store.set(store_is);
            mesos.set(mesos_is);
            let snapshot = health.snapshot();
            assert_eq!((snapshot.status.as_str(), snapshot.http_status()), (overall, http));
        }
    }

    #[test]
    fn the_json_names_components_and_reasons() {
        let health = Health::new();
        let store = health.component("store");
        let _mesos = health.component("mesos");
        store.set(HealthStatus::Healthy);
        let mut json = health.snapshot().to_json();
        for component in ["store", "mesos"] {
            let since = json["components"][component]["sinceUnixSecs"].take();
            assert!(since.as_u64().unwrap() > 0);
        }
        let want = serde_json::json!({
            "status": "down",
            "components": {
                "mesos": {"status": "down", "message": "starting", "sinceUnixSecs": null},
                "store": {"status": "healthy", "sinceUnixSecs": null},
            },
        });
        assert_eq!(json, want);
    }

    #[test]
    fn a_component_whose_reporters_are_gone_is_down() {
        let health = Health::new();
        let first = health.component("store");
        let second = first.clone();
        first.set(HealthStatus::Healthy);
        drop(first);
        assert_eq!(health.snapshot().status, Level::Healthy);
        let third = health.component("store");
        drop(second);
        assert_eq!(health.snapshot().status, Level::Healthy, "the same component");
        drop(third);
        let snapshot = health.snapshot();
        assert_eq!(snapshot.components["store"].message, "stopped");
        let again = health.component("store");
        assert_eq!(health.snapshot().components["store"].message, "starting");
        again.set(HealthStatus::Healthy);
        assert_eq!(health.snapshot().status, Level::Healthy);
    }

    #[test]
    fn a_panicking_task_does_not_stay_healthy() {
        let health = Health::new();
        let reporter = health.component("store");
        let task = std::thread::spawn(move || {
            reporter.set(HealthStatus::Healthy);
            panic!("expected by the test");
        });
        assert!(task.join().is_err());
        assert_eq!(health.snapshot().components["store"].message, "stopped");
    }

    #[test]
    fn reports_from_many_threads_end_in_one_of_them() {
        let health = Health::new();
        let reporters: Vec<_> = (0..4).map(|_| health.component("store")).collect();
        std::thread::scope(|scope| {
            for (thread, reporter) in reporters.iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..1000 {
                        reporter.set(HealthStatus::Degraded(format!("{thread} {round}")));
                    }
                });
            }
        });
        assert!(health.snapshot().components["store"].message.ends_with(" 999"));
    }
}
