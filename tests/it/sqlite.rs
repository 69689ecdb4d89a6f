//! What only the SQLite destination can show: its file.

mod mishaps;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;

use data_sources_monitor::destinations::{Destination, sqlite};
use data_sources_monitor::domain::cell::{Cell, ColumnType};
use data_sources_monitor::domain::op::{End, TableShape, Write};

use crate::contract::{Desk, begin, checkpoint, every_type, outcome, send, shape, text};
