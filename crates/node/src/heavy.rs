//! Work that takes the processor for long: a hundred thousand launches decided in one step, a million
//! records turned into a shard.
//!
//! Done in a task, it would keep all others of its thread waiting, and with as many shards at it as there
//! are threads the lease would not be renewed and the API not be served.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does the work where other tasks go on meanwhile. A runtime of one thread has no other place.
pub(crate) fn heavily<T>(work: impl FnOnce() -> T) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_of_the_thread_go_on_meanwhile() {
        let (tell, told) = std::sync::mpsc::channel();
        let work =
            tokio::spawn(async move { heavily(|| told.recv_timeout(Duration::from_secs(60))) });
        tokio::spawn(async move { tell.send(()) });
        assert_eq!(work.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_single_thread_does_it_itself() {
        assert_eq!(heavily(|| 7), 7);
    }
}
