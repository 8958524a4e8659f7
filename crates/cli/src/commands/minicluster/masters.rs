//! The masters of a minicluster: as many as are asked for, over one embedded store.
//!
//! Each has a runtime of its own, as it has in a process of its own: its threads carry its port in
//! their names, which tells in the common log whose an event is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peloton_config::Flag;
use peloton_master::{Master, MasterConfig, StartError, Store};
use tokio::runtime::{Builder, Runtime};

use super::signals::Stop;
use super::{LOOK_EVERY, failed, interrupted, place, with_causes};
use crate::exit::Failure;

/// For all masters to be healthy; a loaded machine takes ten times what a free one does, which is
/// less than two seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// On somebody else's Mesos: a role of its own, and tasks that do not outlive us for long.
const BORROWED: [(&str, &str); 2] =
    [("mesos.framework.role", "peloton-minicluster"), ("mesos.framework.failoverTimeout", "60")];

/// What still runs of a master's runtime when it has stopped holds nothing that anybody waits for.
const SHUT_DOWN_WITHIN: Duration = Duration::from_secs(1);

/// The masters, and what they share.
pub(super) struct Masters {
    running: Vec<(Runtime, Master)>,
    store: Arc<dyn Store>,
}

impl Masters {
    /// Starts a master on each of these ports. `borrowed` is whether the Mesos is somebody else's.
    pub(super) fn start(
        runtime: &Runtime,
        ports: &[u16],
        mesos: &str,
        borrowed: bool,
        store: &Path,
    ) -> Result<Self, Failure> {
        let config = config(mesos, borrowed, store)?;
        let opening = peloton_master::open_store(&config.store);
        let store = runtime.block_on(opening).map_err(refused)?;
        let mut masters = Self { running: Vec::new(), store };
        for port in ports {
            let mut config = config.clone();
            config.master.port = *port;
            if let Err(failure) = masters.add(runtime, config) {
                let _first_failure_counts = masters.stop(runtime);
                return Err(failure);
            }
        }
        Ok(masters)
    }

    fn add(&mut self, runtime: &Runtime, config: MasterConfig) -> Result<(), Failure> {
        let own = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(format!("master-{}", config.master.port))
            .enable_all()
            .build()
            .map_err(failed)?;
        let started = own.spawn(Master::start(config, Some(Arc::clone(&self.store))));
        let master = runtime.block_on(started).map_err(failed)?.map_err(refused)?;
        self.running.push((own, master));
        Ok(())
    }

    /// Where they serve.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.running.iter().map(|(_, master)| master.address().to_string()).collect()
    }

    /// Waits until all of them are healthy.
    pub(super) async fn wait_until_ready(&self, stop: &mut Stop) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_WITHIN;
        while let Some(problem) = self.problem() {
            if stop.is_asked() {
                return Err(interrupted());
            }
            if Instant::now() >= deadline {
                let waited = READY_WITHIN.as_secs();
                return Err(failed(format!("not ready after {waited} s: {problem}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// What is wrong with any of them.
    fn problem(&self) -> Option<String> {
        self.running.iter().find_map(|(_, master)| {
            let health = master.health();
            let (part, found) =
                health.components.iter().find(|(_, part)| part.status.as_str() != "healthy")?;
            Some(format!(
                "{}: {part} is {}: {}",
                master.address(),
                found.status.as_str(),
                found.message
            ))
        })
    }

    /// Stops all of them, and closes their store.
    pub(super) fn stop(self, runtime: &Runtime) -> Result<(), Failure> {
        // All at once: each may have calls to finish.
        let stopping = self.running.into_iter().map(|(own, master)| {
            let stopping = own.spawn(master.stop());
            (own, stopping)
        });
        let stopping: Vec<_> = stopping.collect();
        let mut result = Ok(());
        for (own, stopping) in stopping {
            let stopped = runtime.block_on(stopping).map_err(failed);
            result = result.and(stopped.and_then(|stopped| stopped.map_err(failed)));
            own.shutdown_timeout(SHUT_DOWN_WITHIN);
        }
        runtime.block_on(self.store.close());
        result
    }
}

/// The configuration of each of them, apart from its port.
fn config(mesos: &str, borrowed: bool, store: &Path) -> Result<MasterConfig, Failure> {
    let store = store.display().to_string();
    let user = std::env::var("USER").ok().filter(|name| !name.is_empty());
    let mut keys = vec![
        ("cluster.name", "minicluster"),
        ("master.listen", "127.0.0.1"),
        // Whoever waits for an answer waits for a minicluster that ends.
        ("master.shutdownTimeoutSecs", "2"),
        ("mesos.masters", mesos),
        ("store.path", &store),
    ];
    keys.extend(user.as_deref().map(|user| ("mesos.framework.user", user)));
    keys.extend(BORROWED.iter().filter(|_| borrowed));
    let flags = keys.into_iter().map(|(key, value)| Flag::new(key, value, "minicluster"));
    Ok(peloton_config::load_flags(flags.collect()).map_err(failed)?.config)
}

/// Why a master does not start, and what to do about it.
fn refused(error: StartError) -> Failure {
    match &error {
        StartError::Api(peloton_master::ServeError::Listen { port, source, .. }) => {
            place::taken(*port, source)
        }
        _ => failed(with_causes(&error)),
    }
}
