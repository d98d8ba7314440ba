//! What may be given where a contract promises an input.

use serde::Serialize;

/// A value that stands for an input of the type `I`: an `I` itself, or something borrowed
/// that is the same JSON, such as a `str` for a `String` or a slice for a `Vec`.
///
/// ```
/// use durabletask::{Activity, Failure, OrchestrationContext};
///
/// const GREET: Activity<String, String> = Activity::new("greet");
/// const SUM: Activity<Vec<u32>, u32> = Activity::new("sum");
///
/// async fn example(ctx: OrchestrationContext, _: ()) -> Result<(), Failure> {
///     let name = String::from("Ada");
///     ctx.call_activity(&GREET, &name).await?;
///     ctx.call_activity(&GREET, "Lima").await?;
///     ctx.call_activity(&SUM, &[1, 2, 3]).await?;
///     Ok(())
/// }
/// # let _ = example;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an input of the type `{I}`, which the contract promises",
    label = "expected a reference to `{I}`"
)]
pub trait InputFor<I: ?Sized>: Serialize {}

impl<I: Serialize + ?Sized> InputFor<I> for I {}
impl InputFor<String> for str {}
impl InputFor<String> for &str {}
impl<T: Serialize> InputFor<Vec<T>> for [T] {}
impl<T: Serialize> InputFor<Vec<T>> for &[T] {}
impl<T, const N: usize> InputFor<Vec<T>> for [T; N] where [T; N]: Serialize {}
impl InputFor<Vec<String>> for [&str] {}
impl InputFor<Vec<String>> for &[&str] {}
impl<const N: usize> InputFor<Vec<String>> for [&str; N] where Self: Serialize {}
