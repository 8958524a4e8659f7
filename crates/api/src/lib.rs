//! The API on one port: YARPC JSON, gRPC, health and metrics, over one set of handlers.
//!
//! Three layers, each ignorant of the next: [`domain`] reads and writes the store in types of the
//! model; [`convert`] turns messages of the wire into the model and back; `rpc` has one handler a
//! procedure, and two encodings call it: `yarpc` over HTTP/1.1 and `grpc` over HTTP/2. An answer to
//! a change means that it is durable, so every later read on every master sees it.

pub mod cluster_view;
pub mod convert;
pub mod domain;
mod error;
mod grpc;
mod http;
mod metrics;
mod rpc;
mod server;
#[cfg(test)]
mod testing;
mod yarpc;

pub use error::ApiError;
pub use peloton_store::Store;
pub use rpc::Api;
pub use server::{ApiServer, Options, ServeError};
