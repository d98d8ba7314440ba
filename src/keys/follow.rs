//! Keys that another process may replace while this one uses them.

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{KeyMaterialError, KeyStorage, Name};

/// A key that a newly published one can replace.
pub(crate) trait Replace {
    /// Uses `text` from now on, and returns what to call it in the log. A text that cannot be
    /// used changes nothing.
    fn replace(
        &self,
        place: &KeyStorage,
        text: &str,
    ) -> impl Future<Output = Result<String, KeyMaterialError>> + Send;
}

/// A key and where it came from.
pub(crate) struct Followed<T> {
    place: KeyStorage,
    name: Name,
    text: Zeroizing<String>,
    value: T,
}

impl<T: Replace + Clone + Sync> Followed<T> {
    pub(super) const fn new(
        place: KeyStorage,
        name: Name,
        text: Zeroizing<String>,
        value: T,
    ) -> Self {
        Self {
            place,
            name,
            text,
            value,
        }
    }

    /// The key in use, which later ones replace.
    pub(crate) fn value(&self) -> T {
        self.value.clone()
    }

    /// Checks regularly whether it was replaced, until asked to stop. A key that cannot be read
    /// or used is ignored, and logged once.
    pub(crate) async fn until(mut self, stop: CancellationToken) {
        let mut said = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.place.pace()) => {}
            }
            match self.look().await {
                Ok(()) => said = None,
                Err(problem) => {
                    if said.as_ref() != Some(&problem) {
                        tracing::warn!(problem, "keeping the previous key");
                    }
                    said = Some(problem);
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let found = self.place.read(self.name).await;
        let Some(text) = found.map_err(|error| error.to_string())? else {
            return Err(format!("{} is gone", self.place.of(self.name)));
        };
        if *text == *self.text {
            return Ok(());
        }
        let key = self.value.replace(&self.place, &text).await;
        let key = key.map_err(|error| error.to_string())?;
        tracing::info!(place = self.place.of(self.name), key, "key reloaded");
        self.text = text;
        Ok(())
    }
}
