//! Tables, documents, errors and exit codes.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;

use crate::master::Master;
use crate::transcript::Transcript;

/// An address where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn tables() {
    let master = Master::with_jobs();
    let mut t = Transcript::new(&master.address());
    t.run("job list");
    t.run("job list -l team=maps");
    t.run("job list -l team=maps -l team=search");
    t.run("job status web");
    t.run("job status index");
    t.run("job get web");
    t.run("task list web");
    t.run("task list web --instances 1,3-8");
    t.run("task get web 0");
    t.run("task get web 2");
    t.run("task get web 3");
    t.run("cluster status");
    t.run("cluster status -o wide");
    t.run("version");
    t.check("tables.txt");
}

#[test]
fn documents() {
    let master = Master::with_jobs();
    let mut t = Transcript::new(&master.address());
    t.run("job list -l team=maps -o json");
    t.run("-o yaml job list -l team=maps");
    t.run("job get web -o json");
    t.run("job status web -o yaml");
    t.run("task list web -i 0 -o json");
    t.run("task get web 3 -o yaml");
    t.run("cluster status -o yaml");
    t.run("job stop web -o json");
    t.run("version -o json");
    t.check("documents.txt");
}

#[test]
fn stale_answers_say_of_when_they_are() {
    let master = Master::with_jobs();
    let mut t = Transcript::new(&master.address());
    for line in [
        "job list --stale",
        "job list --stale -o json -l team=none",
        "job status index --stale",
        "job status index --stale -o json",
        "job get index --stale -o json",
        "task list web --stale -i 0",
        "task list web --stale -i 7 -o json",
        "task get web 0 --stale",
    ] {
        assert_eq!(t.run(line), 0, "{line}");
    }
    t.check("stale.txt");
}

#[test]
fn what_job_get_writes_is_a_job_file() {
    let master = Master::with_jobs();
    let t = Transcript::new(&master.address());
    for format in ["json", "yaml", "table"] {
        let got = t.command(&format!("job get web -o {format}")).output().unwrap();
        t.file("job.yaml", &String::from_utf8(got.stdout).unwrap());
        master.state().jobs.get_mut("web").unwrap().config.instance_count = 0;
        let done = t.command("job update -f job.yaml --strict").output().unwrap();
        assert!(done.status.success(), "{format}: {done:?}");
        let config = master.state().jobs["web"].config.clone();
        assert_eq!(
            config,
            crate::data::config("search", peloton_proto::peloton::job::JobType::Service, 9)
        );
    }
}

#[test]
fn actions() {
    let master = Master::with_jobs();
    let mut t = Transcript::new(&master.address());
    t.run("job stop web");
    t.run("job start web -i 7,0-4");
    t.run("job restart web --instances 1,2");
    t.run("job delete index --yes");
    t.check("actions.txt");
    let want = ["stop web", "start web 0-4 7-7", "restart web 1-2", "delete index"];
    assert_eq!(master.state().requests, want);
}

#[test]
fn errors() {
    let master = Master::with_jobs();
    let config = crate::data::config("x", Default::default(), 1);
    let killing = crate::master::Job { config, ..Default::default() };
    master.state().jobs.insert("killing".into(), killing);
    let mut t = Transcript::new(&master.address());
    t.file("web.yaml", "id: web\ninstanceCount: 4\ncommand: {value: other}\n");
    t.file("bare.yaml", "instanceCount: 4\n");
    for (line, code) in [
        ("job get nojob", 3),
        ("job status nojob", 3),
        ("job stop nojob", 3),
        ("job delete nojob --yes", 3),
        ("task list nojob", 3),
        ("task get nojob 0", 3),
        ("task get web 4", 3),
        ("job stop web --instances 8-9", 3),
        ("job update nojob -f web.yaml", 3),
        ("job create -f web.yaml", 4),
        ("job update -f web.yaml", 4),
        ("job update -f web.yaml --expect-version 1", 4),
        ("job delete web --yes --expect-version 1", 4),
        ("job stop web --expect-version 1", 4),
        ("job stop web --expect-version 1 --instances 0", 2),
        ("job restart killing", 4),
        ("job create new -f bare.yaml", 1),
        ("job delete web", 2),
        ("--masters a:b:c job list", 2),
        ("--masters https://a:1 job list", 2),
        ("job list -l team", 2),
        ("job stop web --instances 4-1", 2),
        ("--timeout 0 job list", 2),
        ("job stop web --watch-timeout 1s", 2),
        ("job lits", 2),
    ] {
        assert_eq!(t.run(line), code, "{line}");
    }
    t.check("errors.txt");
}

#[test]
fn masters_are_tried_in_turn() {
    let master = Master::with_jobs();
    let (x, y) = (nobody(), nobody());
    let mut t = Transcript::new(&format!("{x},{}", master.address()));
    t.name(&x, "NOBODY");
    t.name(&y, "NEITHER");
    assert_eq!(t.run("job list"), 0);
    assert_eq!(t.run("job stop web"), 0);
    assert_eq!(t.run(&format!("--masters {x},{y} job list")), 5);
    assert_eq!(t.run(&format!("--masters {x} --masters {y} job stop web")), 5);
    t.check("masters.txt");
}

#[test]
fn help_has_examples_and_exit_codes() {
    let mut t = Transcript::new("unused:1");
    assert_eq!(t.run("--help"), 0);
    assert_eq!(t.run("job create --help"), 0);
    t.check("help.txt");
}

#[test]
fn completions_are_scripts_that_shells_accept() {
    let t = Transcript::new("unused:1");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = t.command(&format!("completions {shell}")).output().unwrap();
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("peloton") && script.contains("restart"), "{shell}: {script}");
        if shell == "bash" {
            t.file("complete.bash", &script);
            let mut check = std::process::Command::new("bash");
            check.args(["-c", "source ./complete.bash && complete -p peloton"]);
            let path = t.command("version");
            let checked = check.current_dir(path.get_current_dir().unwrap()).output().unwrap();
            assert!(checked.status.success(), "{checked:?}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let t = Transcript::new("unused:1");
    let mut command = t.command("completions bash");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Without reading: the script does not fit into a pipe's buffer, or is refused when it is written.
    drop(child.stdout.take());
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), words.as_str()), (Some(0), ""));
}
