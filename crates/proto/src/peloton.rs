//! The API's messages, clients and servers, one module a package.

/// Who changed something, and when.
pub mod changelog {
    include!(concat!(env!("OUT_DIR"), "/peloton.changelog.rs"));
}
