//! The Mesos client: subscription, calls, re-connection, leader detection.
//!
//! [`MesosClient::spawn`] starts one client for one framework and gives back a [`Handle`] to make
//! calls with and a channel of [`MesosEvent`]s. What to do is decided by the state machine of
//! `peloton-mesos-wire`; here are the sockets, the clock and the queues around it.
//!
//! *Sessions and epochs.* Every successful subscription is a session with an epoch, a number that
//! grows. Calls are made for an epoch and are never sent in another one: an ACCEPT of an offer
//! from before a reconnection would be wrong. Calls go out in the order they were submitted, one
//! at a time; only acknowledgements, between which no order matters, are under way side by side.
//!
//! *What is known about a call.* A call that Mesos refuses comes back as
//! [`MesosEvent::CallRejected`]. Of a call that is neither refused nor followed by its effect when
//! [`MesosEvent::Disconnected`] comes, nothing is known: it has to be assumed lost, and whoever
//! made it has to reconcile after the next [`MesosEvent::Subscribed`].
//!
//! *Which master.* [`Masters`] is a list, or a [`ZooKeeper`], which all clients of a process share. With a
//! list, masters are tried in turn and redirects are followed, and a change of leader shows as a stream that
//! breaks. ZooKeeper tells of a change, and then a client leaves its master at once. While ZooKeeper is away, or
//! knows of no leader, a stream that works is kept.
//!
//! *Who may reconnect.* The client reconnects for ever by itself, with two exceptions that end it:
//! another scheduler took the framework over, or Mesos gave the framework's id up (and refused
//! credentials, which only a new configuration can mend). It cannot know whether its owner still
//! has the right to own the framework; an owner that lost it must call [`Handle::stop`].
//!
//! *Stopping* closes the stream and nothing else: the tasks go on, and Mesos waits for the next
//! subscription as long as the fail-over time-out says. Only [`Handle::teardown`] ends them.

mod driver;
mod event;
mod handle;
mod http;
mod masters;
mod options;
mod probe;
mod sender;
mod status;
mod stream;
mod transport;
mod zookeeper;

pub use event::{CallRejected, MesosEvent, Subscribed};
pub use handle::{CallError, Handle, NotSent, SubmitError};
pub use masters::{Found, Masters};
pub use options::{Credential, Options, OptionsError, Timeouts};
pub use peloton_mesos_wire::MasterAddress;
pub use peloton_mesos_wire::calls::{self, CallKind, Capability, FrameworkSettings};
pub use peloton_mesos_wire::session::{Failure, Reason, ResponseHead};
pub use peloton_mesos_wire::zookeeper::{DetectorOptions, Leading, Url, UrlError};
pub use probe::{NotReached, Probe, Reached};
pub use status::{ClientState, ClientStatus, Connection};
pub use transport::{Answer, BoxFuture, Calls, Pieces, Transport, TransportError};
pub use zookeeper::{Detected, ZooKeeper};

use driver::Driver;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many events may wait for the owner. The master sends in bursts (all offers of a cycle, all
/// answers of a reconciliation); when the owner is further behind than this, the client stops
/// reading and TCP makes the master wait, which Mesos does without harm.
pub const EVENT_QUEUE_CAPACITY: usize = 1_024;

/// How many calls may wait to be sent: some tens of milliseconds of them, so that the sender never
/// runs dry. What is beyond waits with the owner, who keeps it in less memory: an ACCEPT that launches
/// twenty tasks is some 100 KiB.
pub const CALL_QUEUE_CAPACITY: usize = 256;

/// The transport of a client with these options: HTTP over TCP. To be put inside another one.
#[must_use]
pub fn http_transport(options: &Options) -> Arc<dyn Transport> {
    Arc::new(http::Http::new(options))
}

/// One client of one framework.
#[derive(Debug)]
pub struct MesosClient;

impl MesosClient {
    /// Starts the client, which subscribes at once: with `framework_id`, or as a new framework
    /// (its id then comes with [`MesosEvent::Subscribed`]). To be called inside a tokio runtime.
    /// The client ends when it fails for good, when [`Handle::stop`] is called, and when the
    /// receiver or all handles are dropped.
    ///
    /// # Errors
    /// An option is invalid; the error names it.
    pub fn spawn(
        options: Options,
        framework_id: Option<String>,
    ) -> Result<(Handle, mpsc::Receiver<MesosEvent>), OptionsError> {
        Self::spawn_with(http_transport(&options), options, framework_id)
    }

    /// As [`MesosClient::spawn`], over another transport than HTTP.
    ///
    /// # Errors
    /// An option is invalid; the error names it.
    pub fn spawn_with(
        transport: Arc<dyn Transport>,
        options: Options,
        framework_id: Option<String>,
    ) -> Result<(Handle, mpsc::Receiver<MesosEvent>), OptionsError> {
        let masters = options.validate(framework_id.as_deref())?;
        let (events, receiver) = mpsc::channel(EVENT_QUEUE_CAPACITY);
        let detected = options.masters.zookeeper().map(ZooKeeper::watch);
        let (handle, control) = Handle::new(detected);
        let wrapping = transport.clone();
        let driver = Driver::new(transport, options, masters, framework_id, events, control);
        tokio::spawn(wrapping.wrap(Box::pin(driver.run())));
        Ok((handle, receiver))
    }
}
