//! What tasks do: output, ends, kills, health, files, volumes.

use std::fs;
use std::process::Command;

use peloton_mesos::calls;
use peloton_mesos_sim_server::Server;
use peloton_proto::mesos::v1::{
    CommandInfo, ContainerInfo, DurationInfo, HealthCheck, KillPolicy, Offer, Resource, TaskInfo,
    TaskState, Volume, command_info, container_info, health_check, offer, resource, task_status,
    volume,
};

use crate::support::{
    ROLE, Scheduler, ask, eventually, get, sandbox, scalar, shell, start, states, task,
    wait_for_output,
};

fn directory(server: &Server, scheduler: &Scheduler, task: &str) -> std::path::PathBuf {
    sandbox(server, 0, &scheduler.subscribed.framework_id, task).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_and_its_end_and_output_are_told() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let command = "echo hello $MESOS_TASK_ID of $MESOS_ALLOCATION_ROLE; pwd; echo $MESOS_SANDBOX; echo oops >&2";
    scheduler.run("output", command).await;
    let statuses = scheduler.until_state("output", TaskState::TaskFinished).await;
    let expected = [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFinished];
    assert_eq!(states(&statuses), expected);
    assert_eq!(statuses[2].message(), "Command exited with status 0");
    assert_eq!(statuses[2].source(), task_status::Source::Executor);
    let run = directory(&server, &scheduler, "output");
    let output = fs::read_to_string(run.join("stdout")).unwrap();
    let path = run.display();
    assert_eq!(output, format!("hello output of {ROLE}\n{path}\n{path}\n"));
    assert_eq!(fs::read_to_string(run.join("stderr")).unwrap(), "oops\n");

    scheduler.run("failing", "exit 3").await;
    let failed = scheduler.reach("failing", TaskState::TaskFailed).await;
    assert_eq!(failed.message(), "Command exited with status 3");
    let plain = CommandInfo {
        shell: Some(false),
        value: Some("/bin/sh".into()),
        arguments: ["me", "-c", "echo $0 \"$1\"", "zero", "a b"].map(str::to_owned).into(),
        ..CommandInfo::default()
    };
    scheduler.launch(task("plain", plain)).await;
    scheduler.reach("plain", TaskState::TaskFinished).await;
    let run = directory(&server, &scheduler, "plain");
    assert_eq!(fs::read_to_string(run.join("stdout")).unwrap(), "zero a b\n");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_read_through_the_agent_that_the_offer_names() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let offer = scheduler.offer().await;
    let url = offer.url.unwrap();
    let agent = format!("{}:{}", url.address.ip.unwrap(), url.address.port);
    assert_eq!(server.agents()[0].url, format!("http://{agent}"));
    scheduler.call(calls::decline(vec![offer.id], Some(10)));
    scheduler.run("t", "printf 'line\\n'; exec sleep 600").await;
    scheduler.reach("t", TaskState::TaskRunning).await;
    let framework = &scheduler.subscribed.framework_id;
    let run = format!("/frameworks/{framework}/executors/t/runs/latest");
    wait_for_output(&directory(&server, &scheduler, "t"), "line").await;
    let read = get(&agent, &format!("/files/read?path={run}/stdout&offset=0")).await;
    assert_eq!(read["data"], "line\n");
    let size = get(&agent, &format!("/files/read?path={run}/stdout&offset=-1")).await;
    assert_eq!((&size["offset"], &size["data"]), (&5.into(), &"".into()));
    let listing = get(&agent, &format!("/files/browse?path={run}")).await;
    let names: Vec<_> = listing.as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!(names, [&format!("{run}/stderr"), &format!("{run}/stdout")]);
    // As found by an agent's state, where Mesos's own tools look for the directory.
    let state = get(&agent, "/slave(1)/state").await;
    let executor = &state["frameworks"][0]["executors"][0];
    assert_eq!(executor["id"], "t");
    let path = format!("{}/stdout", executor["directory"].as_str().unwrap());
    let (status, text) = ask("GET", &agent, &format!("/files/download?path={path}"), &[], "").await;
    assert_eq!((status, text.as_str()), (200, "line\n"));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_gentle_first_and_then_not() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let gentle = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    scheduler.run("gentle", gentle).await;
    scheduler.reach("gentle", TaskState::TaskRunning).await;
    let run = directory(&server, &scheduler, "gentle");
    wait_for_output(&run, "up").await;
    scheduler.kill("gentle", None);
    let statuses = scheduler.until_state("gentle", TaskState::TaskKilled).await;
    assert_eq!(states(&statuses), [TaskState::TaskKilling, TaskState::TaskKilled]);
    assert_eq!(statuses[1].message(), "Command exited with status 0");
    assert!(fs::read_to_string(run.join("stdout")).unwrap().contains("bye"));

    // The task's own policy would give it an hour; the kill's policy overrides it.
    let hour = KillPolicy { grace_period: Some(DurationInfo { nanoseconds: 3_600_000_000_000 }) };
    let stubborn = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let with_policy = TaskInfo { kill_policy: Some(hour), ..task("stubborn", shell(stubborn)) };
    scheduler.launch(with_policy).await;
    scheduler.reach("stubborn", TaskState::TaskRunning).await;
    wait_for_output(&directory(&server, &scheduler, "stubborn"), "up").await;
    scheduler.kill("stubborn", None);
    scheduler.reach("stubborn", TaskState::TaskKilling).await;
    scheduler.kill("stubborn", Some(100));
    let killed = scheduler.reach("stubborn", TaskState::TaskKilled).await;
    assert_eq!(killed.message(), "Command terminated with signal Killed");
    server.stop().await.unwrap();
}

fn health(kind: HealthCheck) -> HealthCheck {
    HealthCheck {
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.05),
        timeout_seconds: Some(10.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        ..kind
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_and_a_sick_task_is_killed() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());
    let command = HealthCheck {
        r#type: Some(health_check::Type::Command as i32),
        command: Some(shell("! test -e bad")),
        ..HealthCheck::default()
    };
    let tcp = HealthCheck {
        r#type: Some(health_check::Type::Tcp as i32),
        tcp: Some(health_check::TcpCheckInfo { port, protocol: None }),
        ..HealthCheck::default()
    };
    for (id, check) in [("command", command), ("tcp", tcp)] {
        let checked =
            TaskInfo { health_check: Some(health(check)), ..task(id, shell("exec sleep 600")) };
        scheduler.launch(checked).await;
        loop {
            let status = scheduler.status(id).await;
            if status.healthy == Some(true) {
                assert_eq!(status.state(), TaskState::TaskRunning);
                let reason = task_status::Reason::TaskHealthCheckStatusUpdated;
                assert_eq!(status.reason(), reason);
                break;
            }
        }
    }
    fs::write(directory(&server, &scheduler, "command").join("bad"), "").unwrap();
    let statuses = scheduler.until_state("command", TaskState::TaskKilled).await;
    let told: Vec<_> = statuses.iter().map(|status| status.healthy).collect();
    assert_eq!(told.first(), Some(&Some(false)), "{statuses:#?}");
    assert_eq!(told.last(), Some(&Some(false)), "{statuses:#?}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn uris_are_in_the_sandbox_before_the_task_starts() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("plain"), "plain\n").unwrap();
    fs::write(path("tool"), "#!/bin/sh\necho tool runs\n").unwrap();
    fs::create_dir(path("inner")).unwrap();
    fs::write(path("inner/file"), "from archive\n").unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-C", &path(""), "-czf", &path("a.tar.gz"), "inner"]);
    assert!(tar.status().unwrap().success());
    let uri = |value: String| command_info::Uri { value, ..Default::default() };
    let uris = vec![
        command_info::Uri { output_file: Some("sub/renamed".into()), ..uri(path("plain")) },
        command_info::Uri { executable: Some(true), ..uri(format!("file://{}", path("tool"))) },
        uri(path("a.tar.gz")),
        uri(format!("http://{}/metrics/snapshot?x=1", server.address())),
    ];
    let command = "cat sub/renamed inner/file && ./tool && test -s snapshot";
    scheduler.launch(task("uris", CommandInfo { uris, ..shell(command) })).await;
    scheduler.reach("uris", TaskState::TaskFinished).await;
    let run = sandbox(&server, 0, &scheduler.subscribed.framework_id, "uris").unwrap();
    let output = fs::read_to_string(run.join("stdout")).unwrap();
    assert!(output.contains("plain\nfrom archive\ntool runs\n"), "{output}");

    let uris = vec![uri(path("nowhere"))];
    scheduler.launch(task("no-uri", CommandInfo { uris, ..shell("true") })).await;
    let failed = scheduler.reach("no-uri", TaskState::TaskFailed).await;
    assert_eq!(failed.reason(), task_status::Reason::ContainerLaunchFailed);
    let run = sandbox(&server, 0, &scheduler.subscribed.framework_id, "no-uri").unwrap();
    assert!(fs::read_to_string(run.join("stderr")).unwrap().contains("nowhere"));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_uri_is_fetched_once() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let directory = tempfile::tempdir().unwrap();
    let [file, packed] = ["file", "packed.tar.gz"].map(|name| directory.path().join(name));
    fs::write(&file, "cached\n").unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(directory.path()).arg("-czf").arg(&packed).arg("file");
    assert!(tar.status().unwrap().success());
    let fetches = |cache: bool| {
        let uri = |path: &std::path::Path, name: Option<&str>| command_info::Uri {
            value: path.display().to_string(),
            cache: Some(cache),
            output_file: name.map(str::to_owned),
            ..Default::default()
        };
        let uris = vec![uri(&file, Some("renamed")), uri(&packed, None)];
        CommandInfo { uris, ..shell("cat renamed file | grep -c cached | grep 2") }
    };
    scheduler.launch(task("first", fetches(true))).await;
    scheduler.reach("first", TaskState::TaskFinished).await;
    fs::remove_file(&file).unwrap();
    fs::remove_file(&packed).unwrap();
    scheduler.launch(task("second", fetches(true))).await;
    scheduler.reach("second", TaskState::TaskFinished).await;
    scheduler.launch(task("third", fetches(false))).await;
    scheduler.reach("third", TaskState::TaskFailed).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_fail_and_say_why() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let docker = container_info::DockerInfo { image: "nginx".into(), ..Default::default() };
    let container = ContainerInfo {
        r#type: container_info::Type::Docker as i32,
        docker: Some(docker),
        ..Default::default()
    };
    scheduler.launch(TaskInfo { container: Some(container), ..task("image", shell("true")) }).await;
    let failed = scheduler.reach("image", TaskState::TaskFailed).await;
    assert!(failed.message().contains("no container engine"), "{failed:?}");
    server.stop().await.unwrap();
}

/// Disk reserved for the role, and a volume on it.
fn reserved_disk() -> (Resource, Resource) {
    let reservation = resource::ReservationInfo {
        r#type: Some(resource::reservation_info::Type::Dynamic as i32),
        role: Some(ROLE.into()),
        principal: Some("peloton".into()),
        labels: None,
    };
    let disk = Resource { reservations: vec![reservation], ..scalar("disk", 64.0) };
    let info = resource::DiskInfo {
        persistence: Some(resource::disk_info::Persistence {
            id: "data".into(),
            principal: Some("peloton".into()),
        }),
        volume: Some(Volume {
            container_path: "data".into(),
            mode: volume::Mode::Rw as i32,
            ..Default::default()
        }),
        source: None,
    };
    let volume = Resource { disk: Some(Box::new(info)), ..disk.clone() };
    (disk, volume)
}

fn operation(kind: offer::operation::Type) -> offer::Operation {
    offer::Operation { r#type: Some(kind as i32), ..Default::default() }
}

fn with_volume(id: &str, value: &str, volume: &Resource) -> TaskInfo {
    let mut made = task(id, shell(value));
    made.resources.push(volume.clone());
    made
}

fn has_volume(offer: &Offer) -> bool {
    offer.resources.iter().any(|resource| resource.disk.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_outlives_its_tasks_until_it_is_destroyed() {
    let server = start(1).await;
    let mut scheduler = Scheduler::subscribe(&server.address()).await;
    let (disk, volume) = reserved_disk();
    let reserve = offer::Operation {
        reserve: Some(offer::operation::Reserve { resources: vec![disk], source: Vec::new() }),
        ..operation(offer::operation::Type::Reserve)
    };
    let create = offer::Operation {
        create: Some(offer::operation::Create { volumes: vec![volume.clone()] }),
        ..operation(offer::operation::Type::Create)
    };
    let first = with_volume("first", "echo kept > data/file", &volume);
    scheduler.launch_after(vec![reserve, create], first).await;
    scheduler.reach("first", TaskState::TaskFinished).await;
    let kept = server.agents()[0].work_dir.join("volumes/roles/peloton 1/data");
    assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "kept\n");

    // Over an end of the agent's process, too.
    server.stop_agent(0).await.unwrap();
    server.start_agent(0).await.unwrap();
    loop {
        let offer = scheduler.offer().await;
        let agent_id = offer.agent_id.clone();
        let second = with_volume("second", "cat data/file", &volume);
        let operations = vec![crate::support::launch(TaskInfo { agent_id, ..second })];
        let has = has_volume(&offer);
        let operations = if has { operations } else { Vec::new() };
        scheduler.call(calls::accept(vec![offer.id], operations, Some(10)));
        if has {
            break;
        }
    }
    scheduler.reach("second", TaskState::TaskFinished).await;
    let run = directory(&server, &scheduler, "second");
    assert_eq!(fs::read_to_string(run.join("stdout")).unwrap(), "kept\n");
    loop {
        let offer = scheduler.offer().await;
        let destroy = offer::Operation {
            destroy: Some(offer::operation::Destroy { volumes: vec![volume.clone()] }),
            ..operation(offer::operation::Type::Destroy)
        };
        let has = has_volume(&offer);
        let operations = if has { vec![destroy] } else { Vec::new() };
        scheduler.call(calls::accept(vec![offer.id], operations, Some(10)));
        if has {
            break;
        }
    }
    eventually("end of the volume", || (!kept.exists()).then_some(())).await;
    server.stop().await.unwrap();
}
