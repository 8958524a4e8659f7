//! A TCP server that a test plays the master with, byte by byte.

use crate::support::DEADLINE;
use peloton_mesos::calls::framework_id_of;
use peloton_mesos_wire::recordio;
use peloton_proto::mesos::v1::scheduler::{Call, Event, event};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub(crate) struct Peer {
    listener: TcpListener,
}

/// A request as it came.
pub(crate) struct Request {
    /// Request line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) call: Call,
}

pub(crate) struct Conversation {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub(crate) async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    pub(crate) async fn accept(&self) -> Conversation {
        let (socket, _) =
            timeout(DEADLINE, self.listener.accept()).await.expect("a client").unwrap();
        Conversation { socket, buffer: Vec::new() }
    }

    /// Accepts a connection, reads its SUBSCRIBE and answers as a master does.
    pub(crate) async fn accept_session(&self, heartbeat_seconds: f64) -> Conversation {
        let mut stream = self.accept().await;
        let request = stream.request().await;
        assert!(request.call.subscribe.is_some(), "{:?}", request.call);
        stream
            .write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                  Mesos-Stream-Id: s-1\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
        stream.event(&subscribed(heartbeat_seconds)).await;
        stream
    }
}

impl Conversation {
    async fn read(&mut self) -> usize {
        let reading = self.socket.read_buf(&mut self.buffer);
        // A reset is an end, too.
        timeout(DEADLINE, reading).await.expect("bytes or the end").unwrap_or(0)
    }

    pub(crate) async fn request(&mut self) -> Request {
        loop {
            if let Some(request) = self.take_request() {
                return request;
            }
            assert!(self.read().await > 0, "the client closed instead of sending a request");
        }
    }

    fn take_request(&mut self) -> Option<Request> {
        let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.trim().parse().unwrap();
        let body = self.buffer.get(end..end + length)?.to_vec();
        self.buffer.drain(..end + length);
        Some(Request { head, call: Call::decode(&body[..]).unwrap() })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.write(text.as_bytes()).await;
    }

    pub(crate) async fn accepted(&mut self) {
        self.answer("202 Accepted", "", "").await;
    }

    pub(crate) async fn chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk).await;
    }

    pub(crate) async fn event(&mut self, event: &Event) {
        self.chunk(&recordio::encode(&event.encode_to_vec())).await;
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn closed(&mut self) {
        while self.read().await > 0 {}
    }
}

pub(crate) fn subscribed(heartbeat_seconds: f64) -> Event {
    Event {
        r#type: Some(event::Type::Subscribed as i32),
        subscribed: Some(event::Subscribed {
            framework_id: Some(framework_id_of("f-1")),
            heartbeat_interval_seconds: Some(heartbeat_seconds),
            master_info: None,
        }),
        ..Event::default()
    }
}

pub(crate) fn message(data: &str) -> Event {
    Event {
        r#type: Some(event::Type::Message as i32),
        message: Some(event::Message { data: Some(data.into()), ..event::Message::default() }),
        ..Event::default()
    }
}
