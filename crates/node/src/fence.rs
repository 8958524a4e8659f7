//! The way to Mesos, open only while the lease is certain to hold.
//!
//! A shard stops its client when its lease is not certain any more. But the client has tasks of its own,
//! and in a process that stood still and goes on, they may run before the shard does: a client whose
//! reconnection was due would take the framework from its new owner. So it is asked for at each step here
//! whether the lease holds. What remains is the moment between that and the system's own buffers; there
//! Mesos refuses calls of a session that was taken over, and one SUBSCRIBE too many costs the new owner
//! its session once.

use crate::lease::Held;
use peloton_mesos::{Answer, BoxFuture, Calls, MasterAddress, Pieces, Transport, TransportError};
use peloton_proto::mesos::v1::scheduler::Call;
use peloton_store::LeaseId;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::watch;

/// Tells whether a lease is certain to hold.
#[derive(Clone)]
pub(crate) struct Permit {
    pub(crate) lease: watch::Receiver<Option<Held>>,
    pub(crate) id: LeaseId,
    /// Whether it is planted that the end of the lease is overlooked.
    pub(crate) ignored: bool,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Permit {
    fn holds(&self) -> bool {
        let holds = |held: Held| held.id == self.id && held.is_certain();
        self.ignored || self.lease.borrow().is_some_and(holds)
    }

    /// Does something for as long as the lease is certain to hold.
    fn while_it_holds<T: 'static>(
        &self,
        mut what: BoxFuture<Result<T, TransportError>>,
    ) -> BoxFuture<Result<T, TransportError>> {
        let permit = self.clone();
        Box::pin(poll_fn(move |cx| {
            if permit.holds() { what.as_mut().poll(cx) } else { Poll::Ready(Err(refused())) }
        }))
    }
}

fn refused() -> TransportError {
    TransportError::new("the master's lease is not certain to hold")
}

/// A transport that carries nothing else.
#[derive(Debug)]
pub(crate) struct Fenced {
    pub(crate) inner: Arc<dyn Transport>,
    pub(crate) permit: Permit,
}

impl Transport for Fenced {
    fn subscribe(
        &self,
        master: MasterAddress,
        call: Call,
        pieces: Pieces,
    ) -> BoxFuture<Result<(), TransportError>> {
        self.permit.while_it_holds(self.inner.subscribe(master, call, pieces))
    }

    fn calls(&self, master: MasterAddress, stream_id: String) -> Box<dyn Calls> {
        let inner = self.inner.calls(master, stream_id);
        Box::new(FencedCalls { inner, permit: self.permit.clone() })
    }

    fn wrap(&self, task: BoxFuture<()>) -> BoxFuture<()> {
        self.inner.wrap(task)
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn unix_ms(&self) -> u64 {
        self.inner.unix_ms()
    }
}

#[derive(Debug)]
struct FencedCalls {
    inner: Box<dyn Calls>,
    permit: Permit,
}

impl Calls for FencedCalls {
    fn call(&mut self, call: &Call) -> BoxFuture<Result<Answer, TransportError>> {
        if !self.permit.holds() {
            return Box::pin(async { Err(refused()) });
        }
        self.permit.while_it_holds(self.inner.call(call))
    }
}
