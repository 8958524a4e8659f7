//! An agent's files API: `GET /files/read`, a piece of a file at a time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exit::{Exit, Failure};

/// How much is asked for at once; Mesos gives no more than about this much.
pub(crate) const PIECE_BYTES: u64 = 64 << 10;

/// The largest answer that is read: a piece in which every byte is escaped, with room to spare.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How long an agent may take for a piece.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What `/files/read` answers.
#[derive(Debug, Deserialize)]
struct Answer {
    data: String,
    offset: u64,
}

/// The files of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    authority: String,
    /// Paths at which the files API may be, the likely one first.
    endpoints: Vec<String>,
}

/// What a read came to.
enum Read {
    Data(Vec<u8>, u64),
    NotThere,
}

impl Files {
    /// The files of the agent at `url`, such as `http://10.0.0.7:5051` or `http://10.0.0.7:5051/slave(1)`.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let wrong =
            || Failure::new(Exit::Failed, format!("{url:?} is not the address of an agent"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong().hint("only agents that serve plain HTTP can be read from"));
        }
        let authority = uri.authority().ok_or_else(wrong)?.to_string();
        let mut endpoints = vec!["/files/read".to_owned()];
        let prefix = uri.path().trim_end_matches('/');
        if !prefix.is_empty() {
            endpoints.push(format!("{prefix}/files/read"));
        }
        Ok(Self { authority, endpoints })
    }

    /// The size of a file in bytes.
    pub(crate) async fn size(&self, path: &str) -> Result<u64, Failure> {
        Ok(self.read_at(path, "-1").await?.1)
    }

    /// A piece of a file from `offset`; empty at its end.
    pub(crate) async fn read(&self, path: &str, offset: u64) -> Result<Vec<u8>, Failure> {
        Ok(self.read_at(path, &offset.to_string()).await?.0)
    }

    async fn read_at(&self, path: &str, offset: &str) -> Result<(Vec<u8>, u64), Failure> {
        for endpoint in &self.endpoints {
            let path = escaped(path);
            let target = format!("{endpoint}?path={path}&offset={offset}&length={PIECE_BYTES}");
            let answer = timeout(TIMEOUT, self.get(&target)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            match answer.map_err(|problem| self.unreachable(&problem))? {
                Read::Data(data, offset) => return Ok((data, offset)),
                Read::NotThere => {}
            }
        }
        let problem = format!("{path} is not on the agent {} any more", self.authority);
        Err(Failure::new(Exit::NotFound, problem).hint(
            "agents remove the sandboxes of ended runs after a time; `peloton task get` shows the present run",
        ))
    }

    fn unreachable(&self, problem: &str) -> Failure {
        let message = format!("the agent {} can not be read from: {problem}", self.authority);
        Failure::new(Exit::Failed, message)
            .hint("logs come straight from the agent; this machine must be able to connect to it")
    }

    async fn get(&self, target: &str) -> Result<Read, String> {
        let port =
            if self.authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
                self.authority.clone()
            } else {
                format!("{}:80", self.authority)
            };
        let stream = TcpStream::connect(&port).await.map_err(|error| words(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let request = Request::get(target)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        connection.abort();
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        match status {
            StatusCode::OK => data(&body),
            StatusCode::NOT_FOUND => Ok(Read::NotThere),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(format!("it answered {status}: its files are not for everybody"))
            }
            status => {
                let text = String::from_utf8_lossy(&body);
                Err(format!("it answered {status}: {}", text.lines().next().unwrap_or_default()))
            }
        }
    }
}

/// An error of a connection without its number, which tells a person nothing that the words do not.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The bytes of an answer. Mesos escapes only control characters and writes all other bytes of the
/// file as they are, so the answer need not be UTF-8, as where a character is cut in two. Reading
/// every byte as one character keeps them all.
fn data(body: &[u8]) -> Result<Read, String> {
    let text: String = body.iter().map(|byte| char::from(*byte)).collect();
    let answer: Answer = serde_json::from_str(&text)
        .map_err(|error| format!("it answered something else than a piece of a file: {error}"))?;
    let mut bytes = Vec::with_capacity(answer.data.len());
    for c in answer.data.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Ok(Read::Data(bytes, answer.offset))
}

/// A text as a part of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let escape =
        |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_answer() {
        let body = b"{\"data\":\"a\\n\\u0001\xc3\xa9\xff\xc3\",\"offset\":7}";
        let Ok(Read::Data(bytes, offset)) = data(body) else { panic!("no data") };
        assert_eq!((bytes.as_slice(), offset), (b"a\n\x01\xc3\xa9\xff\xc3".as_slice(), 7));
        assert!(data(b"<html>").is_err());
    }

    #[test]
    fn addresses_of_agents() {
        let files = Files::new("http://10.0.0.7:5051/slave(1)").unwrap();
        assert_eq!(files.endpoints, ["/files/read", "/slave(1)/files/read"]);
        assert_eq!(Files::new("http://h:1").unwrap().endpoints, ["/files/read"]);
        assert!(Files::new("https://h:1").is_err() && Files::new("h").is_err());
        assert_eq!(escaped("/a b/ü&c"), "/a%20b/%C3%BC%26c");
    }
}
