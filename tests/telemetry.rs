//! What is done with telemetry beyond recording it: reports, import elsewhere, clients outside a sandbox.

mod common;

#[path = "telemetry/report.rs"]
mod report;
