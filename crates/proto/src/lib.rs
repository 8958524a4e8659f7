//! The protobuf messages and services of the API, generated, and their JSON.
//!
//! The `.proto` files in `proto/` are the one definition of every wire format: of the API
//! ([`peloton`], served as gRPC and as YARPC JSON from the same messages) and of what is spoken
//! with Mesos ([`mesos`], a subset with Mesos's own numbers). This crate has no logic beyond that:
//! what a field may hold is checked where it is turned into the model.

pub mod descriptors;
pub mod json;
pub mod mesos;
pub mod peloton;

pub use descriptors::FILE_DESCRIPTOR_SET;
