//! A server of artifacts, which can be taken away.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Serves files over HTTP until it is dropped: then its port refuses connections.
pub(crate) struct FileServer {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl FileServer {
    /// A server of these files: path, with its slash, and content.
    pub(crate) fn start(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        let files: BTreeMap<String, String> = files.iter().map(owned).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (ending, noting) = (Arc::clone(&ends), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::SeqCst) {
                    return;
                }
                // A client that breaks off is its own affair.
                if let Some(line) = stream.ok().and_then(|stream| answer(stream, &files)) {
                    noting.lock().unwrap().push(line);
                }
            }
        });
        Self { address, ends, asked, thread: Some(thread) }
    }

    /// The URL of a file.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked for so far: method and path.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // The thread looks up when somebody comes.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Answers one request: what it was.
fn answer(stream: TcpStream, files: &BTreeMap<String, String>) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 0 && !line.trim().is_empty() {
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    let (status, text) = match files.get(path) {
        Some(text) => ("200 OK", text.as_str()),
        None => ("404 Not Found", ""),
    };
    let body = if method == "HEAD" { "" } else { text };
    let length = text.len();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()?;
    Some(format!("{method} {path}"))
}
