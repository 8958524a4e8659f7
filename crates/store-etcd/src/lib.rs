//! The store of a cluster: an etcd cluster behind the key-value contract.
//!
//! The contract's semantics are etcd's, so most of this crate is about what lies between: members that
//! fail, and what that leaves in doubt. One task, the keeper, owns the one connection: it looks for a
//! member that answers and knows a leader, keeps looking at it, and leaves it for the next when it does
//! not answer. Requests wait for a connection, run on it, and are repeated on the next within their time
//! where that is safe; a write that may have happened is answered `Unknown` at once, because only its
//! caller knows how to find out.
//!
//! A transaction is one transaction of etcd's, whose other branch reads every compared key: that tells a
//! conflict's cause in the same round trip. Each watch is one stream of etcd's, polled by its reader. Each
//! keep-alive is a stream of one request, so that none waits behind another.
//!
//! The messages and clients are generated from our own subset of etcd's interface (`proto/etcd`).

mod backoff;
mod connection;
mod convert;
mod core;
mod failure;
mod keeper;
mod key_space;
mod options;
mod proto;
mod schema;
mod status;
mod store;
mod watch;

pub use options::{Credentials, DEFAULT_MAX_TXN_OPS, Options, Tls};
pub use schema::SCHEMA_VERSION;
pub use status::{ClusterStatus, MemberStatus};
pub use store::EtcdStore;
