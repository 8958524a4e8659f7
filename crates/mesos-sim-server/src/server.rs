//! A running simulated Mesos.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peloton_mesos_sim::{Mesos, Tasks as TasksOf};
use peloton_task_runner::mark::sweep;
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::driver::{Driver, Handle, Request, State, agent_index, unix_ms};
use crate::error::{Error, Result};
use crate::guard::{Guard, SWEEP_WITHIN};
use crate::http::Listening;
use crate::http::agent::AgentApi;
use crate::http::master::MasterApi;
use crate::options::Options;
use crate::task::{Tasks, WorkDir};

/// An old port may be the near end of somebody's connection for a moment: so often it is tried again.
const LISTEN_ATTEMPTS: u32 = 50;

/// Between two attempts.
const LISTEN_PAUSE: Duration = Duration::from_millis(100);

/// How an agent can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub hostname: String,
    /// Its HTTP API.
    pub url: String,
    /// Its work directory, with sandboxes and volumes.
    pub work_dir: PathBuf,
}

#[derive(Debug)]
struct AgentHost {
    agent: Agent,
    address: SocketAddr,
    api: Arc<AgentApi>,
    listening: Mutex<Option<Listening>>,
}

/// A simulated master and its agents, in this process. Dropping it ends them, tasks included, but
/// does not wait for that: [`Server::stop`] does.
pub struct Server {
    driver: Handle,
    driver_task: JoinHandle<()>,
    api: Arc<MasterApi>,
    address: SocketAddr,
    listening: Mutex<Option<Listening>>,
    agents: Vec<AgentHost>,
    guard: Option<Arc<Guard>>,
    work_dir: PathBuf,
    temporary: Option<TempDir>,
}

impl Server {
    /// Starts it. Agents are registered when it answers.
    ///
    /// # Errors
    /// [`Error::Option`]; [`Error::Listen`]; [`Error::NoGuard`]; others from the system.
    pub async fn start(options: Options) -> Result<Self> {
        options.check()?;
        let (work_dir, temporary) = work_dir(&options)?;
        let guard = guard(&options, temporary.as_ref())?;
        let (sender, requests) = unbounded_channel();
        let driver = Handle::new(sender);
        let api = Arc::new(MasterApi::new(driver.clone(), options.credentials.clone()));
        let listening = Listening::start(loopback(options.port), Arc::clone(&api)).await?;
        let address = listening.address();
        let mut agents = Vec::with_capacity(options.agents.len());
        for index in 0..options.agents.len() {
            agents.push(agent_host(&options, index, &work_dir, &driver).await?);
        }
        let mut settings = options.settings.clone();
        settings.address = (address.ip().to_string(), address.port());
        let told = driver.clone();
        let tell = Arc::new(move |of_run| told.send(Request::Told(of_run)));
        let state = State {
            mesos: Mesos::new_at(settings, unix_ms()),
            tasks: Tasks::new(guard.clone(), tell),
        };
        let driver_task = tokio::spawn(Driver::new(state, requests, &driver).run());
        let server = Self {
            driver,
            driver_task,
            api,
            address,
            listening: Mutex::new(Some(listening)),
            agents,
            guard,
            work_dir,
            temporary,
        };
        server.add_agents(options).await?;
        Ok(server)
    }

    async fn add_agents(&self, options: Options) -> Result<()> {
        let work_dir = self.work_dir.clone();
        let ports: Vec<u16> = self.agents.iter().map(|host| host.address.port()).collect();
        let slot = usize::from(self.address.port());
        let added = self.driver.with(move |state| {
            for (index, (agent, port)) in options.agents.iter().zip(ports).enumerate() {
                state.tasks.add_agent(&work_dir, port);
                state.mesos.add_agent(agent.spec(index, slot, port, TasksOf::Driver));
            }
            let first = options.agents.len();
            if let Some(fake) = options.fake {
                for index in first..first + fake.count {
                    state.mesos.add_agent(fake.spec(index));
                }
            }
        });
        added.await.ok_or(Error::Stopped)
    }

    /// The master's `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The agents with processes, in the order of the options.
    #[must_use]
    pub fn agents(&self) -> Vec<Agent> {
        self.agents.iter().map(|host| host.agent.clone()).collect()
    }

    /// Where everything is kept.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Does something with the model, in order with all requests. What comes of it is carried out.
    ///
    /// # Errors
    /// [`Error::Stopped`]
    pub async fn with_model<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Mesos) -> T + Send + 'static,
    ) -> Result<T> {
        self.driver.with(|state| work(&mut state.mesos)).await.ok_or(Error::Stopped)
    }

    /// Ends an agent's process; its tasks go on without it.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent; [`Error::Stopped`].
    pub async fn stop_agent(&self, index: usize) -> Result<()> {
        let host = self.host(index)?;
        self.with_model(move |mesos| mesos.stop_agent(agent_index(index))).await?;
        stop(&host.listening).await;
        Ok(())
    }

    /// Starts an agent's process again: it finds its tasks, as far as they are there.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent; [`Error::Listen`] when its port is taken;
    /// [`Error::Stopped`].
    pub async fn start_agent(&self, index: usize) -> Result<()> {
        let host = self.host(index)?;
        start(&host.listening, host.address, &host.api).await?;
        self.with_model(move |mesos| mesos.start_agent(agent_index(index))).await
    }

    /// Ends an agent's process and all of its tasks, as a machine that dies.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent; [`Error::Leftover`] when its tasks do not end;
    /// [`Error::Stopped`].
    pub async fn kill_agent_machine(&self, index: usize) -> Result<()> {
        let host = self.host(index)?;
        let killed = self.driver.with(move |state| {
            let agent = agent_index(index);
            state.mesos.kill_agent_machine(agent);
            state.tasks.kill_machine(agent)
        });
        let mark = killed.await.ok_or(Error::Stopped)?;
        stop(&host.listening).await;
        match mark {
            Some(mark) => swept(mark).await,
            None => Ok(()),
        }
    }

    /// Cuts an agent off from the master, or ends that. Its own API goes on.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no such agent; [`Error::Stopped`].
    pub async fn partition_agent(&self, index: usize, cut: bool) -> Result<()> {
        self.host(index)?;
        self.with_model(move |mesos| mesos.partition_agent(agent_index(index), cut)).await
    }

    /// Ends the master's process: connections end, and new ones are refused.
    ///
    /// # Errors
    /// [`Error::Stopped`]
    pub async fn stop_master(&self) -> Result<()> {
        self.with_model(Mesos::stop_master).await?;
        stop(&self.listening).await;
        Ok(())
    }

    /// Starts the master again, on its old port and with its registry.
    ///
    /// # Errors
    /// [`Error::Listen`] when its port is taken; [`Error::Stopped`].
    pub async fn start_master(&self) -> Result<()> {
        self.with_model(Mesos::start_master).await?;
        start(&self.listening, self.address, &self.api).await
    }

    /// Ends everything, and removes what it made unless its directory was given.
    ///
    /// # Errors
    /// [`Error::Leftover`] when processes of tasks are left after all.
    pub async fn stop(mut self) -> Result<()> {
        stop(&self.listening).await;
        for host in &self.agents {
            stop(&host.listening).await;
        }
        let (stopped, ended) = oneshot::channel();
        self.driver.send(Request::Stop(stopped));
        let _ = ended.await;
        let Some(guard) = self.guard.take() else { return Ok(()) };
        let clean = swept(guard.mark().to_owned()).await;
        let temporary = self.temporary.take();
        // A task's thread may write until its end was swept, so the directory goes only now.
        let removed = tokio::task::spawn_blocking(move || {
            let ended = guard.wait_for_groups();
            drop(temporary);
            guard.finish();
            ended
        });
        let ended = removed.await.unwrap_or(false);
        let left = Error::Leftover { seconds: SWEEP_WITHIN.as_secs() };
        clean.and(if ended { Ok(()) } else { Err(left) })
    }

    fn host(&self, index: usize) -> Result<&AgentHost> {
        let count = self.agents.len();
        self.agents.get(index).ok_or_else(|| Error::Option {
            field: "agent",
            value: index.to_string(),
            allowed: format!("0 to {}", count.saturating_sub(1)),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.driver_task.abort();
        if let Some(guard) = &self.guard {
            guard.release();
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn work_dir(options: &Options) -> Result<(PathBuf, Option<TempDir>)> {
    let (path, temporary) = match &options.work_dir {
        Some(given) => (given.clone(), None),
        None => {
            let made = tempfile::Builder::new().prefix("mesos-sim-").tempdir();
            let made = made.map_err(Error::path(std::env::temp_dir()))?;
            (made.path().to_path_buf(), Some(made))
        }
    };
    std::fs::create_dir_all(&path).map_err(Error::path(&path))?;
    let path = path.canonicalize().map_err(Error::path(&path))?;
    Ok((path, temporary))
}

fn guard(options: &Options, temporary: Option<&TempDir>) -> Result<Option<Arc<Guard>>> {
    if options.agents.is_empty() {
        return Ok(None);
    }
    let mark = random_mark()?;
    let remove = temporary.map(TempDir::path);
    Guard::start(options.guard.as_deref(), mark, remove).map(|guard| Some(Arc::new(guard)))
}

/// 64 random bits, in hexadecimal.
fn random_mark() -> Result<String> {
    use std::io::Read as _;
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0_u8; 8];
    let read = std::fs::File::open(SOURCE).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Error::path(SOURCE))?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}

async fn agent_host(
    options: &Options,
    index: usize,
    work_dir: &Path,
    driver: &Handle,
) -> Result<AgentHost> {
    let work = WorkDir::new(work_dir, index);
    std::fs::create_dir_all(work.path()).map_err(Error::path(work.path()))?;
    let directory = work.path().to_path_buf();
    let api = Arc::new(AgentApi::new(driver.clone(), agent_index(index), work));
    let listening = Listening::start(loopback(0), Arc::clone(&api)).await?;
    let address = listening.address();
    let given = options.agents.get(index).and_then(|agent| agent.hostname.clone());
    let agent = Agent {
        hostname: given.unwrap_or_else(|| format!("agent-{index}")),
        url: format!("http://{address}"),
        work_dir: directory,
    };
    Ok(AgentHost { agent, address, api, listening: Mutex::new(Some(listening)) })
}

async fn stop(listening: &Mutex<Option<Listening>>) {
    let taken = listening.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(listening) = taken {
        listening.stop().await;
    }
}

async fn start(
    place: &Mutex<Option<Listening>>,
    address: SocketAddr,
    api: &Arc<impl crate::http::Handler>,
) -> Result<()> {
    if place.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        return Ok(());
    }
    let mut attempt = 1;
    let listening = loop {
        match Listening::start(address, Arc::clone(api)).await {
            Err(Error::Listen { .. }) if attempt < LISTEN_ATTEMPTS => attempt += 1,
            listening => break listening?,
        }
        tokio::time::sleep(LISTEN_PAUSE).await;
    };
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
    Ok(())
}

/// Ends all processes with a mark.
async fn swept(mark: String) -> Result<()> {
    let clean = tokio::task::spawn_blocking(move || sweep(&mark, SWEEP_WITHIN)).await;
    let left = Error::Leftover { seconds: SWEEP_WITHIN.as_secs() };
    if clean.unwrap_or(false) { Ok(()) } else { Err(left) }
}
