//! The one integration binary: the program, and parts of it, between real servers on the loopback interface.
//! Start at the crate `stand_ins` for the servers, then at the module named after the subject.

#[cfg(test)]
mod api;
#[cfg(test)]
mod authoring;
#[cfg(test)]
mod binary;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crashing;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod deployed;
#[cfg(test)]
mod dst;
#[cfg(test)]
mod endless;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod fronts;
#[cfg(test)]
mod ha;
#[cfg(test)]
mod http_client;
#[cfg(test)]
mod log_file;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod overtaken;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod proto;
#[cfg(test)]
mod qlik;
#[cfg(test)]
mod reloading;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod stand_ins_check;
#[cfg(test)]
mod statuspage;
#[cfg(test)]
mod syncing;
#[cfg(test)]
mod system;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod web_port;
