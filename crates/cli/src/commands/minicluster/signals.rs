//! Ctrl-C and SIGTERM: the first one ends the minicluster in order, the second one at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::place::Place;
use crate::exit::Exit;
use crate::ui::Ui;

/// Whether the minicluster was asked to end.
#[derive(Debug, Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on. To be called inside a tokio runtime.
    pub(super) fn listen(ui: Ui, place: &Place) -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // A terminal that is closed.
        let mut hang_up = signal(SignalKind::hangup())?;
        let remove = place.is_temporary().then(|| place.path().to_owned());
        let (asked, receiver) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                if asked.send_replace(true) {
                    if let Some(directory) = remove {
                        // Tasks may still write into it; what is left then is a temporary directory.
                        let _ = std::fs::remove_dir_all(directory);
                    }
                    ui.note("ended at once");
                    // The guards end what is left: they notice that this process is gone.
                    std::process::exit(i32::from(Exit::Interrupted as u8));
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Whether it was.
    pub(super) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it was.
    pub(super) async fn asked(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // The listener lives as long as the runtime.
            std::future::pending::<()>().await;
        }
    }
}
