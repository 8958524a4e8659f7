//! The orderly end of a run: nothing new is decided, and what was decided becomes durable and leaves.

use crate::run::{OUTBOX_AGAIN, Run, Sent, answered, commit_done};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long Mesos may take to answer the last calls. Those that it did not get are decided all the same:
/// the next owner finds what became of them, only later.
const ANSWERS_WITHIN: Duration = Duration::from_millis(200);
/// How often it is looked whether they have been answered.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Run<'_> {
    /// Finishes what is in hand; gives up where the lease is not certain to hold any more.
    pub(crate) async fn finish(&mut self) {
        let mut lease = self.runner.lease.clone();
        self.finishing = true;
        loop {
            if self.begin_commit().is_err() {
                return;
            }
            let sent = self.send_ready();
            if self.in_flight.is_none() && sent != Sent::NoRoom {
                break;
            }
            let certain_until = self.claim.lease.certain_until;
            let done = tokio::select! {
                biased;
                changed = lease.changed() => {
                    if changed.is_err() || self.renewed(*lease.borrow_and_update()).is_err() {
                        return;
                    }
                    continue;
                }
                () = sleep_until(certain_until) => return,
                done = commit_done(&mut self.in_flight) => done,
                () = sleep(OUTBOX_AGAIN), if sent == Sent::NoRoom => continue,
            };
            if self.committed(done).is_err() {
                return;
            }
        }
        // Stopping the client drops what it has not sent.
        let all = async {
            while self.client.status().connection.epoch == Some(self.epoch)
                && !self.outbox.is_answered(answered(&self.client))
            {
                sleep(LOOK_EVERY).await;
            }
        };
        let until = self.claim.lease.certain_until.min(Instant::now() + ANSWERS_WITHIN);
        let _late = timeout(until.saturating_duration_since(Instant::now()), all).await.is_err();
    }
}
