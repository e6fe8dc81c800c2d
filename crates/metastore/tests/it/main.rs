//! The records store from outside. Every operation runs on SQLite and, when PostgreSQL is
//! installed, on a private server that is started once and ends with the tests.

mod accounts;
mod alerting;
mod calls;
mod claims;
mod connections;
mod destructions;
mod device_profiles;
mod devices;
mod dump;
mod edge_keys;
mod ends;
mod governance;
mod imports;
mod isolation;
mod ledger_items;
mod ledger_mail;
mod ledger_published;
mod platform;
mod postgres;
mod postgres_server;
mod providers;
mod registers;
mod rights;
mod routes;
mod sealed;
mod secrecy;
mod streams;
mod turns;
mod usage;
mod walls;
mod world;
