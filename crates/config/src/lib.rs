//! Layered configuration of `peloton-master`: files, environment variables, flags.
//!
//! Layers, each over the ones before it: the built-in defaults, `base.yaml`,
//! `<environment>.yaml`, environment variables (`PELOTON__MASTER__PORT=5290`), flags. There is
//! one table of keys ([`keys::KEYS`]); the parser, the ranges, the suggestions for misspelt keys
//! and the reference page are all made from it, so they cannot disagree. Maps merge key by key,
//! lists and scalars replace. Because the leaves of the tree are exactly the table's keys, the
//! merged tree is kept flat: one setting a key, with the place its value came from.
//!
//! All problems of all layers are reported together: an operator who mends a configuration
//! should need one look, not one restart a mistake.

mod effective;
mod error;
mod format;
pub mod keys;
mod layers;
mod master;
mod reference;
mod secret;
mod sources;
mod suggest;
mod value;
mod yaml;

pub use effective::{Effective, Setting};
pub use error::{ConfigError, Origin, Problem, ProblemKind};
pub use format::{HostPort, InvalidHostPort};
pub use layers::{Loaded, load, load_flags};
pub use master::{
    AgentsConfig, ClusterConfig, FrameworkConfig, LogFormat, LoggingConfig, MasterConfig,
    MasterSection, MesosConfig, StoreConfig, StoreType,
};
pub use reference::reference_markdown;
pub use secret::Secret;
pub use sources::{Flag, FlagSyntaxError, Sources};
pub use value::Value;
