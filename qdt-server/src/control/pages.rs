//! The pages of the control listeners, by role.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Role;
use super::profile;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// The sources of the pages' contents.
#[derive(Clone)]
pub struct Pages {
    metrics: Metrics,
    healthy: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("healthy", &(self.healthy)())
            .finish_non_exhaustive()
    }
}

impl Pages {
    /// Makes pages that show `metrics`, and `healthy` on `/healthz`.
    #[must_use]
    pub fn new(metrics: Metrics, healthy: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            metrics,
            healthy: Arc::new(healthy),
        }
    }
}

/// The roles of one listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    metrics: bool,
    health: bool,
    pprof: bool,
}

impl Roles {
    /// Returns these roles and `role`.
    #[must_use]
    pub fn with(mut self, role: Role) -> Self {
        match role {
            Role::Metrics => self.metrics = true,
            Role::Health => self.health = true,
            Role::Pprof => self.pprof = true,
        }
        self
    }

    /// Returns whether `role` is among them.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        match role {
            Role::Metrics => self.metrics,
            Role::Health => self.health,
            Role::Pprof => self.pprof,
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Role> {
        [Role::Metrics, Role::Health, Role::Pprof]
            .into_iter()
            .filter(move |role| self.has(*role))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .iter()
            .map(|role| match role {
                Role::Metrics => "metrics",
                Role::Health => "health",
                Role::Pprof => "pprof",
            })
            .collect();
        f.write_str(&names.join("+"))
    }
}

/// Returns the routes of a listener with `roles`; as in Go, metrics includes `/healthz`.
pub fn router(roles: Roles, pages: &Pages) -> Router {
    let mut router = Router::new();
    if roles.metrics {
        router = router.route("/metrics", get(metrics));
    }
    if roles.metrics || roles.health {
        router = router.route("/healthz", get(healthz));
    }
    if roles.pprof {
        router = router
            .route("/debug/pprof/", get(profile::index))
            .route("/debug/pprof/cmdline", get(profile::cmdline))
            .route("/debug/pprof/profile", get(profile::cpu))
            .route(
                "/debug/pprof/symbol",
                get(profile::symbol).post(profile::symbol),
            );
    }
    router.with_state(pages.clone())
}

async fn metrics(State(pages): State<Pages>) -> Response {
    match pages.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(pages): State<Pages>) -> Response {
    if (pages.healthy)() {
        "ok".into_response()
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}
