//! A stand-in for an agent's files API, as Mesos 1.11 answers it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// No answer has more than this of a file, so that reading takes several.
const PIECE_BYTES: usize = 1000;

type Content = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// An agent that answers for as long as the test runs.
pub(crate) struct Agent {
    address: String,
    files: Content,
}

impl Agent {
    /// One whose files API is at `endpoint`.
    pub(crate) fn start(endpoint: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let files = Content::default();
        let served = Arc::clone(&files);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), endpoint, &served);
            }
        });
        Self { address, files }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn append(&self, path: &str, content: &[u8]) {
        self.files.lock().unwrap().entry(path.to_owned()).or_default().extend(content);
    }
}

fn answer(mut stream: TcpStream, endpoint: &str, files: &Content) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let request = lines.next().unwrap();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let target = request.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap();
    let value =
        |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)).unwrap().to_owned();
    let files = files.lock().unwrap();
    let content = files.get(&value("path=")).filter(|_| path == endpoint);
    let (status, body) = match content {
        None => ("404 Not Found", b"<html>no".to_vec()),
        Some(content) => {
            let offset = value("offset=").parse::<usize>().unwrap_or(content.len());
            let end = (offset + PIECE_BYTES).min(content.len());
            ("200 OK", piece(content.get(offset..end).unwrap_or_default(), offset))
        }
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
}

/// Control characters are escaped, all else is written as it is, also where it is not UTF-8.
fn piece(bytes: &[u8], offset: usize) -> Vec<u8> {
    let mut body = b"{\"data\":\"".to_vec();
    for byte in bytes {
        match byte {
            b'"' | b'\\' => body.extend([b'\\', *byte]),
            0..0x20 => body.extend(format!("\\u{byte:04x}").bytes()),
            _ => body.push(*byte),
        }
    }
    body.extend(format!("\",\"offset\":{offset}}}").bytes());
    body
}
