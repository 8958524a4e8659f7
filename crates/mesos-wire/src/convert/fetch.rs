//! The task that fills a remote volume: Mesos's own fetcher brings the content into the sandbox, and a script of
//! standard tools checks it and puts it into the volume. Nothing of ours has to be on the agent.

use super::{LABEL_INSTANCE, LABEL_JOB, labels};
use peloton_core::{FETCH_PATH, Fetch};
use peloton_proto::mesos::v1 as mesos;

/// The script. What it says last, and its exit status, tell what is wrong; the statuses are those of
/// `peloton_core`'s messages. The content is on the disk before the task ends well, as a volume that is taken for
/// filled is never looked at again.
const SCRIPT: &str = r#"
fail() { status=$1; shift; echo "$*" >&2; exit "$status"; }
check_size() {
    kb=$(du -sk "$1" | cut -f1) || exit 1
    [ "$kb" -le $((PELOTON_SIZE_MB * 1024)) ] ||
        fail 67 "the $2 has $(((kb + 1023) / 1024)) MB, the volume $PELOTON_SIZE_MB"
}
if [ -n "$PELOTON_SHA256" ]; then
    found=$(sha256sum content | cut -d' ' -f1)
    [ "$found" = "$PELOTON_SHA256" ] || fail 65 "the SHA-256 is $found, not $PELOTON_SHA256"
fi
check_size content 'file'
find volume/ -mindepth 1 -delete || exit 1
if [ "$PELOTON_EXTRACT" = 1 ]; then
    if tar -tf content >/dev/null 2>&1; then
        tar -xf content -C volume/ --no-same-owner || fail 66 'the archive is damaged'
    elif unzip -tqq content >/dev/null 2>&1; then
        unzip -qq content -d volume/ || fail 66 'the archive is damaged'
    else
        fail 66 'neither a tar nor a zip archive'
    fi
    check_size volume/ 'content of the archive'
else
    cp content "volume/$PELOTON_FILE" || exit 1
    chmod a+r "volume/$PELOTON_FILE" || exit 1
fi
rm -f content
sync -f volume/ 2>/dev/null || sync
"#;

/// The message of a launch; `resources` are its resources in Mesos's terms.
pub(super) fn info(fetch: &Fetch, resources: Vec<mesos::Resource>) -> mesos::TaskInfo {
    let own = [
        (LABEL_JOB, fetch.task.job.to_string()),
        (LABEL_INSTANCE, fetch.task.instance.to_string()),
    ];
    mesos::TaskInfo {
        name: format!("{} fetches {}", fetch.task.job, fetch.content.url),
        task_id: mesos::TaskId { value: fetch.task.to_string() },
        agent_id: mesos::AgentId { value: fetch.agent.to_string() },
        resources,
        command: Some(command(fetch)),
        labels: Some(labels(own)),
        ..Default::default()
    }
}

fn command(fetch: &Fetch) -> mesos::CommandInfo {
    let variable = |(name, value): (&str, String)| mesos::environment::Variable {
        name: name.to_owned(),
        value: Some(value),
        ..Default::default()
    };
    let variables = [
        ("PELOTON_SHA256", fetch.content.sha256.clone()),
        ("PELOTON_SIZE_MB", fetch.volume.volume.size_mb.to_string()),
        ("PELOTON_EXTRACT", u8::from(fetch.content.extract).to_string()),
        ("PELOTON_FILE", file_name(&fetch.content.url).to_owned()),
    ];
    debug_assert_eq!(fetch.volume.container_path, FETCH_PATH);
    mesos::CommandInfo {
        uris: vec![mesos::command_info::Uri {
            value: fetch.content.url.clone(),
            executable: Some(false),
            extract: Some(false),
            cache: Some(false),
            output_file: Some("content".to_owned()),
        }],
        environment: Some(mesos::Environment {
            variables: variables.into_iter().map(variable).collect(),
        }),
        value: Some(SCRIPT.to_owned()),
        shell: Some(true),
        user: Some(fetch.user.clone()).filter(|user| !user.is_empty()),
        ..Default::default()
    }
}

/// The name under which a file that is no archive is found in its volume: the last part of the URL's path.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let after_scheme = path.split_once("://").map_or(path, |(_, rest)| rest);
    match after_scheme.rsplit_once('/') {
        Some((_, name)) if !matches!(name, "" | "." | "..") => name,
        _ => "content",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_last_part_of_its_url() {
        for (url, name) in [
            ("http://r/a/b.bin?x=/y", "b.bin"),
            ("http://r/a/", "content"),
            ("http://r", "content"),
            ("/srv/data.tar", "data.tar"),
            ("http://r/..", "content"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
