//! The schema version of everything stored, so that masters of two releases can work side by side.
//!
//! The version in the store is the one in which all masters write; a master may know newer ones. So a
//! release that brings a new version goes on writing the old one, next to masters that know nothing
//! else, and the version is raised only when all masters know the new one
//! ([0018](../../../docs/decisions/0018-schema-version.md)). Each master therefore looks at it when it starts
//! and while it runs, and one that does not know the store's version does not go on.

use peloton_store::{Store, StoreError, Txn, TxnResult, keys};

/// The newest version that this build reads and writes. A store without a version is of version 1: the
/// first releases wrote none down.
pub(crate) const NEWEST: u32 = 1;

/// Why the records of a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer release has raised the version.
    #[error(
        "the store's records have schema version {found}, and this peloton-master ({release}) knows \
         versions up to {newest}: start the release that the other masters run, or a newer one"
    )]
    Newer {
        /// The version in the store.
        found: u32,
        /// The newest version that this build knows.
        newest: u32,
        /// This build's release.
        release: &'static str,
    },
    /// Something else was written in the version's place.
    #[error("the store's schema version is {found:?}, which is none of Peloton's")]
    Foreign {
        /// What is there.
        found: String,
    },
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks that this build knows the store's version, and writes the first one down where there is none.
pub(crate) async fn ensure(store: &dyn Store) -> Result<(), SchemaError> {
    let key = keys::meta_schema();
    let txn = Txn::new().when_absent(key.clone()).put(key, "1");
    match store.commit(txn).await? {
        TxnResult::Committed { .. } => Ok(()),
        TxnResult::Conflict { current, .. } => match current.into_iter().flatten().next() {
            Some(kv) => check(&kv.value),
            None => Ok(()),
        },
    }
}

/// Whether the version has been raised above what this build knows.
pub(crate) async fn look(store: &dyn Store) -> Result<(), SchemaError> {
    match store.get(keys::meta_schema()).await?.kv {
        Some(kv) => check(&kv.value),
        None => Ok(()),
    }
}

fn check(value: &[u8]) -> Result<(), SchemaError> {
    let text = String::from_utf8_lossy(value);
    match text.parse::<u32>() {
        Ok(1..=NEWEST) => Ok(()),
        Ok(found) if found > NEWEST => {
            let release = env!("CARGO_PKG_VERSION");
            Err(SchemaError::Newer { found, newest: NEWEST, release })
        }
        _ => Err(SchemaError::Foreign { found: text.into_owned() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics fails")]
mod tests {
    use super::*;
    use peloton_store::MemoryStore;

    #[tokio::test]
    async fn a_store_without_a_version_gets_the_first_and_a_newer_one_is_refused() {
        let store = MemoryStore::new();
        look(&store).await.unwrap();
        for _ in 0..2 {
            ensure(&store).await.unwrap();
            let written = store.get(keys::meta_schema()).await.unwrap().kv.unwrap();
            assert_eq!((written.value.as_ref(), written.version), (&b"1"[..], 1));
        }
        look(&store).await.unwrap();

        let raise = Txn::new().put(keys::meta_schema(), "2");
        store.commit(raise).await.unwrap();
        for refused in [ensure(&store).await, look(&store).await] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("version 2") && said.contains("up to 1"), "{said}");
        }
        for foreign in [&b""[..], b"0", b"-1", b"one", b"\xff"] {
            let refused = check(foreign);
            assert!(matches!(refused, Err(SchemaError::Foreign { .. })), "{refused:?}");
        }
    }
}
