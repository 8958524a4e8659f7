//! The least HTTP/1.1 that Mesos's interfaces need, on blocking sockets.
//!
//! The executor stand-in runs once per task, a thousand times on one machine, so it can afford no
//! runtime and no connection pool: one request per connection, the body read as it comes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// No header line of Mesos is near this; more is a peer that speaks something else.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A request for [`send`].
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// `host:port`.
    pub address: &'a str,
    /// Path and query, starting with a slash.
    pub path: &'a str,
    /// Header names and values, apart from `Host`, `Content-Length` and `Connection`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; `Content-Length` is sent when it is not empty or the method is POST.
    pub body: &'a [u8],
    /// For connecting, and for each read and write; none waits for ever on reads.
    pub timeout: Option<Duration>,
}

/// The head of an answer, and its body still to be read.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body with any chunked encoding taken off.
    pub body: Body,
}

impl Response {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// When the connection breaks or the framing is wrong.
    pub fn text(mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Another handle of the connection, to set its time-outs or to shut it down.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.body.stream.get_ref().try_clone()
    }
}

/// Sends one request and reads the head of the answer.
///
/// # Errors
/// When the peer cannot be reached, breaks off, is too slow, or does not speak HTTP/1.
pub fn send(request: &Request<'_>) -> io::Result<Response> {
    let mut stream = connect(request.address, request.timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(request.timeout)?;
    stream.set_write_timeout(request.timeout)?;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        request.method, request.path, request.address
    );
    for (name, value) in request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !request.body.is_empty() || request.method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    head.push_str("\r\n");
    let mut message = head.into_bytes();
    message.extend_from_slice(request.body);
    stream.write_all(&message)?;
    read_head(BufReader::new(stream))
}

fn connect(address: &str, timeout: Option<Duration>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
    for one in address.to_socket_addrs()? {
        let made = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&one, timeout),
            None => TcpStream::connect(one),
        };
        match made {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_head(mut stream: BufReader<TcpStream>) -> io::Result<Response> {
    let line = read_line(&mut stream)?;
    let mut parts = line.split_whitespace();
    let protocol = parts.next().unwrap_or_default();
    let status = parts.next().and_then(|code| code.parse::<u16>().ok());
    let (true, Some(status)) = (protocol.starts_with("HTTP/1."), status) else {
        return Err(malformed(format!("not an HTTP/1 status line: {line:?}")));
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(&mut stream)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let find = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, v)| v);
    let chunked = find("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let framing = if chunked {
        Framing::Chunked { left: 0, first: true }
    } else if status == 204 || status == 304 {
        Framing::Length(0)
    } else if let Some(length) = find("content-length") {
        let length = length.parse().map_err(|_| malformed(format!("Content-Length {length:?}")))?;
        Framing::Length(length)
    } else {
        Framing::UntilClosed
    };
    Ok(Response { status, headers, body: Body { stream, framing } })
}

fn malformed(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ends in a line"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| malformed("a header line is not UTF-8".to_owned()))
}

enum Framing {
    Length(u64),
    Chunked { left: u64, first: bool },
    UntilClosed,
    Ended,
}

/// The body of a [`Response`].
pub struct Body {
    stream: BufReader<TcpStream>,
    framing: Framing,
}

impl Body {
    fn next_chunk(&mut self, first: bool) -> io::Result<u64> {
        if !first {
            read_line(&mut self.stream)?;
        }
        let line = read_line(&mut self.stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(size, 16).map_err(|_| malformed(format!("chunk size {line:?}")))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Framing::Chunked { left: 0, first } = self.framing {
            let left = self.next_chunk(first)?;
            self.framing = match left {
                0 => Framing::Ended,
                left => Framing::Chunked { left, first: false },
            };
        }
        let limit = match &self.framing {
            Framing::Ended | Framing::Length(0) => return Ok(0),
            Framing::Length(left) | Framing::Chunked { left, .. } => *left,
            Framing::UntilClosed => u64::MAX,
        };
        let count = self.stream.by_ref().take(limit).read(buffer)?;
        match &mut self.framing {
            Framing::Length(left) | Framing::Chunked { left, .. } => {
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
            }
            Framing::UntilClosed | Framing::Ended => {}
        }
        Ok(count)
    }
}
