//! Reading a range page by page, all of one revision.

use crate::{KeyRange, KeyValue, RangeRequest, RangeResponse, Revision, Store, StoreError};

/// How often [`range_all`] starts again when its revision is compacted under it. Each start reads the
/// whole range, so a range that cannot be read in a few attempts will not be read in many.
const RANGE_ALL_ATTEMPTS: u32 = 8;

/// A cursor over a range in key order. All pages are of the revision of the first one.
#[derive(Debug)]
pub struct Pager {
    request: Option<RangeRequest>,
    revision: Option<Revision>,
}

impl Pager {
    /// Starts with `request`; its limit is the page size.
    pub fn new(request: RangeRequest) -> Self {
        Self { revision: request.revision, request: Some(request) }
    }

    /// The revision all pages are of; known after the first one.
    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// The next page, or `None` behind the last one. A range without keys has one empty page.
    ///
    /// # Errors
    /// Those of [`Store::range`]. After `Compacted` start again with a new pager; after another
    /// error the same page may be asked for again.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<RangeResponse>, StoreError> {
        let Some(request) = &self.request else { return Ok(None) };
        let page = store.range(request.clone()).await?;
        self.revision = Some(page.revision);
        self.request = match page.kvs.last() {
            Some(last) if page.more => {
                let mut next = request.clone().at(page.revision);
                next.range = next.range.after(&last.key);
                Some(next)
            }
            _ => None,
        };
        Ok(Some(page))
    }
}

/// All of a range as of one revision, however many pages it takes. Meant for ranges whose size the
/// caller knows to be bounded.
///
/// # Errors
/// Those of [`Store::range`]; `Compacted` only after several attempts.
pub async fn range_all(store: &dyn Store, range: KeyRange) -> Result<RangeResponse, StoreError> {
    let mut attempt = 1;
    loop {
        match range_once(store, range.clone()).await {
            Err(StoreError::Compacted { .. }) if attempt < RANGE_ALL_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn range_once(store: &dyn Store, range: KeyRange) -> Result<RangeResponse, StoreError> {
    let mut pager = Pager::new(RangeRequest::new(range));
    let mut kvs: Vec<KeyValue> = Vec::new();
    while let Some(page) = pager.next(store).await? {
        kvs.extend(page.kvs);
    }
    let revision = pager.revision().unwrap_or_default();
    Ok(RangeResponse { kvs, more: false, revision })
}
