//! A client of the API that tries several masters in turn.
//!
//! All masters are equal, so a call may go to any of them. The one that answered last is asked first; when it can not
//! serve, the next one is. What may be sent a second time is decided by each call's [`Safety`]: a read always may, a
//! change only while it is certain that nobody has acted on it. Where that is not certain the caller is told so
//! ([`Error::OutcomeUnknown`]) and nothing is repeated behind their back.
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
pub use services::{ClusterManager, JobManager, MethodInfo, Safety, TaskManager, all_methods};
