//! Requests that arrive and are done, and whose answers get lost: through a proxy that swallows them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peloton_store::{KeyRange, Store, StoreError, Txn};
use peloton_store_etcd::{EtcdStore, Options};
use peloton_testbed::etcd::{EtcdOptions, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{eventually, next, open, put};

/// Passes everything on, until it is told to swallow what comes back on the connections there are. New
/// connections are as good as new.
struct Proxy {
    address: String,
    mute: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Proxy {
    async fn before(endpoint: &str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mute = Arc::new(Mutex::new(Vec::new()));
        let connections = mute.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(&upstream).await else { continue };
                let muted = Arc::new(AtomicBool::new(false));
                connections.lock().unwrap().push(muted.clone());
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                tokio::spawn(answers(from_server, to_client, muted));
            }
        });
        Self { address, mute }
    }

    fn swallow_answers(&self) {
        for connection in &*self.mute.lock().unwrap() {
            connection.store(true, Ordering::SeqCst);
        }
    }
}

async fn answers(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    muted: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !muted.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_an_answer_is_in_doubt() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let direct = open(&etcd).await;
    let proxy = Proxy::before(&etcd.endpoints()[0]).await;
    let store = EtcdStore::open(Options::new([&proxy.address], "/test")).await.unwrap();
    let revision = put(&store, "k", "before").await;
    let mut watch = store.watch(KeyRange::all(), revision);
    assert_eq!(next(&mut watch).await.unwrap().revision, revision);

    proxy.swallow_answers();
    let result = store.commit(Txn::new().put("k", "after")).await;
    assert!(matches!(result, Err(StoreError::Unknown { .. })), "{result:?}");
    let kv = direct.get("k".into()).await.unwrap().kv.unwrap();
    assert_eq!(&kv.value[..], b"after", "it was done");
    assert_eq!(kv.version, 2, "and not repeated");
    assert_eq!(next(&mut watch).await.unwrap().revision, kv.mod_revision);
    put(&store, "k", "goes on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_without_an_answer_is_repeated() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let proxy = Proxy::before(&etcd.endpoints()[0]).await;
    let store = EtcdStore::open(Options::new([&proxy.address], "/test")).await.unwrap();
    let lease = store.lease_grant(Duration::from_secs(600)).await.unwrap().id;
    proxy.swallow_answers();
    // The second attempt finds the lease gone.
    assert_eq!(store.lease_revoke(lease).await, Ok(()));
    let again = store.lease_revoke(lease).await;
    assert_eq!(again, Err(StoreError::LeaseNotFound { id: lease }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_answer_twice_is_repeated() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    let proxy = Proxy::before(&etcd.endpoints()[0]).await;
    let store = EtcdStore::open(Options::new([&proxy.address], "/test")).await.unwrap();
    put(&store, "k", "v").await;
    let lease = store.lease_grant(Duration::from_secs(600)).await.unwrap();
    proxy.swallow_answers();
    assert!(store.get("k".into()).await.unwrap().kv.is_some());
    proxy.swallow_answers();
    assert_eq!(store.lease_keep_alive(lease.id).await, Ok(lease.ttl));
    eventually("health tells", async || {
        (store.health() == peloton_store::Health::Ok).then_some(())
    })
    .await;
}
