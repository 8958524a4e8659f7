//! `minicluster`: a Mesos and several masters on this machine, for as long as this process lives.
//!
//! The masters are the same as `peloton-master` runs, each with a runtime of its own, over one
//! embedded store; they know nothing of each other but the store. Mesos is the simulated one in this
//! process, whose tasks are real processes, or a real one. Whatever way it ends, what it started
//! ends with it: in order after the first signal, and after a second one, or kill -9, by the guards
//! that the simulated and the real Mesos have.

mod demo;
mod masters;
mod mesos;
mod place;
mod signals;

use std::time::Duration;

use peloton_telemetry::{LogFormat, LogOptions, LogOutput};
use serde::Serialize;
use tokio::runtime::Runtime;

use self::demo::Demo;
use self::masters::Masters;
use self::mesos::Mesos;
use self::place::Place;
use self::signals::Stop;
use crate::args::{Global, MesosChoice, MiniclusterArgs};
use crate::exit::{Exit, Failure};
use crate::ui::{self, Ui};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is logged; the masters' own word for it is the configuration's default.
const LOG_DIRECTIVES: &str = "info";

/// A minicluster, as much of it as is there.
struct Minicluster {
    // Before the runtime: they are stopped in it.
    masters: Option<Masters>,
    mesos: Option<Mesos>,
    place: Place,
    stop: Stop,
    runtime: Runtime,
    ui: Ui,
}

/// Where everything is.
#[derive(Debug, Serialize)]
struct Whereabouts {
    masters: Vec<String>,
    mesos: String,
    directory: String,
    log: String,
}

/// Runs a minicluster until it is asked to end.
pub(crate) fn run(global: &Global, args: &MiniclusterArgs) -> Result<(), Failure> {
    let ui = Ui::new(global);
    let ports = place::ports(args.port, args.master_count)?;
    let place = Place::new(args.dir.as_deref())?;
    let log = LogOptions {
        directives: LOG_DIRECTIVES.to_owned(),
        format: LogFormat::Text,
        output: LogOutput::File(place.log()),
        thread_names: true,
    };
    peloton_telemetry::init_logging(&log).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("minicluster")
        .enable_all()
        .build()
        .map_err(failed)?;
    let stop = runtime.block_on(async { Stop::listen(ui, &place) }).map_err(failed)?;
    let mut cluster = Minicluster { masters: None, mesos: None, place, stop, runtime, ui };
    let lived = cluster.live(global, args, &ports);
    cluster.end(lived)
}

/// What has no exit code of its own.
fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

/// An error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

impl Minicluster {
    /// Starts everything, shows it, and stays until it is asked to end.
    fn live(
        &mut self,
        global: &Global,
        args: &MiniclusterArgs,
        ports: &[u16],
    ) -> Result<(), Failure> {
        let (ui, mut stop) = (self.ui, self.stop.clone());
        let started = Mesos::start(args, &self.place, ui, &mut stop);
        let mesos = self.runtime.block_on(started)?;
        let (address, described) = (mesos.address().to_owned(), mesos.described());
        self.mesos = Some(mesos);
        let borrowed = matches!(args.mesos, MesosChoice::At(_));
        let masters =
            Masters::start(&self.runtime, ports, &address, borrowed, &self.place.join("store"))?;
        let masters = self.masters.insert(masters);
        self.runtime.block_on(masters.wait_until_ready(&mut stop))?;

        let addresses = masters.addresses();
        let demo = Demo::new(global, &addresses, &self.place)?;
        let whereabouts = Whereabouts {
            masters: addresses,
            mesos: address,
            directory: self.place.path().display().to_string(),
            log: self.place.log().display().to_string(),
        };
        let shows_more = args.demo || args.once;
        ui.show(&whereabouts, || page(&whereabouts, &described, self.place.is_temporary()))?;
        if shows_more {
            self.runtime.block_on(async {
                tokio::select! {
                    shown = demo.run() => shown.map_err(|failure| match failure.exit {
                        Exit::Interrupted => failure,
                        _ => failure.exits(Exit::Failed),
                    }),
                    () = stop.asked() => Err(interrupted()),
                }
            })?;
        }
        if args.once {
            return Ok(());
        }
        if ui.for_people() {
            ui.text(&demo.invitation(shows_more))?;
        }
        self.runtime.block_on(stay(stop, self.mesos.as_mut()))
    }

    /// Ends all that is there. What would tell why something failed is kept.
    fn end(mut self, lived: Result<(), Failure>) -> Result<(), Failure> {
        // Without a Mesos there is nothing to look at but what the error says.
        let has_lived = self.mesos.is_some();
        if self.masters.is_some() {
            self.ui.note("ending the masters, Mesos and all tasks; Ctrl-C ends them at once");
        }
        let borrowed = self.mesos.as_ref().is_some_and(Mesos::is_borrowed);
        if let (Some(masters), true) = (&self.masters, borrowed) {
            self.runtime.block_on(demo::delete_all_jobs(masters.addresses(), self.ui));
        }
        let masters = self.masters.take().map_or(Ok(()), |masters| masters.stop(&self.runtime));
        let mesos = match self.mesos.take() {
            Some(mesos) => self.runtime.block_on(mesos.stop()),
            None => Ok(()),
        };
        let ended = lived.and(masters).and(mesos);
        if has_lived && ended.is_err() && !is_interrupted(&ended) {
            self.place.keep();
        }
        // What still reads the store holds nothing that anybody waits for.
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        if let Some(kept) = self.place.close().filter(|_| has_lived) {
            self.ui.note(&format!("logs, store and sandboxes are in {}", kept.display()));
        }
        ended
    }
}

/// Until it is asked to end, or cannot go on.
async fn stay(mut stop: Stop, mesos: Option<&mut Mesos>) -> Result<(), Failure> {
    let ended = async {
        match mesos {
            Some(mesos) => mesos.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.asked() => Ok(()),
        failure = ended => Err(failure),
    }
}

fn is_interrupted(ended: &Result<(), Failure>) -> bool {
    ended.as_ref().is_err_and(|failure| failure.exit == Exit::Interrupted)
}

/// Where everything is, for people.
fn page(at: &Whereabouts, mesos: &str, temporary: bool) -> String {
    let goes = if temporary { " (goes with the minicluster)" } else { "" };
    let pairs = [
        ("Masters", at.masters.join(", ")),
        ("Mesos", format!("http://{} ({mesos})", at.mesos)),
        ("Directory", format!("{}{goes}", at.directory)),
        ("Log", at.log.clone()),
    ];
    ui::pairs(&pairs)
}
