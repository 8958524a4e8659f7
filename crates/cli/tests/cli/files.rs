//! Job files: examples, spellings, mistakes.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::master::Master;
use crate::transcript::Transcript;

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn examples_are_accepted_without_a_warning() {
    let master = Master::start();
    let mut t = Transcript::new(&master.address());
    for name in ["service.yaml", "batch.yaml", "original-2016.yaml"] {
        t.file(name, &example(name));
    }
    assert_eq!(t.run("job create -f service.yaml --strict"), 0);
    assert_eq!(t.run("job create -f batch.yaml --strict"), 0);
    assert_eq!(t.run("job create myjob12345 -f original-2016.yaml --strict"), 0);
    assert_eq!(t.run("job get myjob12345"), 0);
    assert_eq!(t.run("job get hello-batch"), 0);
    t.check("examples.txt");
    let want = [
        "create hello-service with 10 for ann",
        "create hello-batch with 10 for ann",
        "create myjob12345 with 10 for ann",
    ];
    assert_eq!(master.state().requests, want);
}

#[test]
fn the_example_service_says_who_it_is() {
    let file: serde_json::Value = serde_saphyr::from_str(&example("service.yaml")).unwrap();
    let mut shell = Command::new("sh");
    // Tasks get this from Peloton; what a login shell has besides, they have not.
    shell.env_clear().env("PELOTON_TASK_ID", "hello-service-0-1").process_group(0);
    shell.args(["-c", file["command"]["value"].as_str().unwrap()]).stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    child.wait().unwrap();
    assert_eq!(line, "hello from hello-service-0-1\n");
}

#[test]
fn files_in_every_form() {
    let master = Master::start();
    let mut t = Transcript::new(&master.address());
    t.file(
        "two.yaml",
        "id: a\ncommand: {value: x}\n---\nid: b\ninstancecount: 2\ncommand: {value: x}\n---\n",
    );
    assert_eq!(t.run("job create -f two.yaml"), 0);
    assert_eq!(t.run("job create -f two.yaml -o json"), 4);
    assert_eq!(t.run("job create one -f two.yaml"), 2);
    assert_eq!(
        t.run_with("job create c -f - -o yaml", "{\"instanceCount\": \"3\", \"command\": {}}"),
        0
    );
    assert_eq!(t.run_with("job create -f -", "ID: 12345\nCommand: {value: x}\n"), 0);
    assert_eq!(t.run_with("job create d -f -", "id: e\ncommand: {value: x}\n"), 0);
    let typos =
        "id: t\ncommand: {value: x}\ninstancesCount: 4\nresource: {cpuLimit: 2}\ncolour: red\n";
    assert_eq!(t.run_with("job create -f -", typos), 0);
    assert_eq!(t.run_with("job create -f - --strict", typos), 2);
    t.check("files.txt");
}

#[test]
fn mistakes_in_files() {
    let master = Master::start();
    let mut t = Transcript::new(&master.address());
    t.run("job create x -f missing.yaml");
    for (name, content) in [
        ("syntax.yaml", "id: x\ncommand: {value: x\ninstanceCount: 1\n"),
        ("indent.yaml", "id: x\n  command: y\n"),
        ("twice.yaml", "id: x\nname: a\nname: b\n"),
        ("same.yaml", "id: x\ninstanceCount: 1\ninstancecount: 2\n"),
        ("type.yaml", "id: x\nresource:\n  cpusLimit: many\n"),
        ("enum.yaml", "id: x\ntype: DAEMON\n"),
        ("negative.yaml", "id: x\ninstanceCount: -1\n"),
        ("list.yaml", "- id: x\n"),
        ("empty.yaml", "# nothing\n"),
        ("noid.yaml", "command: {value: x}\n"),
        ("badid.yaml", "id: a b\ncommand: {value: x}\n"),
        ("idlist.yaml", "id: [a]\ncommand: {value: x}\n"),
        ("sameid.yaml", "id: a\n---\nid: a\n"),
    ] {
        t.file(name, content);
        assert_eq!(t.run(&format!("job create -f {name}")), 2, "{name}");
    }
    // Whose mistake it is: not the file's.
    assert_eq!(t.run("job create bad! -f noid.yaml"), 2);
    t.check("mistakes.txt");
    assert!(master.state().requests.is_empty());
}
