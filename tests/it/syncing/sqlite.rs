//! What only the SQLite destination has: its file.

mod failures;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;

use data_sources_monitor::testing::destinations::{Destination, sqlite};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{End, TableShape, Write};

use crate::syncing::contract::{TestDestination, begin, checkpoint, every_type, outcome, send, shape, text};
