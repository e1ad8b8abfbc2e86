//! What is done with telemetry beyond recording it: reports, import elsewhere, clients outside a sandbox.

mod common;

#[path = "telemetry/bundle.rs"]
mod bundle;
#[path = "telemetry/import.rs"]
mod import;
#[path = "telemetry/outside.rs"]
mod outside;
#[path = "telemetry/receiver.rs"]
mod receiver;
#[path = "telemetry/report.rs"]
mod report;
