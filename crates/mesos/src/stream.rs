//! The streaming connection: SUBSCRIBE out, events in.
//!
//! One task per attempt, which only moves bytes into a channel. It ends when it is dropped, which
//! closes the socket.

use crate::http::{HttpError, Link, Requests, Task, error_text};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, LOCATION};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use peloton_mesos_wire::MasterAddress;
use peloton_mesos_wire::calls::STREAM_ID_HEADER;
use peloton_mesos_wire::session::ResponseHead;
use peloton_proto::mesos::v1::scheduler::Call;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many pieces of a stream may wait to be looked at: enough to keep the socket busy meanwhile,
/// and no more, so that a slow owner slows the master down.
pub(crate) const PIECES_CAPACITY: usize = 8;

/// A piece of what comes from a master.
#[derive(Debug)]
pub(crate) enum Piece {
    Head(ResponseHead),
    Body(Bytes),
    Closed(Option<String>),
}

/// One attempt to subscribe.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) epoch: u64,
    pub(crate) master: MasterAddress,
    pub(crate) call: Call,
    pub(crate) requests: Arc<Requests>,
    pub(crate) connect_timeout_ms: u64,
}

impl Attempt {
    /// Starts the attempt; its pieces come out of the channel with its epoch.
    pub(crate) fn start(self, pieces: mpsc::Sender<(u64, Piece)>) -> Task {
        Task::spawn(async move {
            let epoch = self.epoch;
            let error = self.run(&pieces).await.err().map(|error| error.to_string());
            // Nobody listens any more when the client is ending.
            let _ = pieces.send((epoch, Piece::Closed(error))).await;
        })
    }

    async fn run(self, pieces: &mpsc::Sender<(u64, Piece)>) -> Result<(), HttpError> {
        let mut link = Link::connect(&self.master, self.connect_timeout_ms).await?;
        let request = self.requests.request(&self.master, None, &self.call)?;
        let response = link.requests.send_request(request).await?;
        let (parts, mut body) = response.into_parts();
        let mut head = head_of(parts.status.as_u16(), &parts.headers);
        if head.status != 200 {
            head.error_body = error_text(body).await;
            let _ = pieces.send((self.epoch, Piece::Head(head))).await;
            return Ok(());
        }
        let _ = pieces.send((self.epoch, Piece::Head(head))).await;
        while let Some(bytes) = next_bytes(&mut body).await? {
            if pieces.send((self.epoch, Piece::Body(bytes))).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn head_of(status: u16, headers: &HeaderMap) -> ResponseHead {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    ResponseHead {
        status,
        content_type: text(CONTENT_TYPE.as_str()),
        stream_id: text(STREAM_ID_HEADER),
        location: text(LOCATION.as_str()),
        error_body: String::new(),
    }
}

/// The next bytes of a body; trailers are passed over.
async fn next_bytes(body: &mut Incoming) -> Result<Option<Bytes>, HttpError> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}
