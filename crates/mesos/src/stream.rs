//! The streaming connection: SUBSCRIBE out, events in.
//!
//! One task per attempt, which only moves bytes into a channel. It ends when it is dropped, which
//! closes the connection.

use crate::http::Task;
use crate::transport::{Piece, Pieces, Transport};
use peloton_mesos_wire::MasterAddress;
use peloton_proto::mesos::v1::scheduler::Call;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many pieces of a stream may wait to be looked at: enough to keep the socket busy meanwhile,
/// and no more, so that a slow owner slows the master down.
pub(crate) const PIECES_CAPACITY: usize = 8;

/// One attempt to subscribe.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) epoch: u64,
    pub(crate) master: MasterAddress,
    pub(crate) call: Call,
    pub(crate) transport: Arc<dyn Transport>,
}

impl Attempt {
    /// Starts the attempt; its pieces come out of the channel with its epoch.
    pub(crate) fn start(self, pieces: mpsc::Sender<(u64, Piece)>) -> Task {
        let transport = self.transport.clone();
        Task::spawn(transport.wrap(Box::pin(async move {
            let end = Pieces::new(self.epoch, pieces.clone());
            let pieces = Pieces::new(self.epoch, pieces);
            let result = self.transport.subscribe(self.master, self.call, pieces).await;
            end.closed(result.err().map(|error| error.to_string())).await;
        })))
    }
}
