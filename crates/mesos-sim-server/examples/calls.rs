//! How many calls a second the server takes: ACKNOWLEDGE, which is what a busy scheduler sends
//! most, in batches down a few connections. The client runs on the same machine.
//!
//!     cargo run --release -p peloton-mesos-sim-server --example calls

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement, not a part of anything"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use peloton_mesos_sim_server::{Options, Server};
use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::scheduler::{Call, call};
use prost::Message as _;

const CONNECTIONS: usize = 4;
/// One after the other, and as many as a client keeps in flight.
const BATCHES: [usize; 2] = [1, 64];
const CALLS: usize = 200_000;

fn request(call: &Call, stream_id: &str) -> Vec<u8> {
    let body = call.encode_to_vec();
    let id = match stream_id {
        "" => String::new(),
        id => format!("Mesos-Stream-Id: {id}\r\n"),
    };
    let head = format!(
        "POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n\
         Accept: application/x-protobuf\r\n{id}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// The stream's id, the framework's, and the stream, which has to be kept.
fn subscribe(address: &str) -> (String, v1::FrameworkId, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let framework_info =
        v1::FrameworkInfo { user: "x".into(), name: "x".into(), ..Default::default() };
    let subscribe = call::Subscribe { framework_info, ..Default::default() };
    let call = Call {
        r#type: Some(call::Type::Subscribe as i32),
        subscribe: Some(Box::new(subscribe)),
        ..Default::default()
    };
    stream.write_all(&request(&call, "")).unwrap();
    let mut stream = BufReader::new(stream);
    let mut id = String::new();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("mesos-stream-id: ") {
            id = value.trim().to_owned();
        }
    }
    line.clear();
    stream.read_line(&mut line).unwrap();
    let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).unwrap()];
    stream.read_exact(&mut chunk).unwrap();
    let newline = chunk.iter().position(|byte| *byte == b'\n').unwrap();
    let length: usize = std::str::from_utf8(&chunk[..newline]).unwrap().parse().unwrap();
    let record = &chunk[newline + 1..newline + 1 + length];
    let event = v1::scheduler::Event::decode(record).unwrap();
    (id, event.subscribed.unwrap().framework_id.unwrap(), stream)
}

fn send(address: &str, request: &[u8], calls: usize, in_flight: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let batch = request.repeat(in_flight);
    let mut line = String::new();
    for _ in 0..calls / in_flight {
        stream.write_all(&batch).unwrap();
        let mut ended = 0;
        while ended < in_flight {
            line.clear();
            answers.read_line(&mut line).unwrap();
            assert!(!line.starts_with("HTTP/1.1 4"), "{line}");
            ended += usize::from(line == "\r\n");
        }
    }
}

fn measure(address: &str) {
    let (stream_id, framework_id, _stream) = subscribe(address);
    let acknowledge = call::Acknowledge {
        agent_id: v1::AgentId { value: "nowhere".into() },
        task_id: v1::TaskId { value: "nothing".into() },
        uuid: vec![7; 16],
    };
    let call = Call {
        framework_id: Some(framework_id),
        r#type: Some(call::Type::Acknowledge as i32),
        acknowledge: Some(acknowledge),
        ..Default::default()
    };
    let request = request(&call, &stream_id);
    for in_flight in BATCHES {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| send(address, &request, CALLS / CONNECTIONS, in_flight));
            }
        });
        let rate = CALLS as f64 / start.elapsed().as_secs_f64();
        println!("{CONNECTIONS} connections, {in_flight} in flight on each: {rate:.0} calls/s");
    }
}

#[tokio::main]
async fn main() {
    let server = Server::start(Options::agents(0)).await.unwrap();
    let address = server.address();
    tokio::task::spawn_blocking(move || measure(&address)).await.unwrap();
    server.stop().await.unwrap();
}
