//! The generated messages and clients of etcd's interface.

#![allow(missing_docs, reason = "etcd's documentation is the place to look up etcd's fields")]
#![allow(clippy::all, reason = "generated")]
#![allow(unreachable_pub, reason = "generated")]

/// Keys, values and events.
pub(crate) mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

/// Requests and services.
pub(crate) mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

pub(crate) use etcdserverpb as rpc;
