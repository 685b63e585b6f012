//! Start of the sentry in the process that the command line has confined.

pub mod config;
