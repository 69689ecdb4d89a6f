//! Checks whether the current user can use `DATA_DIR`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::commands::CommandError;
use crate::settings::Settings;
use crate::store::Store;

/// User ids that systemd assigns to services with `DynamicUser=`.
const DYNAMIC_USERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// Returns why the daemon cannot save its state in `DATA_DIR`, if so. With `DATABASE_URL` the folder is not used.
pub(crate) fn problem(settings: &Settings) -> Option<String> {
    if settings.database.is_some() {
        return None;
    }
    Store::check(&settings.data_dir).err().map(|e| e.to_string())
}

/// Fails for root if another user owns the folder: the service could not write the files that root creates there.
///
/// # Errors
/// The error names the command to use instead.
pub(crate) fn refuse_root_of_another(settings: &Settings, command: &str) -> Result<(), CommandError> {
    if settings.database.is_some() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match std::fs::metadata(&settings.data_dir) {
        Ok(about) if about.uid() != 0 => {
            let instead = instead(&settings.data_dir, about.uid(), about.gid(), command);
            Err(anyhow::anyhow!(
                "DATA_DIR {} belongs to user {}, who cannot write files that root creates there. Run the command as that \
                 user:\n  {instead}",
                settings.data_dir.display(),
                about.uid(),
            )
            .into())
        }
        _ => Ok(()),
    }
}

/// Returns the command line that runs `command` as the owner of the folder.
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

    /// Only systemd can enter the private folder of a service with a dynamic user.
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
