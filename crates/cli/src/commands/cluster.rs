//! `cluster status`.

use std::fmt::Write as _;

use comfy_table::Cell;
use peloton_client::Client;
use peloton_proto::peloton::cluster::{
    ClusterInfo, ClusterStatus, GetRequest, GetStatusRequest, Shard, StoreStatus,
};
use serde::Serialize;

use crate::exit::Failure;
use crate::full::Full;
use crate::text;
use crate::ui::{self, Ui};

#[derive(Debug, Serialize)]
struct ClusterDocument {
    cluster: Full,
    status: Full,
}

pub(super) async fn status(client: &Client, ui: &Ui) -> Result<(), Failure> {
    let info = client.cluster().get(GetRequest {}).await?.result.unwrap_or_default();
    let status = client.cluster().get_status(GetStatusRequest {}).await?.result.unwrap_or_default();
    let document = ClusterDocument { cluster: ui::full(&info)?, status: ui::full(&status)? };
    ui.show(&document, || page(ui, &info, &status))
}

fn page(ui: &Ui, info: &ClusterInfo, status: &ClusterStatus) -> String {
    let mut page = ui::pairs(&[
        ("Cluster", text::or_none(&info.name)),
        ("Created", text::time_ms(info.created_at)),
        ("Store", store(status.store.as_ref())),
        ("Mesos", mesos(status)),
    ]);
    let mut masters = ui.table(&["MASTER", "ADDRESS", "VERSION", "STARTED", "SHARDS"]);
    for master in &status.masters {
        let mark = if master.answering { " (answers)" } else { "" };
        let shards = status.shards.iter().filter(|shard| shard.owner == master.id).count();
        masters.add_row(vec![
            Cell::new(&master.id),
            Cell::new(format!("{}{mark}", master.address)),
            Cell::new(&master.version),
            Cell::new(text::time_ms(master.started_at)),
            Cell::new(shards),
        ]);
    }
    let _ = write!(page, "\n{}", ui::lines(&masters));
    let mut shards = ui.table(&["SHARD", "OWNER", "CONNECTION", "ROLE", "FRAMEWORK", "NOTE"]);
    for shard in &status.shards {
        shards.add_row(vec![
            Cell::new(shard.number),
            Cell::new(text::or_none(&shard.owner)),
            ui.state(shard.connection().as_str_name()),
            Cell::new(&shard.role),
            Cell::new(text::or_none(&shard.framework_id)),
            Cell::new(&shard.message),
        ]);
    }
    let _ = write!(page, "\n{}", ui::lines(&shards));
    page
}

fn store(store: Option<&StoreStatus>) -> String {
    match store {
        None => "not known".to_owned(),
        Some(store) if store.healthy => format!("{}, healthy", store.r#type),
        Some(store) => format!("{}, NOT healthy: {}", store.r#type, text::or_none(&store.message)),
    }
}

fn mesos(status: &ClusterStatus) -> String {
    let answering = status.masters.iter().find(|master| master.answering);
    let is_ours = |shard: &Shard| answering.is_some_and(|master| master.id == shard.owner);
    match &status.mesos {
        None => "not known".to_owned(),
        Some(mesos) if mesos.connected => {
            let version = match mesos.version.as_str() {
                "" => String::new(),
                version => format!(" ({version})"),
            };
            format!("connected, leader {}{version}", text::or_none(&mesos.leader))
        }
        // Other masters run the shards, so this one has nothing to ask Mesos.
        Some(mesos) if mesos.message.is_empty() && !status.shards.iter().any(is_ours) => {
            "not used by the master that answers: it runs no shard".to_owned()
        }
        Some(mesos) => format!("NOT connected: {}", text::or_none(&mesos.message)),
    }
}
