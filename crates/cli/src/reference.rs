//! The reference page of the command line, made from clap's definitions.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Cli;
use crate::exit;

const HEAD: &str = "\
# The command line

<!-- Made from crates/cli/src/args.rs: change it there, then run
     UPDATE_GOLDEN=1 cargo test -p peloton. -->

`peloton` talks to any master of the cluster. With several masters (`--masters a:5289,b:5289` or
`PELOTON_MASTERS`) they are tried in turn, until one answers or `--timeout` is over. A master that is
dead is passed over at once, one that is silent after some three seconds. Changes are repeated under
an id by which the masters make them once. While the store is away, they are tried until it is back.

## Job files

A job file is YAML (or JSON) with the fields of the API's `JobConfig`, such as `instanceCount`; the
lower-case names of 2016 (`instancecount`) are the same fields, and `null` is as if the field were
not there. Enums are written by name: `type: BATCH`. `id:` names the job, unless the command line
does. Fields that jobs do not have are warned about with the field that may be meant. A file may
hold several jobs as documents separated by `---`. See `examples/`.

## Output for programs

`-o json` and `-o yaml` write the API's messages with the names of enums (`-o wide` is for people who
have room for more columns). What is zero or empty is written, too; what may be absent and is, is left
out. Only job configurations are written as job files are: without what is zero or empty. 64-bit
integers are numbers. Fields may be added later; none is renamed or removed.

| command | document |
| --- | --- |
| `job get` | `id`, and the fields of `JobConfig`: a job file |
| `job list` | `jobs`: a list of `{id, config, status}` |
| `job status` | `JobStatus` |
| `job create`, `update`, `stop`, `start`, `restart`, `delete` | `jobs`: a list of `{id, action}`, with `version` after `update` |
| `job history` | `currentVersion`, and `versions`: a list of `{version, current, config}`, with `upgrade: {id, state}` where one made it |
| `job diff` | `job`, `from`, `to` (absent for a file), and `changes`: a list of `FieldChange`, whose `before` and `after` are JSON |
| `upgrade create`, `pause`, `resume`, `rollback`, `abort` | `upgrades`: a list of `{id, action}` |
| `upgrade create --dry-run` | `UpgradePlan` |
| `upgrade get`, and `upgrade watch` when it has ended | `UpgradeInfo` |
| `upgrade list` | `upgrades`: a list of `UpgradeInfo` without `changes` and `instances`; `nextPageToken` |
| `upgrade events` | `events`: a list of `UpgradeEvent` |
| `volume list` | `volumes`: a list of `VolumeInfo` |
| `volume get` | `VolumeInfo` |
| `volume delete`, `release`, `adopt` | `volumes`: a list of `{id, action}` |
| `task list` | `tasks`: a list of `TaskInfo` without `jobConfig` |
| `task get` | `TaskInfo` |
| `cluster status` | `cluster`: `ClusterInfo`, and `status`: `ClusterStatus` |
| `job get`, `list`, `status`, `task list`, `get` with `--stale` | the same with `asOfRevision`: all of it is of this revision of the store or a later one |
| `version` | `version` |
| `minicluster` | `masters`, a list; `mesos`, `directory`, `log`: when it is ready |

Warnings, progress and errors go to standard error.
";

fn markdown() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = HEAD.to_owned();
    page.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (exit, meaning) in exit::TABLE {
        let _ = writeln!(page, "| {} | {meaning} |", *exit as u8);
    }
    page.push_str("\n## Options of every command\n\n");
    let globals = root.get_arguments().filter(|arg| arg.is_global_set());
    table(&mut page, globals);
    for command in root.get_subcommands() {
        describe(&mut page, "peloton", command);
    }
    page
}

fn describe(page: &mut String, parent: &str, command: &Command) {
    if command.get_name() == "help" {
        return;
    }
    let name = format!("{parent} {}", command.get_name());
    let subcommands: Vec<_> = command.get_subcommands().collect();
    if !subcommands.is_empty() {
        subcommands.iter().for_each(|sub| describe(page, &name, sub));
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n## `{name}`\n\n{about}.\n\n");
    let own: Vec<_> = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && arg.get_id() != "help")
        .collect();
    if own.is_empty() {
        page.push_str("No options of its own.\n");
    } else {
        table(page, own.into_iter());
    }
}

fn table<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    page.push_str("| argument | default | meaning |\n| --- | --- | --- |\n");
    for arg in args {
        let mut default: Vec<_> =
            arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
        if arg.is_hide_default_value_set() || !arg.get_action().takes_values() {
            default.clear();
        }
        let default = match default.as_slice() {
            [] if arg.is_required_set() => "required".to_owned(),
            [] => String::new(),
            values => format!("`{}`", values.join(",")),
        };
        let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if let Some(variable) = arg.get_env() {
            let _ = write!(meaning, "; or in `{}`", variable.to_string_lossy());
        }
        let values = arg.get_possible_values();
        if arg.get_action().takes_values() && !values.is_empty() {
            let names: Vec<_> = values.iter().map(|v| format!("`{}`", v.get_name())).collect();
            let _ = write!(meaning, " ({})", names.join(", "));
        }
        let _ = writeln!(page, "| `{}` | {default} | {meaning} |", spelling(arg));
    }
}

fn spelling(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = match arg.get_action().takes_values() {
        true => names.first().map(ToString::to_string),
        false => None,
    };
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let flags: Vec<_> = [short, long].into_iter().flatten().collect();
    match (flags.join(", "), value) {
        (flags, None) => flags,
        (flags, Some(value)) if flags.is_empty() => value,
        (flags, Some(value)) => format!("{flags} {value}"),
    }
}

#[test]
fn reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let page = markdown();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/reference/cli.md is not up to date: run with UPDATE_GOLDEN=1");
}
