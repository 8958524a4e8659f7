//! When the store is away, slow, or loses an answer; and when the master stops.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use peloton_api::Options;
use peloton_proto::peloton::job as pb;
use peloton_proto::peloton::job::job_manager_client::JobManagerClient;
use peloton_telemetry::{BuildInfo, Health, HealthStatus, Metrics};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    Fault, FaultyStore, Master, PATIENCE, bind, config, headers, parse_reply, read_reply,
};

fn create() -> serde_json::Value {
    json!({"id": {"value": "a"}, "config": config(1)})
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = Options { listen: "127.0.0.1".to_owned(), port, ..Options::default() };
    let (metrics, health) = (Metrics::new(&BuildInfo::default()), Health::new());
    let bound = bind(Arc::new(FaultyStore::new()), options, health, metrics).await;
    let error = bound.map(|_| ()).unwrap_err();
    // As programs print it: with all its causes.
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(
        format!("{error}: {cause}"),
        format!("cannot listen on 127.0.0.1:{port}: {}", std::io::Error::from_raw_os_error(98))
    );
}

#[tokio::test]
async fn a_deadline_that_passes_is_a_timeout_in_both_encodings() {
    let store = Arc::new(FaultyStore::new());
    let master = Master::over(store.clone()).await;
    store.set(Some(Fault::Hang));
    let mut headers = headers("JobManager.Get");
    headers[4].1 = "99";
    let reply = master.post(&headers, b"{\"id\":{\"value\":\"a\"}}").await;
    assert_eq!(
        reply.body,
        "Timeout: call to procedure \"JobManager.Get\" of service \"peloton-master\" from caller \
         \"tester\" timed out after 99ms\n"
    );
    assert_eq!((reply.status, &reply.headers["rpc-error-code"][..]), (504, "deadline-exceeded"));

    // A client that leaves the deadline to the server, which tonic's own does not.
    let stream = TcpStream::connect(master.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let mut client = JobManagerClient::with_origin(
        tower::service_fn(move |request| sender.clone().send_request(request)),
        format!("http://{}", master.address).parse().unwrap(),
    );
    let id = Some(pb::JobId { value: "a".into() });
    let mut request = tonic::Request::new(pb::GetRequest { id: id.clone(), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "99m".parse().unwrap());
    let status = client.get(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);

    let mut request = tonic::Request::new(pb::WatchRequest { id });
    request.metadata_mut().insert("grpc-timeout", "99m".parse().unwrap());
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    connection.abort();
}

#[tokio::test]
async fn a_body_that_never_comes_is_a_timeout() {
    let master = Master::start().await;
    let mut headers = headers("JobManager.Get");
    headers[4].1 = "99";
    let mut head = String::from("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Connection: close\r\n\r\n{");
    let reply = master.raw(head.as_bytes()).await;
    assert_eq!((reply.status, &reply.headers["rpc-error-code"][..]), (504, "deadline-exceeded"));
}

#[tokio::test]
async fn a_store_that_is_away_is_said_to_be() {
    let store = Arc::new(FaultyStore::new());
    let master = Master::over(store.clone()).await;
    store.set(Some(Fault::Down));
    for (procedure, request) in
        [("JobManager.Get", json!({"id": {"value": "a"}})), ("JobManager.Create", create())]
    {
        let reply = master.yarpc(procedure, &request).await;
        assert_eq!((reply.status, &reply.headers["rpc-error-code"][..]), (503, "unavailable"));
        assert_eq!(
            reply.body,
            format!(
                "UnexpectedError: error for procedure \"{procedure}\" of service \
                 \"peloton-master\": store unavailable: pulled the plug\n"
            )
        );
    }
    // gRPC says, too, that nothing was done: the client may ask another master.
    let mut client = JobManagerClient::new(master.channel().await);
    let id = Some(pb::JobId { value: "a".into() });
    let status = client.delete(pb::DeleteRequest { id, ..Default::default() }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(status.metadata().get("peloton-not-executed").unwrap(), "1");
    store.set(None);
    assert_eq!(master.yarpc("JobManager.Create", &create()).await.status, 200);
}

#[tokio::test]
async fn what_became_of_a_lost_answer_is_found_out() {
    for fault in [Fault::LoseAnswer, Fault::LoseCommit] {
        let store = Arc::new(FaultyStore::new());
        let master = Master::over(store.clone()).await;
        let id = json!({"id": {"value": "a"}});
        let mut new = config(2);
        new["description"] = json!("x");
        let update = json!({"id": {"value": "a"}, "config": new});
        for (procedure, request, expected) in [
            ("JobManager.Create", create(), json!({"result": {"value": "a"}})),
            ("JobManager.Update", update, json!({"result": {"id": {"value": "a"}, "version": 2}})),
            ("JobManager.Stop", id.clone(), json!({})),
            ("JobManager.Delete", id.clone(), json!({})),
        ] {
            store.set(Some(fault));
            let answer = master.call(procedure, request).await;
            assert_eq!(answer, expected, "{procedure} with {fault:?}");
        }
        assert!(master.call("JobManager.Get", id).await.get("notFound").is_some());
    }
    // Somebody else's job is not taken for our own.
    let store = Arc::new(FaultyStore::new());
    let master = Master::over(store.clone()).await;
    master.call("JobManager.Create", create()).await;
    store.set(Some(Fault::LoseCommit));
    let other = json!({"id": {"value": "a"}, "config": config(2)});
    let answer = master.call("JobManager.Create", other).await;
    assert!(answer.get("alreadyExists").is_some(), "{answer}");
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_hand_and_takes_nothing_new() {
    let options = Options { drain_timeout: PATIENCE, ..Options::default() };
    let store = Arc::new(FaultyStore::new());
    let mut master = Master::with(store.clone(), options).await;
    master.call("JobManager.Create", create()).await;
    let mut watch = JobManagerClient::new(master.channel().await);
    let id = Some(pb::JobId { value: "a".into() });
    let mut watch = watch.watch(pb::WatchRequest { id }).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());

    // In hand: its head is read, its body is not there yet.
    let mut stream = TcpStream::connect(master.address).await.unwrap();
    let body = json!({"id": {"value": "a"}}).to_string();
    let mut head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    head.push_str("Expect: 100-continue\r\n");
    for (name, value) in headers("JobManager.Get") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut proceed = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut proceed).await.unwrap();
    assert_eq!(&proceed, b"HTTP/1.1 100 Continue\r\n\r\n");

    master.stop();
    let status = watch.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let closed = async {
        while TcpStream::connect(master.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the port is given up");
    assert!(!master.served.is_finished());
    stream.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
    tokio::time::timeout(PATIENCE, &mut master.served).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let options = Options { drain_timeout: Duration::from_millis(50), ..Options::default() };
    let store = Arc::new(FaultyStore::new());
    let mut master = Master::with(store.clone(), options).await;
    store.set(Some(Fault::Hang));
    let address = master.address;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = b"{\"id\":{\"value\":\"a\"}}";
    let mut head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers("JobManager.Get") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(&[format!("{head}\r\n").as_bytes(), body].concat()).await.unwrap();
    // A later connection is accepted after this one.
    assert_eq!(master.get("/version").await.status, 200);
    master.stop();
    tokio::time::timeout(PATIENCE, &mut master.served).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn pages_for_people_and_probes() {
    let master = Master::start().await;
    let health = master.get("/health").await;
    assert_eq!((health.status, &health.headers["content-type"][..]), (200, "application/json"));
    assert_eq!(health.json()["status"], "healthy");
    master.health.set(HealthStatus::Down("no disk".into()));
    let health = master.get("/health").await;
    assert_eq!(
        (health.status, &health.json()["components"]["test"]["message"]),
        (503, &json!("no disk"))
    );
    assert_eq!(master.get("/version").await.json()["program"], "peloton-master");

    master.call("JobManager.Get", json!({"id": {"value": "a"}})).await;
    master.post(&headers("Made.Up"), b"{}").await;
    let metrics = master.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for line in [
        "peloton_api_calls_total{procedure=\"JobManager.Get\",encoding=\"json\",code=\"ok\"} 1",
        "peloton_api_calls_total{procedure=\"unrecognized\",encoding=\"json\",code=\"unimplemented\"} 1",
        "peloton_api_calls_in_hand{encoding=\"json\"} 0",
        "peloton_api_call_seconds_count{procedure=\"JobManager.Get\",encoding=\"json\"} 1",
    ] {
        assert!(metrics.body.contains(line), "{line} not in {}", metrics.body);
    }
    let reply = master.raw(b"HEAD /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert!(reply.headers["content-length"].parse::<u32>().unwrap() > 0);
    let reply = parse_reply("HTTP/1.1 200 OK\r\na: b\r\n\r\n");
    assert_eq!(reply.headers["a"], "b");
}
