//! The command line.

use clap::Parser;
use peloton_config::Flag;
use std::path::PathBuf;

/// A master of Peloton: serves the API and runs shards.
///
/// Configuration comes from base.yaml and ${UBER_ENVIRONMENT:-development}.yaml in UBER_CONFIG_DIR
/// (default config/master), then from environment variables such as PELOTON__MASTER__PORT, then from
/// the flags below.
#[derive(Debug, Parser)]
#[command(version, name = "peloton-master")]
pub(crate) struct Args {
    /// Directory of the configuration files (default: UBER_CONFIG_DIR, or config/master).
    #[arg(long, value_name = "DIR")]
    pub(crate) config_dir: Option<PathBuf>,
    /// Print the effective configuration, with where each value came from, and exit.
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Port of the API (master.port).
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Mesos masters, comma-separated (mesos.masters).
    #[arg(long, value_name = "HOST:PORT,...")]
    mesos: Option<String>,
    /// Directory of the embedded store (store.path).
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// Any key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<Flag>,
}

impl Args {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let own = [
            ("master.port", &self.port, "--port"),
            ("mesos.masters", &self.mesos, "--mesos"),
            ("store.path", &self.store, "--store"),
        ];
        own.into_iter()
            .filter_map(|(key, value, flag)| Some(Flag::new(key, value.as_deref()?, flag)))
            .chain(self.set.iter().cloned())
            .collect()
    }
}
