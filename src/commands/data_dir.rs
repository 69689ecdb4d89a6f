//! Whether `DATA_DIR` can be used by whoever runs a command.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::CommandError;
use crate::settings::Settings;
use crate::store::Store;

/// User ids that systemd gives to services with `DynamicUser=`.
const DYNAMIC_USERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// Why the daemon could not keep its state, if so. On a server the folder is not used.
pub(super) fn problem(settings: &Settings) -> Option<String> {
    if settings.database.is_some() {
        return None;
    }
    Store::check(&settings.data_dir).err().map(|e| e.to_string())
}

/// Refuses root where another user owns the folder: files that root creates there could not be written by the service.
///
/// # Errors
/// With the command to use instead.
pub(super) fn refuse_root_of_another(settings: &Settings, command: &str) -> Result<(), CommandError> {
    if settings.database.is_some() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match std::fs::metadata(&settings.data_dir) {
        Ok(about) if about.uid() != 0 => {
            let instead = instead(&settings.data_dir, about.uid(), about.gid(), command);
            Err(anyhow::anyhow!(
                "DATA_DIR {} belongs to user {}, who could not write the files that root creates there. Run this as that \
                 user:\n  {instead}",
                settings.data_dir.display(),
                about.uid(),
            )
            .into())
        }
        _ => Ok(()),
    }
}

/// The same command as the owner of the folder.
fn instead(folder: &Path, user: u32, group: u32, command: &str) -> String {
    if !DYNAMIC_USERS.contains(&user) {
        return format!("setpriv --reuid={user} --regid={group} --clear-groups {command}");
    }
    format!(
        "systemd-run -qP --wait --collect -p DynamicUser=yes -p User=data-sources-monitor \
         -p StateDirectory=data-sources-monitor -p WorkingDirectory={0} \
         -p EnvironmentFile=-/etc/data-sources-monitor/env -E CONNECTORS_DIR=/etc/data-sources-monitor/connectors \
         -E DATA_DIR={0} {command}",
        folder.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service with a user of its own is entered by systemd, whose private folder nobody else can reach.
    #[test]
    fn the_command_fits_the_owner() {
        let folder = Path::new("/var/lib/data-sources-monitor");
        let plain = instead(folder, 1000, 100, "data-sources-monitor sync orders");
        assert_eq!(plain, "setpriv --reuid=1000 --regid=100 --clear-groups data-sources-monitor sync orders");
        let service = instead(folder, 64_213, 64_213, "data-sources-monitor sync orders");
        assert!(
            service.starts_with("systemd-run ") && service.ends_with(" data-sources-monitor sync orders")
        );
        assert!(service.contains("-E DATA_DIR=/var/lib/data-sources-monitor "), "{service}");
    }
}
