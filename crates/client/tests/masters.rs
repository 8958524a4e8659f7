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
        let caller = request.metadata().get("rpc-caller").map(|c| c.to_str().unwrap().to_owned());
        self.callers.lock().unwrap().push(caller.unwrap_or_default());
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
async fn changes_with_an_unknown_outcome_are_not_repeated() {
    for reply in
        [Reply::Silence, Reply::Fail(Code::Unavailable), Reply::Fail(Code::DeadlineExceeded)]
    {
        let (a, at_a) = Master::start("a", std::slice::from_ref(&reply)).await;
        let (b, at_b) = Master::start("b", &[]).await;
        let client = client(&[at_a, at_b], 1000);
        let error = client.tasks().restart(RestartRequest::default()).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{reply:?}: {error:?}");
        assert_eq!((a.calls(), b.calls()), (1, 0), "{reply:?}");
    }
}

#[tokio::test]
async fn what_is_idempotent_is_repeated() {
    let (_, at_a) = Master::start("a", &[Reply::Fail(Code::Unavailable)]).await;
    let (b, at_b) = Master::start("b", &[]).await;
    client(&[at_a, at_b], LONG_MS).tasks().stop(task::StopRequest::default()).await.unwrap();
    assert_eq!(b.calls(), 1);
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
