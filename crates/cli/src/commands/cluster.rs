//! `cluster status`.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::Cell;
use peloton_client::{Client, Options};
use peloton_proto::peloton::cluster::store_status::Quorum;
use peloton_proto::peloton::cluster::{
    ClusterInfo, ClusterStatus, Connection, GetStatusRequest, Master, MesosStatus, Shard,
    StoreEndpoint, StoreStatus,
};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::exit::Failure;
use crate::full::Full;
use crate::text;
use crate::ui::{self, Ui};

/// How long the other masters may take to tell of their shards: the rest of the status is there already.
const OTHERS_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct ClusterDocument {
    cluster: Full,
    status: Full,
}

pub(super) async fn status(client: &Client, ui: &Ui) -> Result<(), Failure> {
    let request = GetStatusRequest {};
    let mut status = client.cluster().get_status(request).await?.result.unwrap_or_default();
    ask_others(&mut status).await;
    // The document has it in a place of its own.
    let info = status.cluster.take().unwrap_or_default();
    let document = ClusterDocument { cluster: ui::full(&info)?, status: ui::full(&status)? };
    ui.show(&document, || page(ui, &info, &status))
}

/// How a shard is connected with Mesos knows its owner alone, and each master how long it has its lease: the
/// others are asked for theirs.
async fn ask_others(status: &mut ClusterStatus) {
    let unknown = |shard: &Shard| shard.connection() == Connection::Unknown;
    let knows_more = |master: &Master| {
        let owns = |shard: &Shard| shard.owner == master.id && unknown(shard);
        master.lease_left_ms.is_none() || status.shards.iter().any(owns)
    };
    let others = status.masters.iter().filter(|master| !master.answering && knows_more(master));
    let mut asked = JoinSet::new();
    for master in others {
        let (id, masters) = (master.id.clone(), vec![master.address.clone()]);
        let options = Options { masters, timeout: OTHERS_PATIENCE, ..Options::default() };
        asked.spawn(async move {
            let asking = async {
                let client = Client::new(options).ok()?;
                client.cluster().get_status(GetStatusRequest {}).await.ok()?.result
            };
            let answer = tokio::time::timeout(OTHERS_PATIENCE, asking).await;
            (id, answer.ok().flatten().unwrap_or_default())
        });
    }
    while let Some(answer) = asked.join_next().await {
        let Ok((id, theirs)) = answer else { continue };
        let ours = status.masters.iter_mut().find(|master| master.id == id);
        // Whoever has the address by now may be another one.
        let theirself = theirs.masters.iter().find(|master| master.answering && master.id == id);
        if let (Some(ours), Some(theirs)) = (ours, theirself) {
            ours.lease_left_ms = theirs.lease_left_ms;
        }
        for shard in theirs.shards.into_iter().filter(|shard| shard.owner == id) {
            let ours = status.shards.iter_mut().find(|ours| ours.number == shard.number);
            if let Some(ours) = ours.filter(|ours| ours.owner == id) {
                *ours = shard;
            }
        }
    }
}

fn page(ui: &Ui, info: &ClusterInfo, status: &ClusterStatus) -> String {
    let shards = match status.shards.len() {
        1 => "1 shard".to_owned(),
        count => format!("{count} shards"),
    };
    let mut page = ui::pairs(&[
        ("Cluster", format!("{}, {shards}", text::or_none(&info.name))),
        ("Created", text::time_ms(info.created_at)),
        ("Store", store(status.store.as_ref())),
        ("Mesos", mesos(status)),
    ]);
    let _ = write!(page, "\n{}", masters(ui, status));
    let _ = write!(page, "\n{}", shard_table(ui, status));
    if let Some(store) = status.store.as_ref().filter(|store| !store.endpoints.is_empty()) {
        let _ = write!(page, "\n{}", endpoints(ui, store));
    }
    page
}

fn masters(ui: &Ui, status: &ClusterStatus) -> String {
    let mut header = vec!["MASTER", "ADDRESS", "VERSION", "STARTED", "SHARDS", "LEASE", "ACCEPTS"];
    if ui.is_wide() {
        header.push("SCHEMA");
    }
    let mut table = ui.table(&header);
    for master in &status.masters {
        let mark = if master.answering { " (answers)" } else { "" };
        let shards = status.shards.iter().filter(|shard| shard.owner == master.id).count();
        let lease = master.lease_left_ms.map_or_else(|| text::NONE.to_owned(), text::seconds);
        let accepts = match (master.accepting, master.not_accepting.as_str()) {
            (true, _) => "yes".to_owned(),
            (false, "") => "no".to_owned(),
            (false, why) => format!("no: {why}"),
        };
        let mut row = vec![
            Cell::new(&master.id),
            Cell::new(format!("{}{mark}", master.address)),
            Cell::new(text::or_none(&master.version)),
            Cell::new(text::time_ms(master.started_at)),
            Cell::new(shards),
            Cell::new(lease),
            ui.state(&accepts),
        ];
        if ui.is_wide() {
            row.push(Cell::new(text::count_or_none(master.schema_version)));
        }
        table.add_row(row);
    }
    ui::lines(&table)
}

fn shard_table(ui: &Ui, status: &ClusterStatus) -> String {
    let header: &[&str] = match ui.is_wide() {
        true => &["SHARD", "OWNER", "ADDRESS", "SINCE", "CONNECTION", "ROLE", "FRAMEWORK", "NOTE"],
        false => &["SHARD", "OWNER", "SINCE", "CONNECTION", "FRAMEWORK", "NOTE"],
    };
    let mut table = ui.table(header);
    for shard in &status.shards {
        let mut row = vec![Cell::new(shard.number), Cell::new(text::or_none(&shard.owner))];
        if ui.is_wide() {
            row.push(Cell::new(text::or_none(&shard.owner_address)));
        }
        row.push(Cell::new(text::time_ms(shard.owned_since)));
        row.push(ui.state(shard.connection().as_str_name()));
        if ui.is_wide() {
            row.push(Cell::new(&shard.role));
        }
        row.push(Cell::new(text::or_none(&shard.framework_id)));
        row.push(Cell::new(one_line(&shard.message)));
        table.add_row(row);
    }
    ui::lines(&table)
}

fn endpoints(ui: &Ui, store: &StoreStatus) -> String {
    let mut header = vec!["STORE MEMBER", "STATE", "ROLE", "REVISION", "BEHIND"];
    if ui.is_wide() {
        header.extend(["VERSION", "SIZE"]);
    }
    header.push("NOTE");
    let mut table = ui.table(&header);
    for endpoint in &store.endpoints {
        let answered = !endpoint.version.is_empty();
        let known = |text: String| Cell::new(if answered { text } else { text::NONE.to_owned() });
        let mark = if endpoint.connected { " (in use)" } else { "" };
        let mut row = vec![
            Cell::new(format!("{}{mark}", endpoint.address)),
            ui.state(if endpoint.healthy { "healthy" } else { "unhealthy" }),
            known(role(endpoint).to_owned()),
            known(endpoint.revision.to_string()),
            known(endpoint.behind.to_string()),
        ];
        if ui.is_wide() {
            row.push(known(endpoint.version.clone()));
            row.push(known(text::bytes(endpoint.db_bytes)));
        }
        row.push(Cell::new(one_line(&endpoint.message)));
        table.add_row(row);
    }
    ui::lines(&table)
}

fn role(endpoint: &StoreEndpoint) -> &'static str {
    if endpoint.leader { "leader" } else { "follower" }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn store(store: Option<&StoreStatus>) -> String {
    let Some(store) = store else { return "not known".to_owned() };
    let mut text = match store.healthy {
        true => format!("{}, healthy", store.r#type),
        false => format!("{}, NOT healthy: {}", store.r#type, text::or_none(&store.message)),
    };
    let there = store.endpoints.iter().filter(|endpoint| endpoint.healthy).count();
    let all = store.endpoints.len();
    match store.quorum() {
        Quorum::NotNeeded => {}
        Quorum::Present => {
            let _ = write!(text, ", {there} of {all} members");
        }
        Quorum::Lost => {
            let _ =
                write!(text, ", NO QUORUM: {there} of {all} members; --stale reads what there is");
        }
    }
    if store.revision != 0 {
        let _ = write!(text, ", revision {}", store.revision);
    }
    if let Some(ms) = store.since_answer_ms {
        let _ = write!(text, ", last answer {} ago", text::seconds(ms));
    }
    text
}

fn mesos(status: &ClusterStatus) -> String {
    let Some(mesos) = &status.mesos else { return "not known".to_owned() };
    let answering = status.masters.iter().find(|master| master.answering);
    let is_ours = |shard: &Shard| answering.is_some_and(|master| master.id == shard.owner);
    let is_used = status.shards.iter().any(is_ours);
    let version = match mesos.version.as_str() {
        "" => String::new(),
        version => format!(" ({version})"),
    };
    let leader = format!("leader {}{version}", text::or_none(&mesos.leader));
    let state = match mesos {
        MesosStatus { connected: true, .. } => format!("connected, {leader}"),
        // Other masters run the shards, so this one has nothing to ask Mesos.
        MesosStatus { message, .. } if message.is_empty() && !is_used => {
            let idle = "not used by the master that answers: it runs no shard";
            match mesos.leader.as_str() {
                "" => idle.to_owned(),
                _ => format!("{leader}; {idle}"),
            }
        }
        MesosStatus { message, .. } => {
            format!("NOT connected: {}", text::or_none(&one_line(message)))
        }
    };
    match (mesos.found_by.as_str(), mesos.found_in.as_str()) {
        ("", _) => state,
        (by, "") => format!("{state}; found by {by}"),
        (by, place) => format!("{state}; found by {by}: {place}"),
    }
}
