//! `grpc.health.v1` at the clients' port: the gateway itself under "", and each service by its name, which is serving
//! while every one of its methods that was ever served has a node.

use std::collections::BTreeSet;

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// The say over what health answers.
#[derive(Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// With the service that answers.
    pub(crate) fn new() -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let server = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        (Self { reporter }, server)
    }

    pub(crate) async fn set(&self, service: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }

    /// The gateway takes no more calls.
    pub(crate) async fn end(&self, services: &BTreeSet<String>) {
        for service in services {
            self.set(service, false).await;
        }
        self.set("", false).await;
    }
}
