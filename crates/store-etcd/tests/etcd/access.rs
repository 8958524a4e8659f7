//! Passwords and certificates.

use std::fs;
use std::path::PathBuf;

use peloton_store::{KeyRange, Store, StoreError, Txn};
use peloton_store_etcd::{Credentials, EtcdStore, Options, Tls};
use peloton_testbed::etcd::{Etcd, EtcdOptions, EtcdTls, start};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::support::{eventually, next, put};

/// Switches authentication on, with a user that may do everything below one prefix.
fn enable_authentication(etcd: &Etcd) {
    // 'L3Rlc3Q=' is "/test", 'L3Rlc3U=' is "/tesu": the first key behind all that begin so.
    let steps = [
        ("user/add", json!({"name": "root", "password": "root"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("user/add", json!({"name": "peloton", "password": "right"})),
        ("role/add", json!({"name": "peloton"})),
        (
            "role/grant",
            json!({"name": "peloton", "perm":
                {"permType": "READWRITE", "key": "L3Rlc3Q=", "range_end": "L3Rlc3U="}}),
        ),
        ("user/grant", json!({"user": "peloton", "role": "peloton"})),
        ("enable", json!({})),
    ];
    etcd.post(0, "/v3/auth/role/add", &json!({"name": "root"})).unwrap();
    for (path, body) in steps {
        etcd.post(0, &format!("/v3/auth/{path}"), &body).unwrap();
    }
}

fn options(etcd: &Etcd, prefix: &str, password: Option<&str>) -> Options {
    let credentials = password
        .map(|password| Credentials { user: "peloton".to_owned(), password: password.to_owned() });
    Options { credentials, ..Options::new(etcd.endpoints(), prefix) }
}

async fn refused(options: Options) -> String {
    let error = EtcdStore::open(options).await.expect_err("it must be refused");
    assert!(matches!(error, StoreError::InvalidArgument { .. }), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_have_to_be_right() {
    let Some(mut etcd) = start(&EtcdOptions::members(1)) else { return };
    enable_authentication(&etcd);
    let text = refused(options(&etcd, "/test", None)).await;
    assert!(text.contains("asks for a user and a password"), "{text}");
    let text = refused(options(&etcd, "/test", Some("wrong"))).await;
    assert!(text.contains("\"peloton\"") && text.contains("invalid user ID or password"), "{text}");
    assert!(!text.contains("wrong"), "the password is not shown: {text}");
    let text = refused(options(&etcd, "/other", Some("right"))).await;
    assert!(text.contains("permission denied"), "{text}");

    let store = EtcdStore::open(options(&etcd, "/test", Some("right"))).await.unwrap();
    let lease = store.lease_grant(std::time::Duration::from_secs(60)).await.unwrap().id;
    let txn = Txn::new().when_absent("k").put_leased("k", "v", lease);
    let revision = store.commit(txn).await.unwrap().committed().unwrap();
    store.lease_keep_alive(lease).await.unwrap();
    let mut watch = store.watch(KeyRange::all(), revision);
    assert_eq!(next(&mut watch).await.unwrap().revision, revision);

    // A member that was started anew knows no tokens.
    etcd.kill(0).unwrap();
    etcd.start_member(0).unwrap();
    let after = eventually("the store authenticates anew", async || {
        store.commit(Txn::new().put("k", "after")).await.ok()?.committed()
    })
    .await;
    let mut seen = revision;
    while seen < after {
        seen = next(&mut watch).await.unwrap().revision;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_etcd_forgets_is_replaced() {
    let Some(etcd) = start(&EtcdOptions::members(1)) else { return };
    enable_authentication(&etcd);
    let store = EtcdStore::open(options(&etcd, "/test", Some("right"))).await.unwrap();
    let revision = put(&store, "k", "1").await;
    // Every change of users makes all tokens old, on connections that go on.
    let token = etcd.post(0, "/v3/auth/authenticate", &json!({"name": "root", "password": "root"}));
    let token = token.unwrap()["token"].as_str().unwrap().to_owned();
    etcd.post_as(0, "/v3/auth/user/add", &json!({"name": "more", "password": "m"}), &token)
        .unwrap();
    let mut watch = store.watch(KeyRange::all(), revision);
    assert_eq!(next(&mut watch).await.unwrap().revision, revision);
    assert_eq!(put(&store, "k", "2").await, revision.next());
}

/// Certificates in files of a directory.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    /// Two authorities, of which the second has signed nothing; a server's and a client's certificate.
    fn make() -> Self {
        let made = Self { directory: tempfile::tempdir().unwrap() };
        let authority = made.authority("ca");
        made.authority("other");
        made.leaf("server", &authority, ExtendedKeyUsagePurpose::ServerAuth);
        made.leaf("client", &authority, ExtendedKeyUsagePurpose::ClientAuth);
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        Issuer::new(params, key)
    }

    fn leaf(&self, name: &str, by: &Issuer<'static, KeyPair>, usage: ExtendedKeyUsagePurpose) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, by).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_have_to_be_right() {
    let made = Certificates::make();
    let tls = EtcdTls {
        cert_file: made.path("server.pem"),
        key_file: made.path("server.key"),
        client_ca_file: Some(made.path("ca.pem")),
    };
    let served = EtcdOptions { tls: Some(tls), ..EtcdOptions::members(1) };
    let Some(etcd) = start(&served) else { return };
    let with = |tls| Options { tls, ..Options::new(etcd.endpoints(), "/test") };
    let right = Tls {
        ca_file: Some(made.path("ca.pem")),
        cert_file: Some(made.path("client.pem")),
        key_file: Some(made.path("client.key")),
    };

    let store = EtcdStore::open(with(right.clone())).await.unwrap();
    let revision = put(&store, "k", "v").await;
    let mut watch = store.watch(KeyRange::all(), revision);
    assert_eq!(next(&mut watch).await.unwrap().revision, revision);

    let error = async |tls| EtcdStore::open(with(tls)).await.expect_err("refused").to_string();
    let other = Tls { ca_file: Some(made.path("other.pem")), ..right.clone() };
    let text = error(other).await;
    assert!(text.contains("certificate"), "the server's is not to be trusted: {text}");
    let text = error(Tls { cert_file: None, key_file: None, ..right.clone() }).await;
    assert!(text.contains("127.0.0.1"), "the server asks for ours: {text}");
    let text = error(Tls { cert_file: None, ..right.clone() }).await;
    assert!(text.contains("belong together"), "{text}");
    let text = error(Tls { ca_file: Some(made.path("none.pem")), ..right }).await;
    assert!(text.contains("none.pem"), "{text}");
    let plain = etcd.endpoints()[0].replace("https", "http");
    let error = EtcdStore::open(Options::new([plain], "/test")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}
