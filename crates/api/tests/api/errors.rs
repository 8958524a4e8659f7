//! Every error of the YARPC encoding, with its exact status, text and headers.

use std::sync::Arc;

use peloton_api::Options;
use peloton_proto::peloton::job::QueryRequest;
use peloton_proto::peloton::job::job_manager_client::JobManagerClient;
use peloton_store::MemoryStore;
use proptest::prelude::*;

use crate::support::{MAX_REQUEST_BYTES, Master, Reply, headers, read_reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFIX: &str = "BadRequest: failed to decode \"json\" request body for procedure \
                      \"JobManager.Get\" of service \"peloton-master\" from caller \"tester\": ";

/// The usual headers, with one replaced, or left out where the value is empty.
fn with<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let all = headers("JobManager.Get").into_iter();
    all.map(|(n, v)| if n == name { (n, value) } else { (n, v) })
        .filter(|(_, v)| !v.is_empty())
        .collect()
}

fn assert_error(reply: &Reply, status: u16, code: &str, body: &str) {
    assert_eq!(reply.body, format!("{body}\n"));
    assert_eq!(reply.status, status, "{body}");
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8", "{body}");
    assert_eq!(reply.headers["rpc-error-code"], code, "{body}");
    assert!(!reply.headers.contains_key("rpc-status"), "{body}");
}

#[tokio::test]
async fn headers_are_checked_in_order_and_named() {
    let master = Master::start().await;
    let all = "BadRequest: missing service name, procedure, caller name, TTL, and encoding";
    assert_error(&master.post(&[], b"{}").await, 400, "invalid-argument", all);
    let invalid = |ttl: &str| {
        format!(
            "BadRequest: invalid TTL \"{ttl}\" for procedure \"JobManager.Get\" of service \
             \"peloton-master\": must be positive integer"
        )
    };
    let cases = [
        (with("Rpc-Caller", ""), "invalid-argument", "BadRequest: missing caller name".into()),
        (with("Rpc-Service", ""), "invalid-argument", "BadRequest: missing service name".into()),
        (with("Rpc-Procedure", ""), "invalid-argument", "BadRequest: missing procedure".into()),
        (with("Rpc-Encoding", ""), "invalid-argument", "BadRequest: missing encoding".into()),
        (with("Context-TTL-MS", ""), "invalid-argument", "BadRequest: missing TTL".into()),
        (with("Context-TTL-MS", "abc"), "invalid-argument", invalid("abc")),
        (with("Context-TTL-MS", "9.5"), "invalid-argument", invalid("9.5")),
        (with("Context-TTL-MS", "-5"), "invalid-argument", invalid("-5")),
        (with("Context-TTL-MS", "0"), "invalid-argument", invalid("0")),
        (
            with("Rpc-Procedure", "JobManager.Nope"),
            "unimplemented",
            "BadRequest: unrecognized procedure \"JobManager.Nope\" for service \"peloton-master\""
                .into(),
        ),
        (
            with("Rpc-Service", "other"),
            "unimplemented",
            "BadRequest: unrecognized procedure \"JobManager.Get\" for service \"other\"".into(),
        ),
        (
            with("Rpc-Encoding", "raw"),
            "invalid-argument",
            format!("{PREFIX}expected encoding \"json\" but got \"raw\""),
        ),
    ];
    for (headers, code, body) in cases {
        assert_error(&master.post(&headers, b"{}").await, 400, code, &body);
    }
    let two = [("Rpc-Caller", "c"), ("Rpc-Encoding", "json"), ("Context-TTL-MS", "5")];
    let text = "BadRequest: missing service name and procedure";
    assert_error(&master.post(&two, b"{}").await, 400, "invalid-argument", text);
    // A TTL that is no number comes before what is missing, a negative one after.
    let text = "BadRequest: invalid TTL \"x\" for procedure \"\" of service \"\": must be positive integer";
    assert_error(
        &master.post(&[("Context-TTL-MS", "x")], b"").await,
        400,
        "invalid-argument",
        text,
    );
    let text = "BadRequest: missing service name, procedure, caller name, and encoding";
    assert_error(
        &master.post(&[("Context-TTL-MS", "-5")], b"").await,
        400,
        "invalid-argument",
        text,
    );
}

#[tokio::test]
async fn bodies_that_are_not_requests_are_refused_with_the_place() {
    let master = Master::start().await;
    for (body, what) in [
        (&b""[..], "not valid JSON: "),
        (b"{", "not valid JSON: "),
        (b"\xff\xfe", "not valid JSON: "),
        (b"{\"id\": 7}", "id: expected "),
        (b"{\"id\": {\"value\": 7}}", "id.value: expected "),
        (b"{\"id\": {\"value\": \"a\", \"Value\": \"b\"}}", "id: the keys "),
    ] {
        let reply = master.post(&headers("JobManager.Get"), body).await;
        assert_eq!((reply.status, &reply.headers["rpc-error-code"][..]), (400, "invalid-argument"));
        let expected = format!("{PREFIX}{what}");
        assert!(reply.body.starts_with(&expected), "{} against {expected}", reply.body);
        assert!(reply.body.ends_with('\n'));
    }
    // Unknown keys mean nothing: newer clients say more.
    let reply =
        master.post(&headers("JobManager.Get"), b"{\"id\":{\"value\":\"a\"},\"x\":1}").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_request_that_a_handler_refuses_says_why() {
    let master = Master::start().await;
    let bad = "BadRequest: error for procedure \"JobManager.Get\" of service \"peloton-master\": ";
    let reply = master.post(&headers("JobManager.Get"), b"{}").await;
    assert_error(&reply, 400, "invalid-argument", &format!("{bad}id: missing: the id of a job"));
    let reply = master.post(&headers("JobManager.Get"), b"{\"id\":{\"value\":\"a/b\"}}").await;
    let text = "id.value: job id \"a/b\" is not allowed: 1 to 128 characters of A-Z a-z 0-9 . _ -, \
                the first a letter or digit";
    assert_error(&reply, 400, "invalid-argument", &format!("{bad}{text}"));
    let reply = master.post(&headers("JobManager.Watch"), b"{}").await;
    let text = "UnexpectedError: error for procedure \"JobManager.Watch\" of service \
                \"peloton-master\": JobManager.Watch answers a stream: call it over gRPC";
    assert_error(&reply, 501, "unimplemented", text);
    let reply = master.post(&headers("UpgradeManager.Create"), b"{}").await;
    assert_eq!((reply.status, &reply.headers["rpc-error-code"][..]), (400, "invalid-argument"));
}

#[tokio::test]
async fn oversized_requests_are_refused() {
    let master = Master::start().await;
    let text = format!("{PREFIX}the body is larger than {MAX_REQUEST_BYTES} bytes");
    let large = vec![b' '; MAX_REQUEST_BYTES + 1];
    let reply = master.post(&headers("JobManager.Get"), &large).await;
    assert_error(&reply, 429, "resource-exhausted", &text);

    // One that announces more than anybody would read is answered at once, without its body.
    let mut head = String::from("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n");
    for (name, value) in headers("JobManager.Get") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let reply = master.raw(head.as_bytes()).await;
    assert_error(&reply, 429, "resource-exhausted", &text);

    // In chunks, without a length.
    let mut stream = TcpStream::connect(master.address).await.unwrap();
    let head = head.replace("Content-Length: 100000000000", "Transfer-Encoding: chunked");
    let head = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..=MAX_REQUEST_BYTES / 4096 {
        stream.write_all(b"1000\r\n").await.unwrap();
        stream.write_all(&[b' '; 4096]).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_error(&read_reply(&mut stream).await, 429, "resource-exhausted", &text);

    // The largest that is allowed.
    let mut body = b"{\"id\":{\"value\":\"a\"}}".to_vec();
    body.resize(MAX_REQUEST_BYTES, b' ');
    assert_eq!(master.post(&headers("JobManager.Get"), &body).await.status, 200);
}

#[tokio::test]
async fn other_methods_and_paths_get_404() {
    let master = Master::start().await;
    let reply = master.get("/nothing").await;
    assert_eq!(reply.status, 404);
    assert!(reply.body.ends_with("calls are POSTs\n"), "{}", reply.body);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(master.raw(request.as_bytes()).await.status, 404, "{method}");
    }
}

#[tokio::test]
async fn too_many_calls_at_once_are_refused() {
    let options = Options { max_calls: 1, ..Options::default() };
    let master = Master::with(Arc::new(MemoryStore::new()), options).await;
    // The first call is in hand once the server asks for its body.
    let mut first = TcpStream::connect(master.address).await.unwrap();
    let mut head = String::from("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n");
    for (name, value) in headers("JobManager.Query") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Expect: 100-continue\r\nConnection: close\r\n\r\n");
    first.write_all(head.as_bytes()).await.unwrap();
    let mut proceed = [0; 25];
    first.read_exact(&mut proceed).await.unwrap();
    assert_eq!(&proceed, b"HTTP/1.1 100 Continue\r\n\r\n");
    let reply = master.post(&headers("JobManager.Query"), b"{}").await;
    let text = "BadRequest: error for procedure \"JobManager.Query\" of service \"peloton-master\": \
                this master has too many calls in hand; try again, or another";
    assert_error(&reply, 429, "resource-exhausted", text);
    // gRPC says, too, that nothing was done: the client may ask another master.
    let mut client = JobManagerClient::new(master.channel().await);
    let status = client.query(QueryRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(status.metadata().get("peloton-not-executed").unwrap(), "1");
    first.write_all(b"{}").await.unwrap();
    assert_eq!(read_reply(&mut first).await.status, 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_body_gets_an_answer_of_the_right_shape(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[\\{\\[\"idvalue:0-9,\\]\\}]{0,60}".prop_map(String::into_bytes),
        ]
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let master = Master::start().await;
            for procedure in ["JobManager.Create", "TaskManager.List"] {
                let reply = master.post(&headers(procedure), &body).await;
                assert_eq!(reply.status, 400, "{}", reply.body);
                assert_eq!(reply.headers["rpc-error-code"], "invalid-argument");
                assert!(reply.body.starts_with("BadRequest: ") && reply.body.ends_with('\n'));
            }
        });
    }
}
