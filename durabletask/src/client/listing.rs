//! Long lists, item by item.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _};

use super::ClientError;

/// A list that is fetched from the scheduler as it is taken. It ends with the first error.
///
/// It can be taken item by item with [`next`](Self::next), as a whole with
/// [`collect`](Self::collect), or as a `Stream`.
///
/// ```no_run
/// use durabletask::client::InstanceQuery;
/// use durabletask::{Client, ClientError};
///
/// async fn print_all(client: &Client) -> Result<(), ClientError> {
///     let mut instances = client.list_instances(InstanceQuery::new());
///     while let Some(instance) = instances.next().await {
///         println!("{}", instance?.instance_id);
///     }
///     Ok(())
/// }
/// ```
#[must_use = "nothing is fetched until it is taken"]
pub struct Listing<T, E = ClientError> {
    items: BoxStream<'static, Result<T, E>>,
}

impl<T, E> Listing<T, E> {
    pub(crate) fn new(items: impl Stream<Item = Result<T, E>> + Send + 'static) -> Self {
        Self {
            items: items.boxed(),
        }
    }

    /// The next item; `None` after the last one, and after an error.
    pub async fn next(&mut self) -> Option<Result<T, E>> {
        self.items.next().await
    }

    /// All items that are left.
    ///
    /// # Errors
    ///
    /// The first error; what was fetched before it is dropped.
    pub async fn collect(self) -> Result<Vec<T>, E> {
        self.items.try_collect().await
    }
}

impl<T, E> Stream for Listing<T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_next_unpin(context)
    }
}

impl<T, E> fmt::Debug for Listing<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").finish_non_exhaustive()
    }
}
