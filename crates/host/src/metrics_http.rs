//! The metrics over HTTP, for programs that have no HTTP server of their own.
//!
//! Called by embedders, as [`Host::serve_metrics`]. Whoever connects is nobody in particular: one
//! request is answered per connection, no body of it is read, and everything is bounded.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::host::{Host, Shared};

/// Connections at once. Who comes then waits in the kernel's queue, which is bounded (listen(2)).
const CONNECTIONS_MAX: usize = 16;
/// From the beginning of a connection to the end of its answer.
const CONNECTION_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request's head; the least that hyper can do.
const HEAD_BYTES_MAX: usize = 8192;
/// Before the next try, when a connection cannot be taken: no descriptor is free, or it broke.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// OpenMetrics 1.0, "Protocol Negotiation".
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

impl Host {
    /// Answers `GET /metrics` with [`Host::metrics_text`] to whoever connects to `listener`, until the
    /// last clone of this host is gone or the future is dropped. The future holds no clone of the host.
    ///
    /// At most 16 connections at once, 5 s and one request of 8 KiB each. Nobody is asked who they are,
    /// so the listener should be bound to an address that only the scraper reaches.
    ///
    /// ```no_run
    /// # async fn example(host: lazaret::Host) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:9615").await?;
    /// tokio::spawn(host.serve_metrics(listener));
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve_metrics(
        &self,
        listener: TcpListener,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        serve(listener, Arc::downgrade(&self.shared), self.shared.presence.subscribe())
    }
}

async fn serve(listener: TcpListener, host: Weak<Shared>, mut presence: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            // Nothing is ever sent: this is the end of the sender.
            _ = presence.changed() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(timeout(CONNECTION_MAX, converse(stream, host.clone())));
                }
                Err(error) => {
                    tracing::warn!(target: "lazaret", %error, "a scraper could not be heard");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One request and its answer. An error is the scraper's, who sees it too.
async fn converse(stream: TcpStream, host: Weak<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answered = answer(request.method(), request.uri().path(), &host);
        async { Ok::<_, Infallible>(answered) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

fn answer(method: &Method, path: &str, host: &Weak<Shared>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    match (method, path, host.upgrade()) {
        (&Method::GET, "/metrics", Some(shared)) => {
            response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
            *response.body_mut() = Full::from(Host { shared }.metrics_text());
        }
        (&Method::GET, "/metrics", None) => {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE
        }
        (_, "/metrics", _) => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
