//! Where the files of an agent's tasks are, as in a real agent's work directory.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use peloton_proto::mesos::v1;

/// Variables of the server that tasks get; everything else is the server's own business.
const INHERITED: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Where programs are looked for when the server itself has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The directory of one agent.
#[derive(Debug, Clone)]
pub(crate) struct WorkDir(PathBuf);

impl WorkDir {
    /// Of the agent with this index, below the server's directory.
    pub(crate) fn new(server: &Path, index: usize) -> Self {
        Self(server.join("agents").join(index.to_string()).join("work"))
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of one run of a task; or why it cannot be one.
    pub(crate) fn run(
        &self,
        agent: &str,
        framework: &str,
        task: &str,
        container: &str,
    ) -> Result<PathBuf, String> {
        for id in [agent, framework, task, container] {
            let mut parts = Path::new(id).components();
            let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
            if !plain {
                return Err(format!("{id:?} cannot be part of a path"));
            }
        }
        let slave = self.0.join("slaves").join(agent);
        let executor = slave.join("frameworks").join(framework).join("executors").join(task);
        Ok(executor.join("runs").join(container))
    }

    /// Where the agent's fetcher keeps what it fetched from there.
    pub(crate) fn cached(&self, uri: &str) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        uri.hash(&mut hasher);
        self.0.with_file_name("fetch").join(format!("{:016x}", hasher.finish()))
    }

    /// The directory of a persistent volume. Roles are paths, and a role must not be inside another's
    /// directory: Mesos puts a space for the slash, which no role can contain.
    pub(crate) fn volume(&self, role: &str, id: &str) -> PathBuf {
        self.0.join("volumes").join("roles").join(role.replace('/', " ")).join(id)
    }
}

/// Makes the directory of a run, and `latest` beside it.
pub(super) fn create(run: &Path) -> std::io::Result<()> {
    fs::create_dir_all(run)?;
    let (Some(runs), Some(name)) = (run.parent(), run.file_name()) else { return Ok(()) };
    // In one step, for readers who come at this very moment.
    let aside = runs.join(".latest");
    let _ = fs::remove_file(&aside);
    symlink(name, &aside)?;
    fs::rename(&aside, runs.join("latest"))
}

/// A file of output, to be added to.
pub(super) fn output(run: &Path, name: &str) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(run.join(name))
}

/// Links the task's volumes into its sandbox. A link cannot take the right to write away, so a
/// volume that is mounted read-only can be written to, as with Mesos's posix isolator.
pub(super) fn link_volumes(work: &WorkDir, run: &Path, task: &v1::TaskInfo) -> Result<(), String> {
    for resource in &task.resources {
        let Some(disk) = &resource.disk else { continue };
        let (Some(persistence), Some(volume)) = (&disk.persistence, &disk.volume) else { continue };
        let target = work.volume(role(resource), &persistence.id);
        fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
        link(run, &volume.container_path, &target)?;
    }
    let mounts = task.container.iter().flat_map(|container| &container.volumes);
    for mount in mounts {
        let source = mount.source.as_ref();
        let host = mount.host_path.as_deref();
        let host = host.or_else(|| Some(source?.host_path.as_ref()?.path.as_str()));
        let own = || Some(run.join(&source?.sandbox_path.as_ref()?.path));
        let target = host.map(|host| run.join(host)).or_else(own);
        let target = target.ok_or_else(|| {
            format!("the simulated Mesos cannot mount the volume at {:?}", mount.container_path)
        })?;
        if target.starts_with(run) {
            fs::create_dir_all(&target)
                .map_err(|error| format!("{}: {error}", target.display()))?;
        }
        link(run, &mount.container_path, &target)?;
    }
    Ok(())
}

/// The role that a resource is reserved for.
fn role(resource: &v1::Resource) -> &str {
    let refined = resource.reservations.last().and_then(|reservation| reservation.role.as_deref());
    refined.unwrap_or("*")
}

fn link(run: &Path, container_path: &str, target: &Path) -> Result<(), String> {
    let path = Path::new(container_path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !inside || container_path.is_empty() {
        return Err(format!(
            "the simulated Mesos mounts volumes inside the sandbox only, not at {container_path:?}"
        ));
    }
    let from = run.join(path);
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    if let Some(parent) = from.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    symlink(target, &from).map_err(failed)
}

/// What a task finds in its environment before its own variables: as a real agent's command executor
/// gives it.
pub(super) fn variables(
    run: &Path,
    task: &v1::TaskInfo,
    framework: &str,
    port: u16,
) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = INHERITED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    if variables.iter().all(|(name, _)| name != "PATH") {
        variables.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    let run = run.display().to_string();
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    set("MESOS_SANDBOX", &run);
    set("MESOS_DIRECTORY", &run);
    set("MESOS_TASK_ID", &task.task_id.value);
    set("MESOS_EXECUTOR_ID", &task.task_id.value);
    set("MESOS_FRAMEWORK_ID", framework);
    set("MESOS_SLAVE_ID", &task.agent_id.value);
    set("MESOS_SLAVE_PID", &format!("slave(1)@127.0.0.1:{port}"));
    set("MESOS_AGENT_ENDPOINT", &format!("127.0.0.1:{port}"));
    set("MESOS_CHECKPOINT", "1");
    set("MESOS_HTTP_COMMAND_EXECUTOR", "1");
    set("LIBPROCESS_PORT", "0");
    let role = task.resources.first().and_then(|first| first.allocation_info.as_ref());
    if let Some(role) = role.and_then(|info| info.role.as_deref()) {
        set("MESOS_ALLOCATION_ROLE", role);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_leave_the_directory() {
        let work = WorkDir::new(Path::new("/w"), 3);
        let run = work.run("a", "f", "t", "c").unwrap();
        let expected = "/w/agents/3/work/slaves/a/frameworks/f/executors/t/runs/c";
        assert_eq!(run, Path::new(expected));
        for bad in ["", ".", "..", "a/b", "/a"] {
            assert!(work.run("a", bad, "t", "c").is_err(), "{bad:?}");
        }
        let volume = work.volume("peloton/1", "job-0-data");
        assert!(volume.ends_with("volumes/roles/peloton 1/job-0-data"));
    }

    #[test]
    fn links_stay_in_the_sandbox() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("volume");
        let run = directory.path().join("run");
        fs::create_dir_all(&target).unwrap();
        create(&run).unwrap();
        link(&run, "data/inner", &target).unwrap();
        fs::write(run.join("data/inner/file"), "kept").unwrap();
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "kept");
        for bad in ["", "/etc", "../up", "a/../../b"] {
            assert!(
                link(&run, bad, &target).unwrap_err().contains("inside the sandbox"),
                "{bad:?}"
            );
        }
    }
}
