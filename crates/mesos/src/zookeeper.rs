//! The connection to ZooKeeper: sockets and a clock around the detector of `mesos-wire`.
//!
//! One task serves all clients of a process, so that a master of hundreds of shards is one session to
//! ZooKeeper. It begins with the first that subscribes and ends with the last handle.

use crate::http::Task;
use peloton_mesos_wire::zookeeper::{
    Detector, DetectorOptions, Input, Leading, Output, Server, Trouble, Url, UrlError,
};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How many pieces of what a server sends may wait: there are a few in a minute.
const PIECES_CAPACITY: usize = 4;

/// How much is read at once, in bytes; a list of masters is some hundred.
const READ_BYTES: usize = 4 * 1024;

/// What ZooKeeper says about the leading master, and how ZooKeeper is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detected {
    /// The leading master as last read; `None` if nobody leads, or nothing was read yet.
    pub leader: Option<Leading>,
    /// Whether anything was read so far.
    pub asked: bool,
    /// The server of the session that stands, `host:port`.
    pub server: Option<String>,
    /// What last went wrong, until the next session stands.
    pub last_problem: Option<String>,
}

impl Detected {
    /// Why there is nobody to go to.
    pub(crate) fn problem(&self) -> Option<String> {
        match (&self.leader, &self.last_problem) {
            (Some(_), _) => None,
            (None, Some(problem)) => Some(format!("ZooKeeper: {problem}")),
            (None, None) if self.asked => Some("ZooKeeper: no Mesos master leads".to_owned()),
            (None, None) => Some("ZooKeeper has not answered yet".to_owned()),
        }
    }
}

/// The way to the leading master through ZooKeeper. Cheap to clone; all clones share one session, which
/// ends with the last of them.
#[derive(Clone)]
pub struct ZooKeeper(Arc<Inner>);

struct Inner {
    options: DetectorOptions,
    state: watch::Sender<Detected>,
    task: Mutex<Option<Task>>,
}

impl ZooKeeper {
    /// The way through the ZooKeeper of a URL such as `zk://a:2181,b:2181/mesos`. Nothing is connected yet.
    ///
    /// # Errors
    /// The URL cannot be; the error says why, and does not show its password.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        Ok(Self::new(DetectorOptions::new(Url::parse(url)?)))
    }

    /// The way with these options.
    pub fn new(options: DetectorOptions) -> Self {
        let state = watch::Sender::new(Detected::default());
        Self(Arc::new(Inner { options, state, task: Mutex::new(None) }))
    }

    /// What ZooKeeper says, now and from now on. Connects, unless there is a connection. To be called
    /// inside a tokio runtime.
    pub fn watch(&self) -> watch::Receiver<Detected> {
        let mut task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(Task::is_finished) {
            let driver = Driver::new(self.0.options.clone(), self.0.state.clone());
            *task = Some(Task::spawn(driver.run()));
        }
        self.0.state.subscribe()
    }

    /// What ZooKeeper said last.
    pub fn detected(&self) -> Detected {
        self.0.state.borrow().clone()
    }

    /// Where it looks.
    pub fn url(&self) -> &Url {
        &self.0.options.url
    }
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZooKeeper({})", self.url())
    }
}

impl PartialEq for ZooKeeper {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What comes from a connection.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Closed(Option<String>),
}

/// The task: it feeds the detector and performs what it says.
struct Driver {
    detector: Detector,
    url: String,
    started: Instant,
    wake_at: Instant,
    state: watch::Sender<Detected>,
    pieces_sender: mpsc::Sender<(u64, Piece)>,
    pieces: mpsc::Receiver<(u64, Piece)>,
    /// The connection, and what it is to send.
    link: Option<(Task, mpsc::UnboundedSender<Vec<u8>>)>,
    random: u64,
}

impl Driver {
    fn new(options: DetectorOptions, state: watch::Sender<Detected>) -> Self {
        let (pieces_sender, pieces) = mpsc::channel(PIECES_CAPACITY);
        let started = Instant::now();
        Self {
            url: options.url.to_string(),
            detector: Detector::new(options),
            started,
            wake_at: started,
            state,
            pieces_sender,
            pieces,
            link: None,
            // The standard library seeds its hashers from the system: good enough for jitter.
            random: RandomState::new().build_hasher().finish(),
        }
    }

    async fn run(mut self) {
        loop {
            let woken = tokio::select! {
                biased;
                // What has arrived goes before the timer: after a pause of ours, ZooKeeper is not silent.
                Some(piece) = self.pieces.recv() => Some(piece),
                () = sleep_until(self.wake_at) => None,
            };
            match woken {
                None => self.step(Input::Timer),
                Some((epoch, Piece::Bytes(bytes))) => {
                    self.step(Input::Bytes { epoch, bytes: &bytes });
                }
                Some((epoch, Piece::Closed(error))) => self.step(Input::Closed { epoch, error }),
            }
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A step of a Weyl sequence: no two draws in a row are alike.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        for output in self.detector.step(now_ms, self.random >> 16, input) {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect { epoch, server } => {
                let (sender, outgoing) = mpsc::unbounded_channel();
                let pieces = self.pieces_sender.clone();
                let task = Task::spawn(async move {
                    let end = carry(epoch, &server, outgoing, &pieces).await;
                    let error = end.err().map(|error| error.to_string());
                    let _ = pieces.send((epoch, Piece::Closed(error))).await;
                });
                self.link = Some((task, sender));
            }
            Output::Send { bytes, .. } => {
                if let Some((_, outgoing)) = &self.link {
                    // One that has broken says so by itself.
                    let _ = outgoing.send(bytes);
                }
            }
            Output::Close { .. } => self.link = None,
            Output::WakeAt { at_ms } => self.wake_at = self.started + Duration::from_millis(at_ms),
            Output::Connected { server } => {
                tracing::info!(%server, url = self.url, "connected with ZooKeeper");
                self.state.send_modify(|state| {
                    state.asked = true;
                    state.server = Some(server.to_string());
                    state.last_problem = None;
                });
            }
            Output::Leader(leader) => self.leader(leader),
            Output::Trouble { server, trouble } => self.trouble(&server, &trouble),
        }
    }

    fn leader(&self, leader: Option<Leading>) {
        match &leader {
            Some(Leading { node, address }) => {
                tracing::info!(leader = %address, node, url = self.url, "a Mesos master leads");
            }
            None => tracing::warn!(url = self.url, "no Mesos master leads"),
        }
        self.state.send_modify(|state| state.leader = leader);
    }

    fn trouble(&self, server: &Server, trouble: &Trouble) {
        tracing::warn!(%server, %trouble, url = self.url, "trouble with ZooKeeper");
        self.state.send_modify(|state| {
            // A leader that cannot be understood does not end the session.
            if !matches!(trouble, Trouble::NotUnderstood(_)) {
                state.server = None;
            }
            state.last_problem = Some(format!("{server}: {trouble}"));
        });
    }
}

/// Carries bytes both ways, until the server closes.
async fn carry(
    epoch: u64,
    server: &Server,
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    pieces: &mpsc::Sender<(u64, Piece)>,
) -> std::io::Result<()> {
    // The detector has a time limit for this.
    let mut socket = TcpStream::connect((server.host(), server.port())).await?;
    socket.set_nodelay(true)?;
    let (mut reading, mut writing) = socket.split();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        tokio::select! {
            bytes = outgoing.recv() => match bytes {
                Some(bytes) => writing.write_all(&bytes).await?,
                None => return Ok(()),
            },
            read = reading.read(&mut buffer) => match read? {
                0 => return Ok(()),
                length => {
                    let piece = Piece::Bytes(buffer[..length].to_vec());
                    if pieces.send((epoch, piece)).await.is_err() {
                        return Ok(());
                    }
                }
            },
        }
    }
}
