//! The store that a configuration names, and whether it is ours to use.

use crate::StartError;
use crate::gate::Gate;
use crate::schema;
use peloton_config::{MasterConfig, StoreConfig, StoreType};
use peloton_model::ClusterRecord;
use peloton_node::{ClusterError, open_cluster};
use peloton_store::{Store, StoreError};
use peloton_store_embedded::EmbeddedStore;
use peloton_store_etcd::{Credentials, EtcdStore, Options, Tls};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The pauses between attempts to open a store that is away: the first, and the longest. An attempt
/// itself takes up to five seconds, in which all endpoints are tried again and again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Opens the store that a configuration names. The embedded one blocks on the disk; etcd gets one try
/// of a few seconds.
///
/// # Errors
/// [`StartError::Embedded`], [`StartError::Etcd`], [`StartError::Setting`].
pub async fn open_store(config: &StoreConfig) -> Result<Arc<dyn Store>, StartError> {
    match config.kind {
        StoreType::Embedded => {
            let path = config.path.clone();
            let options = peloton_store_embedded::Options::new(path.clone());
            let store = EmbeddedStore::open(options)
                .map_err(|source| StartError::Embedded { path, source })?;
            Ok(Arc::new(store))
        }
        StoreType::Etcd => Ok(open_etcd(config).await?),
    }
}

async fn open_etcd(config: &StoreConfig) -> Result<Arc<EtcdStore>, StartError> {
    let store = EtcdStore::open(etcd(config)).await;
    Ok(Arc::new(store.map_err(|error| refused(config, error))?))
}

/// The options of etcd's store.
pub(crate) fn etcd(config: &StoreConfig) -> Options {
    let mut options = Options::new(config.endpoints.clone(), config.prefix.clone());
    options.max_txn_ops = config.max_txn_ops;
    options.tls = Tls {
        ca_file: config.ca_file.clone(),
        cert_file: config.cert_file.clone(),
        key_file: config.key_file.clone(),
    };
    let user = config.user.clone().zip(config.password.as_ref());
    options.credentials =
        user.map(|(user, password)| Credentials { user, password: password.reveal().to_owned() });
    options
}

/// etcd's refusal, with the key of the configuration that is to be looked at.
fn refused(config: &StoreConfig, error: StoreError) -> StartError {
    let key = match &error {
        StoreError::InvalidArgument { field: "prefix", .. } => "store.prefix",
        StoreError::InvalidArgument { field: "max_txn_ops", .. } => "store.maxTxnOps",
        StoreError::InvalidArgument { field: "tls", .. } => "store.certFile",
        _ => return StartError::Etcd { endpoints: config.endpoints.clone(), source: error },
    };
    StartError::Setting { key, source: error }
}

/// Makes sure that a store holds the cluster that the configuration means, in a form that we know;
/// creates the cluster where there is none.
pub(crate) async fn join(
    config: &MasterConfig,
    store: &dyn Store,
    shards: u16,
) -> Result<ClusterRecord, StartError> {
    schema::ensure(store).await?;
    Ok(open_cluster(store, &config.cluster.name, shards).await?)
}

/// Opens etcd and joins its cluster, for as long as it takes: only what an operator has to mend ends it.
pub(crate) async fn join_when_there(
    config: &MasterConfig,
    shards: u16,
    gate: &Gate,
) -> Result<(Arc<EtcdStore>, ClusterRecord), StartError> {
    let mut pause = PAUSES.0;
    loop {
        let error = match try_to_join(config, shards).await {
            Ok(joined) => return Ok(joined),
            Err(error) => error,
        };
        let Some(why) = passes(&error) else { return Err(error) };
        let pause_ms = u64::try_from(spread(pause).as_millis()).unwrap_or(u64::MAX);
        let endpoints = config.store.endpoints.join(",");
        tracing::warn!(endpoints, why, pause_ms, "the store is not there; it is tried again");
        gate.wait_for(format!("etcd at store.endpoints {endpoints}: {why}"));
        sleep(Duration::from_millis(pause_ms)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn try_to_join(
    config: &MasterConfig,
    shards: u16,
) -> Result<(Arc<EtcdStore>, ClusterRecord), StartError> {
    let store = open_etcd(&config.store).await?;
    match join(config, &*store, shards).await {
        Ok(cluster) => Ok((store, cluster)),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

/// Why a store cannot be used at the moment, when waiting may help.
fn passes(error: &StartError) -> Option<String> {
    let source = match error {
        StartError::Etcd { source, .. }
        | StartError::Cluster(ClusterError::Store(source))
        | StartError::Schema(schema::SchemaError::Store(source)) => source,
        _ => return None,
    };
    let passes = source.is_retryable() || source.is_unknown();
    passes.then(|| match source {
        StoreError::Unavailable { reason } | StoreError::Unknown { reason } => reason.clone(),
        other => other.to_string(),
    })
}

/// Between half of a pause and all of it, so that masters which started together do not ask together.
fn spread(pause: Duration) -> Duration {
    // The hasher's seed is random, and random enough for this.
    let dice = RandomState::new().build_hasher().finish() % 1024;
    pause / 2 + pause.mul_f64(dice as f64 / 2048.0)
}
