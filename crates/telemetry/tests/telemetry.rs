//! Metrics as Prometheus reads them, and logging as a process sets it up.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics fails")]

use std::collections::{BTreeMap, BTreeSet};

use peloton_telemetry::metrics::Labels;
use peloton_telemetry::{
    BuildInfo, Health, HealthStatus, LATENCY_BUCKETS_SECONDS, LogOptions, LoggingError, Metrics,
    init_logging,
};
use prometheus_client::metrics::counter::Counter;

fn metrics() -> Metrics {
    let build =
        BuildInfo { program: "test".into(), version: "1.2.3".into(), revision: "ab\"c\\d".into() };
    Metrics::new(&build)
}

/// The samples by name with labels, after a check of the form of every line.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut types = BTreeSet::new();
    assert!(page.ends_with("# EOF\n"));
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(types.insert(name.to_owned()), "{name} is there twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let value = value.parse().expect("a number");
            assert!(samples.insert(name.to_owned(), value).is_none(), "{name} is there twice");
        }
    }
    samples
}

#[test]
fn components_count_on_their_own_metrics() {
    let metrics = metrics();
    let scope = metrics.scope("store");
    let commits = scope.counter("commits", "Commits");
    let depth = scope.gauge("queue_depth", "Commits that wait");
    let load = scope.gauge_f64("load", "Share of time spent");
    let latency =
        scope.histogram("commit_seconds", "Commit latency in seconds", LATENCY_BUCKETS_SECONDS);
    let calls = scope.counter_family::<Labels<2>>("calls", "Calls");
    let open = scope.gauge_family::<Labels<1>>("open", "Open streams");
    let sizes = scope.histogram_family::<Labels<1>>("bytes", "Sizes in bytes", &[10.0, 100.0]);
    commits.inc();
    commits.inc_by(2);
    depth.set(-4);
    load.set(0.25);
    latency.observe(0.003);
    calls.get_or_create(&[("method", "Get".into()), ("code", "ok".into())]).inc();
    open.get_or_create(&[("shard", "3".into())]).inc();
    sizes.get_or_create(&[("kind", "put".into())]).observe(50.0);

    let samples = samples(&metrics.render().unwrap());
    for (name, value) in [
        ("peloton_store_commits_total", 3.0),
        ("peloton_store_queue_depth", -4.0),
        ("peloton_store_load", 0.25),
        ("peloton_store_commit_seconds_bucket{le=\"0.0025\"}", 0.0),
        ("peloton_store_commit_seconds_bucket{le=\"0.005\"}", 1.0),
        ("peloton_store_commit_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("peloton_store_commit_seconds_count", 1.0),
        ("peloton_store_calls_total{method=\"Get\",code=\"ok\"}", 1.0),
        ("peloton_store_open{shard=\"3\"}", 1.0),
        ("peloton_store_bytes_bucket{le=\"100.0\",kind=\"put\"}", 1.0),
        ("peloton_build_info{program=\"test\",version=\"1.2.3\",revision=\"ab\\\"c\\\\d\"}", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
    }
}

#[test]
fn a_component_may_register_its_own() {
    let metrics = metrics();
    let counter: Counter = Counter::default();
    metrics.with_registry("mesos", |registry| {
        registry.register("events", "Events", counter.clone());
    });
    counter.inc();
    assert_eq!(samples(&metrics.render().unwrap())["peloton_mesos_events_total"], 1.0);
}

#[test]
fn metrics_that_would_spoil_the_page_are_refused() {
    let metrics = metrics();
    let scope = metrics.scope("store");
    scope.counter("commits", "Commits").inc();
    let second = metrics.scope("store").counter("commits", "Commits again");
    second.inc_by(5);
    let _ = scope.gauge("queue depth", "A space");
    assert_eq!(samples(&metrics.render().unwrap())["peloton_store_commits_total"], 1.0);
    assert_eq!(
        metrics.refused(),
        [
            "peloton_store_commits: the name is taken",
            "peloton_store_queue depth: allowed: letters, digits and _, not starting with a digit",
        ]
    );
}

/// The registry adds one, whether or not there is one; a collector adds none.
#[test]
fn help_texts_end_in_one_full_stop() {
    let metrics = metrics();
    metrics.register_collector(Health::new().collector());
    let scope = metrics.scope("store");
    scope.counter("commits", "Commits").inc();
    scope.gauge("queue_depth", "What waits.").set(1);
    let page = metrics.render().unwrap();
    let helps: Vec<_> = page.lines().filter(|line| line.starts_with("# HELP ")).collect();
    assert!(helps.len() > 2, "{page}");
    for help in helps {
        assert!(help.ends_with('.') && !help.ends_with(".."), "{help}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_measured() {
    let metrics = metrics();
    let before = samples(&metrics.render().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start = before["process_start_time_seconds"];
    assert!(start > 1e9 && start <= now.as_secs_f64() + 1.0, "{start}");
    assert!(before["process_resident_memory_bytes"] > 100_000.0);
    assert!(before["process_cpu_seconds_total"] >= 0.0);
    assert!(before["process_threads"] >= 1.0);
    assert!(before["process_max_fds"] >= before["process_open_fds"]);
    let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
    let after = samples(&metrics.render().unwrap());
    // Other tests of this process open and close a few, too.
    assert!(after["process_open_fds"] >= before["process_open_fds"] + 50.0);
    drop(files);
}

#[test]
fn health_is_a_metric_too() {
    let (metrics, health) = (metrics(), Health::new());
    metrics.register_collector(health.collector());
    let reporter = health.component("store");
    reporter.set(HealthStatus::Degraded("slow".into()));
    let samples = samples(&metrics.render().unwrap());
    for (status, value) in [("healthy", 0.0), ("degraded", 1.0), ("down", 0.0)] {
        let name = format!("peloton_health{{component=\"store\",status=\"{status}\"}}");
        assert_eq!(samples.get(&name), Some(&value), "{name}");
    }
}

#[test]
fn an_empty_health_is_a_readable_page() {
    let (metrics, health) = (metrics(), Health::new());
    metrics.register_collector(health.collector());
    samples(&metrics.render().unwrap());
}

#[test]
fn logging_is_set_up_once() {
    let options = LogOptions { directives: "off".into(), ..Default::default() };
    init_logging(&options).unwrap();
    let again = init_logging(&options);
    assert!(matches!(again, Err(LoggingError::AlreadySet)), "{again:?}");
}
