//! Serves the pages of a program.
//!
//! Input: handles to what the pages show. Output: answers. Invariants: read-only; no page shows a request's own text; connections are bounded
//! in number and in time, so that a client that says nothing is cut off.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Book, Health, Tls};

/// What a scraper of OpenMetrics expects.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// How long a handshake or a request's head may take; also how long an idle connection is kept.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection lasts at most, whoever is slow.
const LIFE: Duration = Duration::from_mins(5);
/// Rest after the system has refused to accept, for example because there are no descriptors left.
const RECOVER: Duration = Duration::from_millis(200);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {cause}; choose an address of this machine and a port that is free")]
    Listen {
        /// As it was asked for.
        address: SocketAddr,
        /// What the system says; a part of the message, and therefore no source of it.
        cause: std::io::Error,
    },
}

/// What an address shows.
#[derive(Clone)]
pub enum Page {
    /// `/metrics`.
    Metrics {
        /// What is shown.
        book: Book,
        /// What a client must send as `Authorization: Bearer …`, if anything.
        token: Option<String>,
    },
    /// `/healthz` and `/readyz`.
    Health(Health),
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
}

impl Server {
    /// Listens on an address; serves nothing yet.
    ///
    /// # Errors
    /// The address cannot be used.
    pub async fn bind(
        address: SocketAddr,
        pages: impl IntoIterator<Item = Page>,
        tls: Option<Tls>,
    ) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await.map_err(|cause| ServerError::Listen { address, cause })?;
        Ok(Self { listener, router: pages.into_iter().fold(Router::new(), add), tls })
    }

    /// Where it listens, which tells the port when none was chosen.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`; requests that are being answered then are cut off.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.accept() => {}
        }
    }

    async fn accept(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    drop(tokio::spawn(connection(stream, self.router.clone(), self.tls.clone(), permit)));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(RECOVER).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, tls: Option<Tls>, permit: OwnedSemaphorePermit) {
    let served = async {
        let Some(tls) = tls else { return answer(stream, router).await };
        match timeout(PATIENCE, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => answer(stream, router).await,
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
    };
    let _ = timeout(LIFE, served).await;
    drop(permit);
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

fn add(router: Router, page: Page) -> Router {
    match page {
        Page::Metrics { book, token } => router.route("/metrics", get(metrics).with_state(Arc::new((book, token)))),
        Page::Health(health) => router
            .route("/healthz", get(alive).with_state(health.clone()))
            .route("/readyz", get(ready).with_state(health)),
    }
}

async fn metrics(State(shown): State<Arc<(Book, Option<String>)>>, headers: HeaderMap) -> Response {
    let (book, token) = &*shown;
    if let Some(token) = token
        && !authorised(&headers, token)
    {
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], "a token is needed\n").into_response();
    }
    match book.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS), (CACHE_CONTROL, "no-store")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Compares in a time that does not tell where the first difference is.
fn authorised(headers: &HeaderMap, token: &str) -> bool {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let Some(sent) = sent else { return false };
    sent.len() == token.len() && sent.iter().zip(token.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

async fn alive(State(health): State<Health>) -> Response {
    said(health.alive())
}

async fn ready(State(health): State<Health>) -> Response {
    said(health.is_ready())
}

fn said(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
