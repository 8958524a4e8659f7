//! A server around the simulated Mesos, that stands in for a real cluster.
//!
//! [`Server::start`] runs a master and agents in this process, on free ports of the loopback. The
//! master speaks the v1 scheduler API and what operators use; the agents serve their files and run
//! tasks as real processes in sandboxes. All behaviour of Mesos is in the pure model,
//! `peloton-mesos-sim`: here are only sockets, the clock and processes. With fake agents there are no
//! processes at all, and one machine plays 50,000 of them.
//!
//! Programs that start a server call [`supervise_if_asked`] first in `main`, so that they can be the
//! guard that ends the tasks' processes when the program itself is killed.

mod driver;
mod error;
mod guard;
mod http;
mod options;
mod server;
mod stream;
mod task;

pub use error::{Error, Result};
pub use guard::supervise_if_asked;
pub use options::{AgentOptions, Fake, Options};
pub use peloton_mesos_sim as model;
pub use server::{Agent, Server};
