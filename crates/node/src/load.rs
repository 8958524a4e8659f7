//! Reads a shard's records.

use peloton_core::{RecordError, Snapshot};
use peloton_model::ShardId;
use peloton_store::{KeyRange, RangeRequest, Revision, Store, StoreError, keys};

/// Why a shard could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The shard's records, and the revision from which its desired state is to be watched.
///
/// Pages are read at different revisions. That is sound for the actual state, because only the owner
/// writes it and the owner is reading; and for the desired state, because the watch begins right
/// after the first page was read, and taking a change twice changes nothing.
pub(crate) async fn load(
    store: &dyn Store,
    shard: ShardId,
) -> Result<(Snapshot, Revision), LoadError> {
    let mut snapshot = Snapshot::default();
    let from = read(store, shard, keys::desired(shard.0), &mut snapshot).await?;
    read(store, shard, keys::actual(shard.0), &mut snapshot).await?;
    Ok((snapshot, from.next()))
}

async fn read(
    store: &dyn Store,
    shard: ShardId,
    range: KeyRange,
    snapshot: &mut Snapshot,
) -> Result<Revision, LoadError> {
    let mut request = RangeRequest::new(range);
    let mut first = None;
    loop {
        let page = store.range(request.clone()).await?;
        let first = *first.get_or_insert(page.revision);
        for kv in &page.kvs {
            snapshot.add(shard, kv)?;
        }
        match page.kvs.last() {
            Some(last) if page.more => request.range = request.range.after(&last.key),
            _ => return Ok(first),
        }
    }
}
