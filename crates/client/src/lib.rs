//! A client of the API that tries several masters in turn.
//!
//! All masters are equal, so a call may go to any of them. The one that answered last is asked
//! first; when it can not serve, the next one is. A master that is there and answers nothing is
//! noticed by a ping, so it costs a few seconds and not the whole time. A read is sent again
//! whenever there is no answer, and so is a change: all attempts at it carry the same id, by which
//! the masters make it once. Only when the time is up and it is still not known what became of a
//! change is the caller told so ([`Error::OutcomeUnknown`]).
//!
//! Every service is one table in `services`: a method's path, its messages and its safety. A new
//! service is a new table.

mod call;
mod error;
mod master;
mod options;
mod services;

pub use call::Client;
pub use error::{Attempt, Error};
pub use master::MasterAddress;
pub use options::{DEFAULT_PORT, Options, default_caller};
pub use services::{
    ClusterManager, JobManager, MethodInfo, Safety, TaskManager, UpgradeManager, VolumeManager,
    all_methods,
};
