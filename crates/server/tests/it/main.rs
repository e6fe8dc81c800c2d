//! Integration tests of the built binary: real processes, real sockets, real files. Nothing in
//! here stands in for a part of the product.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stdout, reason = "figures are shown with --nocapture")]

mod accounts;
mod acme;
mod alert_mail;
mod alert_places;
mod alerts;
mod alerts_now;
mod attacks;
mod attacks_http2;
mod attributes;
mod audit_period;
mod backup;
mod brokers;
mod by_people;
mod canary;
mod certificates;
mod changes;
mod database;
mod demo;
mod denials;
mod device_ca;
mod device_credentials;
mod device_provisioning;
mod floods;
mod gateways;
mod guard;
mod harness;
mod holds;
mod http;
mod http2;
mod identity;
mod ingest;
mod invitations;
mod isolation;
mod kill;
mod ledger;
mod live_rights;
mod mail_bounds;
mod malformed;
mod mqtt;
mod mqtt_websocket;
mod offline;
mod partners;
mod people;
#[path = "../../../metastore/tests/it/postgres_server.rs"]
mod postgres_server;
mod promises;
mod providers;
mod python;
mod ready;
mod records;
mod refused;
mod relay;
mod rights;
mod roles;
mod routes;
mod shared_data;
#[path = "../../../twin/tests/it/skipped.rs"]
mod skipped;
mod smtp;
mod sparkplug;
mod start;
mod storage;
mod streams;
mod tails;
mod tenant;
mod tls;
mod webhooks;
mod websocket;
