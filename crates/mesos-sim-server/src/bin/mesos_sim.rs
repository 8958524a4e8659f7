//! `mesos-sim`: a simulated Mesos from the command line.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use peloton_mesos_sim_server::model::Script;
use peloton_mesos_sim_server::{AgentOptions, Fake, Options, Server, supervise_if_asked};
use tokio::signal::unix::{SignalKind, signal};

/// Messages of all sizes are made and dropped by many threads; the system's allocator takes twice the
/// memory for that, and more time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A simulated Mesos on this machine: it speaks Mesos's protocols and runs tasks as processes.
///
/// It runs until Ctrl-C or SIGTERM, and then ends its tasks and removes what it made.
#[derive(Parser)]
#[command(name = "mesos-sim", version)]
struct Arguments {
    /// How many agents whose tasks are real processes. Without --fake, 6.
    #[arg(long)]
    agents: Option<usize>,
    /// The master's port on 127.0.0.1; 0 for any free one.
    #[arg(long, default_value_t = 5050)]
    port: u16,
    /// CPUs of each agent.
    #[arg(long, default_value_t = 4.0)]
    cpus: f64,
    /// Memory of each agent in megabytes.
    #[arg(long, default_value_t = 4096.0)]
    mem: f64,
    /// Disk of each agent in megabytes.
    #[arg(long, default_value_t = 8192.0)]
    disk: f64,
    /// First and last port of each agent, as 31000-32000; by default, 200 ports of its own.
    #[arg(long, value_parser = ports)]
    ports: Option<(u16, u16)>,
    /// Attributes of each agent, as rack:r1;ssd:true.
    #[arg(long, value_parser = attributes)]
    attributes: Option<Attributes>,
    /// How many agents whose tasks are only played.
    #[arg(long)]
    fake: Option<usize>,
    /// From launch to running, of played tasks: milliseconds, or a range of them as 10..50.
    #[arg(long, value_parser = range, default_value = "0")]
    start_delay_ms: (u64, u64),
    /// How long played tasks run; for ever by default.
    #[arg(long, value_parser = range)]
    run_time_ms: Option<(u64, u64)>,
    /// From kill to end, of played tasks.
    #[arg(long, value_parser = range, default_value = "0")]
    kill_delay_ms: (u64, u64),
    /// Of a thousand played tasks, how many fail.
    #[arg(long, default_value_t = 0)]
    failures_per_mille: u16,
    /// How often the master makes offers.
    #[arg(long, default_value_t = 1_000)]
    allocation_interval_ms: u64,
    /// How long an agent may be away before it is unreachable.
    #[arg(long, default_value_t = 75_000)]
    agent_timeout_ms: u64,
    /// Seeds all that is drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where sandboxes and volumes are kept; a temporary directory by default.
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Schedulers must prove to be this principal, as principal:secret.
    #[arg(long, value_parser = credential)]
    credential: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Attributes(Vec<(String, String)>);

fn pair(text: &str, by: char) -> Result<(&str, &str), String> {
    text.split_once(by).ok_or_else(|| format!("there is no {by:?} in {text:?}"))
}

fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|error| format!("{text:?}: {error}"))
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = pair(text, '-')?;
    Ok((number(first)?, number(last)?))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let Some((from, to)) = text.split_once("..") else {
        let value = number(text)?;
        return Ok((value, value));
    };
    let (from, to) = (number(from)?, number(to)?);
    if from > to { Err(format!("{from} is more than {to}")) } else { Ok((from, to)) }
}

fn attributes(text: &str) -> Result<Attributes, String> {
    let parts = text.split(';').filter(|part| !part.is_empty());
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    parts.map(|part| pair(part, ':').map(owned)).collect::<Result<_, _>>().map(Attributes)
}

fn credential(text: &str) -> Result<(String, String), String> {
    pair(text, ':').map(|(principal, secret)| (principal.to_owned(), secret.to_owned()))
}

impl Arguments {
    fn options(self) -> Options {
        let agent = AgentOptions {
            cpus: self.cpus,
            mem_mb: self.mem,
            disk_mb: self.disk,
            ports: self.ports,
            attributes: self.attributes.map(|attributes| attributes.0),
            ..AgentOptions::default()
        };
        let agents = self.agents.unwrap_or(if self.fake.is_some() { 0 } else { 6 });
        let script = Script {
            start_delay_ms: self.start_delay_ms,
            run_time_ms: self.run_time_ms,
            failures_per_mille: self.failures_per_mille,
            kill_delay_ms: self.kill_delay_ms,
        };
        let fake = self.fake.map(|count| Fake { count, agent: agent.clone(), script });
        let mut options = Options {
            port: self.port,
            work_dir: self.work_dir,
            agents: vec![agent; agents],
            fake,
            credentials: self.credential,
            ..Options::agents(0)
        };
        options.settings.seed = self.seed;
        options.settings.allocation_interval_ms = self.allocation_interval_ms;
        options.settings.agent_timeout_ms = self.agent_timeout_ms;
        options
    }
}

fn main() -> anyhow::Result<()> {
    supervise_if_asked();
    let options = Arguments::parse().options();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: Options) -> anyhow::Result<()> {
    // Before the start, so that a signal during it is not lost.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let fakes = options.fake.as_ref().map_or(0, |fake| fake.count);
    let server = Server::start(options).await?;
    let agents = server.agents().len();
    let played = if fakes > 0 { format!(", {fakes} play them") } else { String::new() };
    let told = format!(
        "a simulated Mesos listens on http://{}\n\
         {agents} agents run tasks as processes{played}\n\
         sandboxes: {}\n\
         Ctrl-C ends it\n",
        server.address(),
        server.work_dir().display(),
    );
    // Whoever started it may not want to hear.
    let _ = std::io::stdout().write_all(told.as_bytes());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    server.stop().await.context("not everything could be ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_ports_and_attributes() {
        assert_eq!(range("10..50"), Ok((10, 50)));
        assert_eq!(range("7"), Ok((7, 7)));
        assert!(range("5..1").is_err() && range("a").is_err());
        assert_eq!(ports("31000-32000"), Ok((31_000, 32_000)));
        assert!(ports("31000").is_err());
        let given = attributes("rack:r1;zone:a:b").unwrap().0;
        let expected = [("rack", "r1"), ("zone", "a:b")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(given, expected);
    }

    #[test]
    fn the_arguments_are_options() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
        let options =
            Arguments::parse_from(["mesos-sim", "--fake", "5", "--run-time-ms", "1..2"]).options();
        assert_eq!((options.agents.len(), options.fake.unwrap().count), (0, 5));
        assert_eq!(Arguments::parse_from(["mesos-sim"]).options().agents.len(), 6);
    }
}
