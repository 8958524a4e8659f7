//! The Mesos v1 scheduler protocol without I/O: messages, RecordIO, session state.
//!
//! Everything that has to be decided about a connection to Mesos is decided here, from bytes,
//! status codes, the time and a random number that come in as arguments: which master to try next,
//! when, whether a session is still alive, what an answer means. The client crate moves the bytes.
//! So the protocol can be tested without a socket, and the simulator can run the same code.

pub mod address;
pub mod calls;
pub mod convert;
pub mod leader;
pub mod recordio;
pub mod session;
pub mod zookeeper;

pub use address::{AddressError, MasterAddress};
