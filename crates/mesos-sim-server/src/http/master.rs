//! The master's HTTP API: which request goes where.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};

use super::{Answer, Handler, empty, legacy, operator, scheduler, text};
use crate::driver::Handle;

const ABOUT: &str = "\
A simulated Mesos: it speaks Mesos's protocols, and is none.

    POST /api/v1/scheduler   schedulers
    POST /api/v1             operators
    GET  /master/state       agents, frameworks, tasks; also /master/slaves, /master/frameworks,
                             /master/tasks, /master/roles, /metrics/snapshot
";

/// The master.
pub(crate) struct MasterApi {
    driver: Handle,
    /// Principals and secrets; none means that nobody is asked.
    credentials: Vec<(String, String)>,
}

impl MasterApi {
    pub(crate) fn new(driver: Handle, credentials: Vec<(String, String)>) -> Self {
        Self { driver, credentials }
    }

    /// Who a scheduler has proved to be; or the answer that it has not.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Option<String>, Answer> {
        if self.credentials.is_empty() {
            return Ok(None);
        }
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let encoded = given.and_then(|value| value.strip_prefix("Basic "));
        let decoded = encoded.and_then(|text| STANDARD.decode(text.trim()).ok());
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let known = |(principal, secret): &(&str, &str)| {
            self.credentials.iter().any(|(p, s)| p == principal && s == secret)
        };
        if let Some((principal, _)) = pair.filter(known) {
            return Ok(Some(principal.to_owned()));
        }
        let mut answer = super::text(StatusCode::UNAUTHORIZED, "");
        let challenge = HeaderValue::from_static("Basic realm=\"mesos-master-scheduler\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        Err(answer)
    }
}

impl Handler for MasterApi {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let path = path.strip_prefix("/master").unwrap_or(path).trim_end_matches('/');
        let path = path.strip_suffix(".json").unwrap_or(path).to_owned();
        match (request.method(), path.as_str()) {
            (_, "/api/v1/scheduler") => match self.authenticate(request.headers()) {
                Ok(principal) => scheduler::handle(&self.driver, principal, request).await,
                Err(answer) => answer,
            },
            (_, "/api/v1") => operator::handle(&self.driver, request).await,
            (&Method::POST, "/teardown") => legacy::teardown(&self.driver, request).await,
            (_, "") => text(StatusCode::OK, ABOUT),
            (_, "/redirect") => redirect(request.headers()),
            (_, "/health") => empty(StatusCode::OK),
            (&Method::GET | &Method::HEAD, path) => {
                legacy::get(&self.driver, path, request.uri().query()).await
            }
            _ => empty(StatusCode::NOT_FOUND),
        }
    }
}

/// The leading master is always this one.
fn redirect(headers: &HeaderMap) -> Answer {
    let mut answer = empty(StatusCode::TEMPORARY_REDIRECT);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:5050");
    if let Ok(value) = format!("//{host}").parse() {
        answer.headers_mut().insert(LOCATION, value);
    }
    answer
}
