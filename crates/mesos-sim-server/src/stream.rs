//! A scheduler's stream of events: encoding, and the body that carries it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use peloton_mesos_sim::ConnectionId;
use peloton_proto::json::mesos_view;
use peloton_proto::mesos::v1::scheduler::Event;
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A scheduler that leaves so much unread is cut off: it will not catch up. The offers of 50,000
/// agents are 200 MB.
const MAX_QUEUED_BYTES: usize = 1 << 30;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

impl Format {
    /// The media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }
}

/// The driver's end of a connection. Events gather until they are flushed, so that what happens at
/// once goes in one piece.
#[derive(Debug)]
pub(crate) struct Outlet {
    format: Format,
    sender: UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    buffer: BytesMut,
}

impl Outlet {
    /// A connection's two ends. `gone` is called when the other one is.
    pub(crate) fn new(format: Format, id: ConnectionId, gone: Gone) -> (Self, EventStream) {
        let (sender, receiver) = unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let outlet = Self { format, sender, queued: Arc::clone(&queued), buffer: BytesMut::new() };
        (outlet, EventStream { receiver, queued, id, gone })
    }

    /// Adds an event as one RecordIO record.
    pub(crate) fn push(&mut self, event: &Event) {
        match self.format {
            Format::Protobuf => {
                let length = event.encoded_len();
                self.buffer.reserve(length + 12);
                self.buffer.put_slice(length.to_string().as_bytes());
                self.buffer.put_u8(b'\n');
                // It has room, so it cannot fail.
                let _ = event.encode(&mut self.buffer);
            }
            Format::Json => {
                let view = mesos_view(event).map(|view| serde_json::to_vec(&view));
                if let Ok(Ok(text)) = view {
                    self.buffer.put_slice(text.len().to_string().as_bytes());
                    self.buffer.put_u8(b'\n');
                    self.buffer.put_slice(&text);
                }
            }
        }
    }

    /// Whether nothing waits to be flushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Sends what has gathered. False when the scheduler reads too slowly and has to be cut off.
    pub(crate) fn flush(&mut self) -> bool {
        let bytes = self.buffer.split().freeze();
        let queued = self.queued.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        // When the other end is gone, the driver will be told so.
        let _ = self.sender.send(bytes);
        queued <= MAX_QUEUED_BYTES
    }
}

/// How the driver is told of a connection's end.
pub(crate) type Gone = Arc<dyn Fn(ConnectionId) + Send + Sync>;

/// The body of a SUBSCRIBE's answer.
pub(crate) struct EventStream {
    receiver: UnboundedReceiver<Bytes>,
    queued: Arc<AtomicUsize>,
    id: ConnectionId,
    gone: Gone,
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.receiver.poll_recv(context).map(|bytes| {
            let bytes = bytes?;
            self.queued.fetch_sub(bytes.len(), Ordering::Relaxed);
            Some(Ok(Frame::data(bytes)))
        })
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        (self.gone)(self.id);
    }
}
