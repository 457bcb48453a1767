//! A future that goes on when it is dropped: as long as somebody waits for it, it runs in the task of whoever
//! waits, and only then in one of its own. A hand-over to another task, and so to another thread, is what
//! most calls need not pay for.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// Runs to its end, whether or not anybody waits for it. Only the end of the runtime keeps it from that.
pub(crate) struct ToItsEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// There until it has ended.
    future: Option<Pin<Box<F>>>,
    runtime: Handle,
}

impl<F> ToItsEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Must be called inside a tokio runtime, which is the one that it goes on in.
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(Box::pin(future)), runtime: Handle::current() }
    }
}

impl<F> Future for ToItsEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<F> Drop for ToItsEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.runtime.spawn(future);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_goes_on() {
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let mut running = Box::pin(ToItsEnd::new(async move {
            let word: &str = begun.await.unwrap();
            end.send(word).unwrap();
        }));
        assert!(futures_poll(&mut running).await.is_pending());
        drop(running);
        begin.send("on").unwrap();
        assert_eq!(ended.await, Ok("on"));
    }

    #[tokio::test]
    async fn what_has_ended_is_not_run_again() {
        let mut running = Box::pin(ToItsEnd::new(async { 7 }));
        assert_eq!(futures_poll(&mut running).await, Poll::Ready(7));
        assert!(futures_poll(&mut running).await.is_pending());
    }

    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
    }
}
