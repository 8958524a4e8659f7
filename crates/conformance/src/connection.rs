//! A connection that stays open for several calls, as those of Peloton do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::scheduler::{Answer, DEADLINE};
use crate::wire;

/// A connection to the scheduler API, for calls on one stream.
#[derive(Debug)]
pub struct Connection {
    socket: BufReader<TcpStream>,
    address: String,
    stream_id: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(address: &str, stream_id: &str) -> Result<Self> {
        let failed = || Error::io(format!("a connection to {address}"));
        let socket = TcpStream::connect(address).map_err(failed())?;
        socket.set_nodelay(true).map_err(failed())?;
        socket.set_read_timeout(Some(DEADLINE)).map_err(failed())?;
        let (address, stream_id) = (address.to_owned(), stream_id.to_owned());
        Ok(Self { socket: BufReader::new(socket), address, stream_id })
    }

    /// Sends the first part of a call, and gives the rest: until that is sent, the call is not made.
    ///
    /// # Errors
    /// When it is no call, or the connection is broken.
    pub fn begin(&mut self, call: &Value) -> Result<Vec<u8>> {
        let body = wire::encode(call)?;
        let (kind, address) = (wire::PROTOBUF, &self.address);
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\nAccept: {kind}\r\n\
             Mesos-Stream-Id: {}\r\nContent-Length: {}\r\n\r\n",
            wire::PATH,
            self.stream_id,
            body.len()
        )
        .into_bytes();
        let rest = body.len() / 2;
        request.extend_from_slice(&body[..rest]);
        self.finish(&request)?;
        Ok(body[rest..].to_vec())
    }

    /// Sends the rest.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finish(&mut self, rest: &[u8]) -> Result<()> {
        self.socket.get_mut().write_all(rest).map_err(Error::io("a call"))
    }

    /// The answer to the first call that has none yet.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn answer(&mut self) -> Result<Answer> {
        let mut status = None;
        let mut length = 0;
        loop {
            let mut line = String::new();
            let read = self.socket.read_line(&mut line).map_err(Error::io("an answer"))?;
            let line = line.trim_end().to_ascii_lowercase();
            if read == 0 || (line.is_empty() && status.is_none()) {
                return Err(Error::answer("a call", "the connection ended"));
            }
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            } else if status.is_none() {
                status = line.split_whitespace().nth(1).and_then(|code| code.parse().ok());
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).map_err(Error::io("an answer"))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: status.unwrap_or_default(), body })
    }
}
