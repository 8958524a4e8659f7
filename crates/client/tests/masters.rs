//! The client against masters that answer, fail, are silent or are not there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peloton_client::{Client, Error, Options};
use peloton_proto::peloton::cluster::cluster_manager_server::{
    ClusterManager, ClusterManagerServer,
};
use peloton_proto::peloton::cluster::{
    ClusterInfo, GetRequest, GetResponse, GetStatusRequest, GetStatusResponse,
};
use peloton_proto::peloton::task::task_manager_server::{TaskManager, TaskManagerServer};
use peloton_proto::peloton::task::{self, RestartRequest, RestartResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

/// What a master does with a call.
#[derive(Debug, Clone)]
enum Reply {
    Answer,
    Fail(Code),
    /// Says that it has done nothing.
    Decline(Code),
    Silence,
}

/// A master that does as it is told, and answers when it was told nothing.
#[derive(Debug, Clone, Default)]
struct Master {
    name: String,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    callers: Arc<Mutex<Vec<String>>>,
    /// The id and number of each attempt, as it came.
    attempts: Arc<Mutex<Vec<(String, String)>>>,
}

impl Master {
    async fn start(name: &str, replies: &[Reply]) -> (Self, SocketAddr) {
        let master = Self { name: name.into(), ..Self::default() };
        master.replies.lock().unwrap().extend(replies.iter().cloned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(ClusterManagerServer::new(master.clone()))
            .add_service(TaskManagerServer::new(master.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (master, address)
    }

    fn calls(&self) -> usize {
        self.callers.lock().unwrap().len()
    }

    async fn reply<Req, Resp>(
        &self,
        request: &Request<Req>,
        answer: Resp,
    ) -> Result<Response<Resp>, Status> {
        let text = |name| {
            let value = request.metadata().get(name).map(|value| value.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        self.callers.lock().unwrap().push(text("rpc-caller"));
        let attempt = (text("peloton-request-id"), text("peloton-attempt"));
        self.attempts.lock().unwrap().push(attempt);
        let reply = self.replies.lock().unwrap().pop_front().unwrap_or(Reply::Answer);
        match reply {
            Reply::Answer => Ok(Response::new(answer)),
            Reply::Fail(code) => Err(Status::new(code, format!("{code:?} of {}", self.name))),
            Reply::Decline(code) => {
                let mut status = Status::new(code, "not now");
                status.metadata_mut().insert("peloton-not-executed", "1".parse().unwrap());
                Err(status)
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl ClusterManager for Master {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let info = ClusterInfo { name: self.name.clone(), ..Default::default() };
        self.reply(&request, GetResponse { result: Some(info) }).await
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.reply(&request, GetStatusResponse::default()).await
    }
}

#[tonic::async_trait]
impl TaskManager for Master {
    async fn get(
        &self,
        r: Request<task::GetRequest>,
    ) -> Result<Response<task::GetResponse>, Status> {
        self.reply(&r, task::GetResponse::default()).await
    }

    async fn list(
        &self,
        r: Request<task::ListRequest>,
    ) -> Result<Response<task::ListResponse>, Status> {
        self.reply(&r, task::ListResponse::default()).await
    }

    async fn start(
        &self,
        r: Request<task::StartRequest>,
    ) -> Result<Response<task::StartResponse>, Status> {
        self.reply(&r, task::StartResponse::default()).await
    }

    async fn stop(
        &self,
        r: Request<task::StopRequest>,
    ) -> Result<Response<task::StopResponse>, Status> {
        self.reply(&r, task::StopResponse::default()).await
    }

    async fn restart(
        &self,
        r: Request<RestartRequest>,
    ) -> Result<Response<RestartResponse>, Status> {
        self.reply(&r, RestartResponse::default()).await
    }

    async fn get_history(
        &self,
        r: Request<task::GetHistoryRequest>,
    ) -> Result<Response<task::GetHistoryResponse>, Status> {
        self.reply(&r, task::GetHistoryResponse::default()).await
    }
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn client(masters: &[SocketAddr], timeout_ms: u64) -> Client {
    let options = Options {
        masters: masters.iter().map(ToString::to_string).collect(),
        timeout: Duration::from_millis(timeout_ms),
        retry_rounds: 1,
        caller: "ann@desk".into(),
        ..Options::default()
    };
    Client::new(options).unwrap()
}

/// Time enough that only a fault uses it up.
const LONG_MS: u64 = 30_000;

async fn name(client: &Client) -> String {
    client.cluster().get(GetRequest {}).await.unwrap().result.unwrap().name
}

#[tokio::test]
async fn the_one_that_answered_last_is_asked_first() {
    let (a, at_a) = Master::start("a", &[Reply::Fail(Code::Unavailable)]).await;
    let (b, at_b) = Master::start("b", &[]).await;
    let client = client(&[nobody().await, at_a, at_b], LONG_MS);
    assert_eq!(name(&client).await, "b");
    assert_eq!(name(&client).await, "b");
    assert_eq!((a.calls(), b.calls()), (1, 2));
    assert_eq!(b.callers.lock().unwrap().as_slice(), ["ann@desk", "ann@desk"]);
}

#[tokio::test]
async fn nobody_there_names_all_of_them() {
    let (x, y) = (nobody().await, nobody().await);
    let error = client(&[x, y], LONG_MS).cluster().get(GetRequest {}).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let want = format!(
        "no master of {x}, {y} could be reached: {x}: connection refused; {y}: connection refused"
    );
    assert_eq!(error.to_string(), want);
}

#[tokio::test]
async fn changes_go_to_the_next_master_while_surely_nothing_was_done() {
    for code in [Code::Unavailable, Code::ResourceExhausted] {
        let (a, at_a) = Master::start("a", &[Reply::Decline(code)]).await;
        let (b, at_b) = Master::start("b", &[]).await;
        let client = client(&[nobody().await, at_a, at_b], LONG_MS);
        client.tasks().restart(RestartRequest::default()).await.unwrap();
        assert_eq!((a.calls(), b.calls()), (1, 1), "{code:?}");
    }
}

#[tokio::test]
async fn changes_with_an_unknown_outcome_are_repeated_under_the_same_id() {
    for reply in
        [Reply::Silence, Reply::Fail(Code::Unavailable), Reply::Fail(Code::DeadlineExceeded)]
    {
        let (a, at_a) = Master::start("a", std::slice::from_ref(&reply)).await;
        let (b, at_b) = Master::start("b", &[Reply::Decline(Code::Unavailable)]).await;
        let client = client(&[at_a, at_b], 4000);
        client.tasks().restart(RestartRequest::default()).await.unwrap();
        let mut attempts = a.attempts.lock().unwrap().clone();
        attempts.extend(b.attempts.lock().unwrap().clone());
        let (id, numbers): (Vec<_>, Vec<_>) = attempts.into_iter().unzip();
        assert!(!id[0].is_empty() && id.iter().all(|other| *other == id[0]), "{id:?}");
        // The one that was declined was surely not made, so the third is the second that may have been.
        let first = numbers.iter().filter(|number| **number == "1").count();
        assert_eq!(first, 1, "{reply:?}: {numbers:?}");
        client.tasks().restart(RestartRequest::default()).await.unwrap();
        let calls = [a, b].map(|master| master.attempts.lock().unwrap().last().cloned());
        let is_new = |call: &Option<(String, String)>| call.as_ref().is_some_and(|c| c.0 != id[0]);
        assert!(calls.iter().any(is_new), "another change has another id");
    }
}

#[tokio::test]
async fn what_nobody_can_tell_of_is_said_to_be_unknown() {
    // The last word is a refusal, which says nothing of what was done before.
    for last in [Reply::Fail(Code::Unavailable), Reply::Fail(Code::Aborted)] {
        let (_, at_a) = Master::start("a", &vec![Reply::Fail(Code::Unavailable); 100]).await;
        let (_, at_b) = Master::start("b", &vec![last.clone(); 100]).await;
        let client = client(&[at_a, at_b], 1000);
        let error = client.tasks().restart(RestartRequest::default()).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{last:?}: {error:?}");
    }
}

#[tokio::test]
async fn masters_that_can_not_serve_now_are_asked_until_they_can() {
    let (a, at) = Master::start("a", &vec![Reply::Decline(Code::Unavailable); 4]).await;
    let client = client(&[at, nobody().await], LONG_MS);
    client.tasks().restart(RestartRequest::default()).await.unwrap();
    assert_eq!(a.calls(), 5, "more often than where nobody is there");
    assert!(a.attempts.lock().unwrap().iter().all(|(_, number)| number == "1"));
}

/// As one that was stopped with SIGSTOP: the system accepts its connections, and nothing is answered.
#[tokio::test]
async fn a_paused_master_does_not_cost_the_time_of_a_call() {
    let paused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (b, at_b) = Master::start("b", &[]).await;
    // A day, of which each master may have the half: only the ping ends the wait.
    let client = client(&[paused.local_addr().unwrap(), at_b], 86_400_000);
    let asked = async {
        assert_eq!(name(&client).await, "b");
        client.tasks().stop(task::StopRequest::default()).await.unwrap();
    };
    tokio::time::timeout(Duration::from_millis(LONG_MS), asked).await.unwrap();
    assert_eq!(b.calls(), 2);
}

#[tokio::test]
async fn a_silent_master_does_not_use_up_the_time_of_a_read() {
    let (a, at_a) = Master::start("a", &[Reply::Silence]).await;
    let (_b, at_b) = Master::start("b", &[]).await;
    assert_eq!(name(&client(&[at_a, at_b], 4000)).await, "b");
    assert_eq!(a.calls(), 1);
}

#[tokio::test]
async fn reads_without_an_answer_time_out() {
    let (_a, at) = Master::start("a", &vec![Reply::Silence; 10]).await;
    let error = client(&[at], 1000).cluster().get(GetRequest {}).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(
        error.to_string().starts_with("ClusterManager.Get was not answered within 1 s"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_is_the_answer_of_all() {
    // Also one that is too large: without the mark it is the request that is at fault, not the master.
    for refused in [Code::InvalidArgument, Code::ResourceExhausted] {
        let (a, at_a) = Master::start("a", &[Reply::Fail(refused)]).await;
        let (b, at_b) = Master::start("b", &[]).await;
        let error = client(&[at_a, at_b], LONG_MS).cluster().get(GetRequest {}).await.unwrap_err();
        let Error::Refused { code, message, .. } = error else { panic!("{error:?}") };
        assert_eq!((code, message), (refused, format!("{refused:?} of a")));
        assert_eq!((a.calls(), b.calls()), (1, 0));
    }
}

#[tokio::test]
async fn options_are_checked() {
    let none = Options { masters: Vec::new(), ..Options::default() };
    assert_eq!(Client::new(none).unwrap_err(), Error::NoMasters);
    let wrong = Options { masters: vec!["a:b:c".into()], ..Options::default() };
    assert!(matches!(Client::new(wrong), Err(Error::InvalidMaster { .. })));
}
